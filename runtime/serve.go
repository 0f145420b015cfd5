package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// socketFile is where a monitor listens, in the container's run directory.
const socketFile = "sock"

// listen opens the socket at which later commands find the monitor. A dead
// monitor's, if there is one, is taken away: we hold the container's lock.
func (m *monitor) listen() error {
	path := filepath.Join(m.container.run(), socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	return m.ledger.Do(steps.Step{
		Kind: "socket", Target: path,
		Why:   "Listen for later commands: attach, exec, stop and the like reach the container's monitor here. There is no daemon in between.",
		Call:  []string{"socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0)", fmt.Sprintf("bind(FD, {sa_family=AF_UNIX, sun_path=%q}, …)", path), "listen(FD, …)"},
		Shell: []string{"socat UNIX-LISTEN:" + steps.ShellQuote(path) + ",fork -"},
		Undo:  "rm " + path,
		See:   "ss -xlp | grep " + short(m.container.Config.ID),
		Man:   "unix(7), bind(2), listen(2)",
	}, func() (err error) {
		m.socket, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			m.socket.SetUnlinkOnClose(false) // It goes with its directory.
		}
		return err
	})
}

// accept serves every command that comes, until the monitor closes the socket.
func (m *monitor) accept() {
	for {
		conn, err := m.socket.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(lockStep) // No descriptor is free (accept(2), EMFILE): until one is, there is nothing to be told.
			continue
		}
		m.serving.Add(1)
		go func() {
			defer m.serving.Done()
			m.serve(conn)
		}()
	}
}

// serve fulfils one command's request.
func (m *monitor) serve(conn *net.UnixConn) {
	_ = conn.SetReadDeadline(time.Now().Add(lockPatience))
	asked, err := readRequest(conn)
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		conn.Close() // It went away, or speaks another protocol.
		return
	}
	c := newCaller(conn, asked)
	defer c.spool.close()
	if asked.Explain {
		m.callers.add(c)
		defer m.callers.remove(c)
	}
	switch asked.Op {
	case opAttach:
		m.attach(c)
	case opWait:
		m.waitFor(c)
	case opExec:
		m.exec(c)
	default:
		c.answer(m.fulfil(asked))
	}
}

// fulfil does what is done once and then answered.
func (m *monitor) fulfil(asked request) error {
	switch asked.Op {
	case opKill:
		return m.killOnRequest(unix.Signal(asked.Signal))
	case opStop:
		return m.stop(asked)
	case opPause:
		return m.pause()
	case opUnpause:
		return m.unpause()
	case opRename:
		return m.rename(asked.Name)
	case opUpdate:
		return m.update(*asked.Changes)
	case opConnect, opDisconnect:
		return m.changeNetworks(asked)
	}
	return fmt.Errorf("unknown request %q", asked.Op)
}

// waitFor tells a command how the present run ends.
func (m *monitor) waitFor(c *caller) {
	if m.standsIn() {
		m.letGo()
		m.endsWithin(-1)
		c.exit(unknownStatus)
		return
	}
	m.mu.Lock()
	m.callers.add(c)
	late := m.phase == over
	m.mu.Unlock()
	if late {
		m.callers.end(m.tellEnd)
	}
	m.hear(c)
}

// attach adds a command to those who see the output, and hears its input.
func (m *monitor) attach(c *caller) {
	if m.standsIn() {
		c.fault(&steps.Fault{
			Msg:  "the container's monitor died: there is no output to attach to",
			Hint: "Enter it with `minidock exec`, or stop it with `minidock stop " + m.container.Config.Name + "`.",
		})
		return
	}
	if err := m.join(c); err != nil {
		c.fault(err)
		return
	}
	defer m.callers.remove(c)
	m.container.emit("attach", nil)
	if size := c.asked.Size; size != nil {
		// By way of another size, as in Docker: a program draws anew only when its
		// terminal's size has changed.
		s := m.present()
		m.resize(s, windowSize{Height: size.Height + 1, Width: size.Width + 1})
		m.resize(s, *size)
	}
	c.started(m.current().Pid)
	m.hear(c)
}

// join adds a command to those who will hear of the end of the present run.
func (m *monitor) join(c *caller) error {
	for {
		if err := m.needRunning(); err != nil {
			return err
		}
		m.mu.Lock()
		if m.phase == running {
			m.callers.add(c)
			m.mu.Unlock()
			return nil
		}
		m.mu.Unlock()
	}
}

// hear takes input, signals and sizes from a command until it goes away.
func (m *monitor) hear(c *caller) {
	defer m.callers.remove(c)
	for {
		kind, payload, err := readFrame(c.conn)
		if err != nil {
			if c.asked.Input && m.container.Config.StdinOnce {
				m.present().endInput()
			}
			return
		}
		switch kind {
		case frameInput:
			m.present().takeInput(piece{payload, func() { _ = c.out.send(frameTaken, nil) }})
		case frameEOF:
			if m.container.Config.StdinOnce {
				m.present().endInput()
			}
		case frameDetach:
			m.container.emit("detach", nil)
		default:
			obey(kind, payload, func(size windowSize) { m.resize(m.present(), size) }, m.sendSignal)
		}
	}
}

// resize gives the container's terminal another size.
func (m *monitor) resize(s *stdio, size windowSize) {
	if s.console.resize(size) == nil && s.console != nil {
		m.container.emit("resize", map[string]string{"height": strconv.Itoa(int(size.Height)), "width": strconv.Itoa(int(size.Width))})
	}
}

// obey deals with the frames that speak to a process: signals, and sizes of its
// terminal.
func obey(kind frameType, payload []byte, resize func(windowSize), signal func(unix.Signal) error) {
	switch kind {
	case frameSignal:
		var message signalMessage
		if json.Unmarshal(payload, &message) == nil {
			_ = signal(unix.Signal(message.Number))
		}
	case frameResize:
		var size windowSize
		if json.Unmarshal(payload, &size) == nil {
			resize(size)
		}
	}
}

// present returns the streams of the present run.
func (m *monitor) present() *stdio {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.stdio == nil && m.phase != over {
		m.turned.Wait()
	}
	if m.stdio == nil {
		return &stdio{}
	}
	return m.stdio
}

// use makes streams the present ones.
func (m *monitor) use(s *stdio) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stdio = s
	m.turned.Broadcast()
}

// needRunning waits while the container is starting or ending, and refuses when
// there is no program to do something to.
func (m *monitor) needRunning() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.phase == starting || m.phase == ending {
		m.turned.Wait()
	}
	switch m.phase {
	case running:
		return nil
	case resting:
		return restarting(m.container)
	}
	return notRunning(m.container)
}

func restarting(c *Container) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("Container %s is restarting, wait until the container is running", c.Config.ID),
		Hint: "See `minidock ps -a`, and why it ends with `minidock logs " + c.Config.Name + "`.", Err: errNotRunning,
	}
}

// needProgram refuses a container that does not run at this moment.
func (c *Container) needProgram() error {
	switch {
	case c.Running():
		return nil
	case c.Live != nil && c.Live.Restarting:
		return restarting(c)
	}
	return notRunning(c)
}

func notRunning(c *Container) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("Container %s is not running", c.Config.ID),
		Hint: "Start it with `minidock start " + c.Config.Name + "`.", Err: errNotRunning,
	}
}

var errNotRunning = errors.New("container is not running")
