package runtime

import (
	"net"
	"sync"

	"github.com/minidock/minidock/steps"
)

// caller is one command that is connected to a monitor. What it is sent waits in
// a spool: a command that is slow, or has stopped, never holds up the container.
type caller struct {
	conn  *net.UnixConn
	spool *spool
	out   frameWriter
	asked request
}

func newCaller(conn *net.UnixConn, asked request) *caller {
	c := &caller{conn: conn, spool: newSpool(conn), asked: asked}
	c.out.w = c.spool
	return c
}

// fault ends the conversation with an error. That a command is gone by now is
// no error of ours, here and below.
func (c *caller) fault(err error) { _ = c.out.sendJSON(frameFault, faultOf(err)) }

func (c *caller) exit(code int) { _ = c.out.sendJSON(frameExit, exitMessage{Code: code}) }

func (c *caller) started(pid int) { _ = c.out.sendJSON(frameStarted, startedMessage{Pid: pid}) }

// answer ends the conversation of a request that has no more to say.
func (c *caller) answer(err error) {
	if err != nil {
		c.fault(err)
		return
	}
	_ = c.out.send(frameDone, nil)
}

// callers are the commands that want to hear of a container as it goes on.
type callers struct {
	mu   sync.Mutex
	list map[*caller]bool
}

func (l *callers) add(c *caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		l.list = map[*caller]bool{}
	}
	l.list[c] = true
}

func (l *callers) remove(c *caller) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.list, c)
}

// pass sends output to those who asked for it.
func (l *callers) pass(t frameType, p []byte) {
	l.each(func(c *caller) {
		if c.asked.Attach {
			_ = c.out.send(t, p)
		}
	})
}

// tell sends a step to those who asked for the story.
func (l *callers) tell(r steps.Record) {
	l.each(func(c *caller) {
		if c.asked.Explain {
			_ = c.out.sendJSON(frameTold, r)
		}
	})
}

// each does something for everyone who is there.
func (l *callers) each(do func(*caller)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.list {
		do(c)
	}
}

// size is that of a terminal that someone looks at the container through.
func (l *callers) size() (size *windowSize) {
	l.each(func(c *caller) { size = c.asked.Size })
	return size
}

// end tells those who stayed until the end how it was, and forgets them.
func (l *callers) end(say func(*caller)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.list {
		if c.follows() {
			say(c)
			delete(l.list, c)
		}
	}
}

// follows says whether a command goes along with the container until it ends.
func (c *caller) follows() bool {
	return c.asked.Op == opStart || c.asked.Op == opAttach || c.asked.Op == opWait
}
