package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Streams are the caller's ends of a process' standard streams, and what it wants
// to hear besides.
type Streams struct {
	// In is nil where the process gets no input.
	In       io.Reader
	Out, Err io.Writer
	// Detach leaves as soon as the program runs.
	Detach bool
	// Terminal, when not nil, is the terminal that takes the place of the
	// process' own: it is put into raw mode, and its size is passed on.
	Terminal *os.File
	// DetachKeys is what a user types to leave the process running; see
	// [ParseDetachKeys]. Empty means that nothing does.
	DetachKeys []byte
	// KeepSignals leaves this process' signals to itself.
	KeepSignals bool
	// Created, when not nil, is told the ID of a container before it is started.
	Created func(id string) error
	// Tell, when not nil, hears the steps.
	Tell func(steps.Record)
	// Started, when not nil, is called once the program runs.
	Started func()
}

// ErrDetached says that the user has left the process, which goes on.
var ErrDetached = errors.New("read escape sequence")

// converse asks a monitor for something, and passes on what belongs to it until
// there is no more to say.
func (m *monitorConn) converse(c *Container, r request, s Streams) (int, error) {
	if s.Terminal != nil {
		r.Size = knownSize(s.Terminal)
	}
	if s.Terminal != nil && s.In != nil { // Without input, keys are for the host's terminal to heed.
		restore, err := enterTerminal(s.Terminal)
		if err != nil {
			return 0, err
		}
		defer restore()
	}
	if err := m.out.sendJSON(frameRequest, r); err != nil {
		return 0, explainLostMonitor(c, err)
	}
	defer m.forwardSignals(s)()
	for {
		kind, payload, err := readFrame(m.conn)
		m.heard = m.heard || err == nil
		m.over = err != nil || kind == frameFault || kind == frameExit
		if err != nil && m.detached.Load() {
			return 0, ErrDetached
		}
		if err != nil {
			return 0, explainLostMonitor(c, err)
		}
		if done, code, err := m.handle(kind, payload, s); done {
			return code, err
		}
	}
}

// handle deals with one frame from the monitor; done says that it was the last.
func (m *monitorConn) handle(kind frameType, payload []byte, s Streams) (done bool, code int, err error) {
	switch kind {
	case frameOutput:
		_, err = s.Out.Write(payload)
	case frameErrout:
		_, err = s.Err.Write(payload)
	case frameTold:
		var told steps.Record
		if err = json.Unmarshal(payload, &told); err == nil && s.Tell != nil {
			s.Tell(told)
		}
	case frameStarted:
		m.begun(s)
		return s.Detach, 0, nil
	case frameTaken:
		m.taken <- struct{}{}
	case frameDone:
		return true, 0, nil
	case frameFault:
		var fault faultMessage
		if err = json.Unmarshal(payload, &fault); err == nil {
			err = fault.restored()
		}
		return true, 0, err
	case frameExit:
		var exit exitMessage
		err = json.Unmarshal(payload, &exit)
		return true, exit.Code, err
	}
	if err != nil {
		return true, 0, fmt.Errorf("pass on the container's output: %w", err)
	}
	return false, 0, nil
}

// begun is what follows once the program runs.
func (m *monitorConn) begun(s Streams) {
	if s.Started != nil {
		s.Started()
	}
	if s.In != nil && !s.Detach {
		go m.pumpInput(s)
	}
}

// pumpInput copies our input to the process until it ends or nobody takes it, or
// the user types the keys to detach.
func (m *monitorConn) pumpInput(s Streams) {
	buffer := make([]byte, 32<<10)
	keys := detacher{keys: s.DetachKeys}
	for {
		n, err := s.In.Read(buffer)
		text, detach := keys.filter(buffer[:n])
		if len(text) > 0 {
			if m.out.send(frameInput, text) != nil {
				return
			}
			<-m.taken
		}
		if detach {
			m.detached.Store(true)
			_ = m.out.send(frameDetach, nil)
			m.conn.Close()
			return
		}
		if err != nil {
			_ = m.out.send(frameEOF, nil)
			return
		}
	}
}

// forwardSignals passes on what Docker passes on: everything but the signals
// that speak of this process itself (its children, its pipes, its window, and
// SIGURG, which Go's scheduler uses). Where keys are passed on they make no signals
// here, and of a terminal only the size is passed on.
func (m *monitorConn) forwardSignals(s Streams) (stop func()) {
	caught := make(chan os.Signal, 64)
	switch {
	case s.Terminal != nil && (s.In != nil || s.KeepSignals):
		signal.Notify(caught, unix.SIGWINCH)
	case s.KeepSignals || s.Detach:
		return func() {}
	default:
		signal.Notify(caught)
		signal.Reset(unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG)
	}
	go func() {
		for got := range caught {
			m.forward(got.(syscall.Signal), s.Terminal)
		}
	}()
	return func() { signal.Stop(caught) }
}

func (m *monitorConn) forward(number syscall.Signal, terminal *os.File) {
	switch {
	case number == unix.SIGWINCH && terminal != nil:
		if size, err := terminalSize(terminal); err == nil {
			_ = m.out.sendJSON(frameResize, size)
		}
	case !ownSignal(number):
		_ = m.out.sendJSON(frameSignal, signalMessage{Number: int(number)})
	}
}

func ownSignal(s syscall.Signal) bool {
	return s == unix.SIGCHLD || s == unix.SIGPIPE || s == unix.SIGWINCH || s == unix.SIGURG
}

var errMonitorDied = errors.New("monitor died")

// explainLostMonitor tells what became of a container whose monitor went away
// in the middle of a conversation.
func explainLostMonitor(c *Container, cause error) error {
	fault := &steps.Fault{
		Msg:  "the container's monitor died",
		Hint: "See what became of the container with `minidock ps -a`; clean up with `minidock system cleanup`.",
		Code: 125, Err: fmt.Errorf("%w: %w", errMonitorDied, cause),
	}
	if now, err := load(c.layout, c.Config.ID); err == nil && now.Running() {
		fault.Msg += "; the container goes on running"
		fault.Hint = "Stop and remove it with `minidock rm -f " + c.Config.Name + "`."
	}
	return fault
}
