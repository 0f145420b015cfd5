package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Streams are the caller's ends of a container's standard streams.
type Streams struct {
	// In is nil where the container gets no input.
	In       io.Reader
	Out, Err io.Writer
	// Tell, when not nil, hears the steps.
	Tell func(steps.Record)
	// Started, when not nil, is called once the program runs.
	Started func()
}

// Run makes a container, has a monitor start it, and stays attached until it has
// ended. It returns the container's exit status, or an error when the container
// could not be made or started.
func Run(l Layout, o Options, s Streams) (int, error) {
	c, monitor, err := begin(l, o, s.Tell)
	if err != nil {
		return 0, explainDiskFull(err)
	}
	code, err := monitor.attach(c, s)
	return code, errors.Join(err, monitor.leave(l))
}

// begin makes a container, and a monitor that waits for the word to start it.
func begin(l Layout, o Options, tell func(steps.Record)) (*Container, *monitorConn, error) {
	d, err := draw(l, o, tell)
	if err != nil {
		return nil, nil, err
	}
	// What the kernel needs to move init to its group, and the monitor's own start,
	// overlap with the making of the container.
	if err := cgroups.AnnounceMove(d.ledger); err != nil {
		return nil, nil, d.finish(err)
	}
	monitor, err := launch(d)
	if err != nil {
		return nil, nil, d.finish(err)
	}
	if err := d.finish(d.make()); err != nil {
		monitor.over = true // It never had anything to do.
		return nil, nil, errors.Join(err, monitor.leave(l))
	}
	return d.container, monitor, nil
}

// monitorConn is the command's side of the conversation with a monitor.
type monitorConn struct {
	conn *net.UnixConn
	out  frameWriter
	// taken wakes pumpInput when the container has taken its last piece.
	taken chan struct{}
	// over says that the monitor has no more to say; ended is closed at its end.
	over  bool
	ended chan struct{}
}

// monitorFd is where the monitor finds its end of the connection.
const monitorFd = 3

// launch forks a monitor, which waits to be told which container to run. It has
// a session and a cgroup of its own: it outlives this command, the terminal and
// the login.
func launch(d *draft) (*monitorConn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	title := monitorTitle + d.container.Config.Name
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{title, "monitor", d.container.layout.Root}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	step := steps.Step{
		Kind: "monitor", Target: title,
		Why:   "Start the container's monitor: a small process that outlives this command, waits for the container, and keeps its log.",
		Call:  []string{"clone(CLONE_VM|CLONE_PIDFD|CLONE_VFORK|SIGCHLD)", "setsid()", fmt.Sprintf(`execve("/proc/self/exe", [%q, "monitor", %q], …)`, title, d.container.layout.Root)},
		Shell: []string{"setsid minidock monitor " + d.container.layout.Root + " &"},
		See:   "ps -e -o pid,ppid,sid,args | grep 'minidock: monitor'",
		Man:   "clone(2), setsid(2)",
	}
	if err := d.ledger.Do(step, cmd.Start); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	m := &monitorConn{conn: ours, out: frameWriter{w: ours}, taken: make(chan struct{}, 1), ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // It has told us all there is to know.
		close(m.ended)
	}()
	return m, nil
}

// leave ends the conversation. A monitor that said how its container ended ends
// now, too: then the cgroup goes that it could not remove while it was in it.
func (m *monitorConn) leave(l Layout) error {
	err := m.conn.Close()
	if host, unknown := cgroups.Probe(); !m.over || unknown != nil || !host.Unified() {
		return err // Elsewhere monitors have no group of their own.
	}
	select {
	case <-m.ended:
		return errors.Join(err, cgroups.RemoveUnused(l.Instance))
	case <-time.After(lockPatience):
		return err
	}
}

// monitorTitle begins the monitor's argv[0], so that ps names it for what it is.
const monitorTitle = "minidock: monitor "

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	theirs = os.NewFile(uintptr(pair[1]), "monitor")
	ours, err = connOf(os.NewFile(uintptr(pair[0]), "command"))
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

func connOf(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use monitor socket: %w", err)
	}
	return conn.(*net.UnixConn), nil
}

// attach has the monitor start the container and passes output, input and
// signals until it has ended.
func (m *monitorConn) attach(c *Container, s Streams) (int, error) {
	if err := m.out.sendJSON(frameGo, goMessage{ID: c.Config.ID, Explain: s.Tell != nil}); err != nil {
		return 0, err
	}
	defer m.forwardSignals()()
	for {
		kind, payload, err := readFrame(m.conn)
		m.over = err != nil || kind == frameFault || kind == frameExit
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
		if s.Started != nil {
			s.Started()
		}
		if s.In != nil {
			go m.pumpInput(s.In)
		}
	case frameTaken:
		m.taken <- struct{}{}
	case frameFault:
		var fault steps.Fault
		if err = json.Unmarshal(payload, &fault); err == nil {
			err = &fault
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

// pumpInput copies our input to the container until it ends or nobody takes it.
func (m *monitorConn) pumpInput(in io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := in.Read(buffer)
		if n > 0 {
			if m.out.send(frameInput, buffer[:n]) != nil {
				return
			}
			<-m.taken
		}
		if err != nil {
			_ = m.out.send(frameEOF, nil)
			return
		}
	}
}

// forwardSignals passes on what Docker passes on: everything but the signals
// that speak of this process itself (its children, its pipes, its window, and
// SIGURG, which Go's scheduler uses).
func (m *monitorConn) forwardSignals() (stop func()) {
	caught := make(chan os.Signal, 64)
	signal.Notify(caught)
	signal.Reset(unix.SIGCHLD, unix.SIGPIPE, unix.SIGWINCH, unix.SIGURG)
	go func() {
		for s := range caught {
			if number := s.(syscall.Signal); !ownSignal(number) {
				_ = m.out.sendJSON(frameSignal, signalMessage{Number: int(number)})
			}
		}
	}()
	return func() { signal.Stop(caught) }
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
