package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Run makes a container, has a monitor start it, and stays attached until it has
// ended, unless told to detach. It returns the container's exit status, or an
// error when the container could not be made or started; [ErrDetached] when the
// user has left it running.
func Run(l Layout, o Options, s Streams) (int, error) {
	c, monitor, err := begin(l, o, s)
	if err != nil {
		return 0, explainDiskFull(err)
	}
	code, err := monitor.start(c, s)
	return code, errors.Join(err, monitor.leave(l))
}

// begin makes a container, and a monitor that waits for the word to start it.
func begin(l Layout, o Options, s Streams) (*Container, *monitorConn, error) {
	d, err := draw(l, o, s.Tell)
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
	if err := d.finish(d.makeAnd(s.Created)); err != nil {
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
	// over says that the monitor has no more to say; ended is closed at the end of
	// one that is our child.
	over bool
	// heard says that the monitor has said something.
	heard bool
	ended chan struct{}
	// detached says that the user has closed the connection.
	detached atomic.Bool
}

// A monitor finds its end of the connection, and the container's lock, as these
// file descriptors.
const (
	monitorFd = 3
	lockFd    = 4
)

// launch forks a monitor, which waits to be told which container to run. It has
// a session and a cgroup of its own: it outlives this command, the terminal and
// the login. The container's lock is handed on with the fork (flock(2): it belongs
// to the open file, not to a process), so nobody gets in between.
func launch(d *draft) (*monitorConn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	title := monitorTitle + d.container.Config.Name
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{title, "monitor", d.container.layout.Root}
	// Huge pages, 2 MiB each, would be most of what an idle monitor has.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GODEBUG=disablethp=1"}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{theirs, d.held.dir}
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
	d.held.handed = true
	m := newMonitorConn(ours)
	go func() {
		_ = cmd.Wait() // It has told us all there is to know.
		close(m.ended)
	}()
	return m, nil
}

func newMonitorConn(conn *net.UnixConn) *monitorConn {
	return &monitorConn{conn: conn, out: frameWriter{w: conn}, taken: make(chan struct{}, 1), ended: make(chan struct{})}
}

// leave ends the conversation. A monitor that said how its container ended ends
// now, too: then the cgroup goes that it could not remove while it was in it.
func (m *monitorConn) leave(l Layout) error {
	err := m.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // The user has detached.
	}
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

// start has the monitor start the container, and passes output, input and signals
// until it has ended, or detaches once it runs.
func (m *monitorConn) start(c *Container, s Streams) (int, error) {
	return m.converse(c, request{Op: opStart, ID: c.Config.ID, Attach: !s.Detach, Input: s.In != nil, Explain: s.Tell != nil}, s)
}
