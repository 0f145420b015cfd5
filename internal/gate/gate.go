// Package gate holds a whole tree of processes at each system call by which one
// of them is about to change something outside itself, and asks a test what to
// do before it lets the call go on. So a test can kill a process exactly before
// its act n, for every n, without a line of code for it in the program under
// test.
//
// It rests on seccomp's user notifications (seccomp_unotify(2)): a filter that
// the tree inherits stops the calls of interest, and the test, which holds the
// filter's listener, tells the kernel to continue them. The filter is put on by
// the test's own executable, which then becomes the command: a test binary that
// uses this package calls [Enter] first in its TestMain.
//
// To see it by hand: grep Seccomp /proc/PID/status says 2 and how many filters,
// cat /proc/PID/syscall names the call in which a process is held.
package gate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Act is a system call that a process of the tree is about to make.
type Act struct {
	// Pid is the process, whichever of its threads makes the call.
	Pid int
	// Call is the call's name.
	Call   string
	target func() string
}

// Target is what the call is about: a path as the process names it, made absolute
// where it is relative. It can be asked for while the process is held, and is not
// read before: most acts of most tests are only counted.
func (a Act) Target() string { return a.target() }

func (a Act) String() string { return a.Call + " " + a.Target() }

// Before is asked before each act, one at a time, while the acting process is
// held. When it returns, the act goes on, unless the process has been killed
// meanwhile. With more false it is not asked again, and all else goes on freely.
type Before func(Act) (more bool)

// Gate is the hold on one tree.
type Gate struct {
	listener int
	before   Before
	open     atomic.Bool
	// processes maps threads to whose they are. None lasts for long enough that the
	// kernel could have given its number to another.
	processes map[uint32]int
	gone      chan struct{}
	err       error
}

// Start starts the command with the gate around it and everything that it
// starts. The caller waits for the command as usual, and should then see that
// the whole tree ends ([Gate.Gone]): as long as it does not, the gate serves it.
func Start(cmd *exec.Cmd, before Before) (*Gate, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	behind(cmd, theirs)
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s behind a gate: %w", cmd.Args[1], err)
	}
	g := &Gate{before: before, gone: make(chan struct{}), processes: map[uint32]int{}}
	if g.listener, err = receive(ours); err != nil {
		return nil, errors.Join(fmt.Errorf("receive listener: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	go g.serve(cmd.Process.Pid)
	return g, nil
}

// Gone waits until no process of the tree is left, and says whether that was in
// time; err is what went wrong with the gate itself, if anything.
func (g *Gate) Gone(patience time.Duration) (gone bool, err error) {
	select {
	case <-g.gone:
		return true, g.err
	case <-time.After(patience):
		return false, nil
	}
}

// notice and answer are struct seccomp_notif and seccomp_notif_resp of
// linux/seccomp.h.
type notice struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// serve lets every call go on, in the order in which they come. The first is the
// one by which our own executable becomes the command.
func (g *Gate) serve(first int) {
	defer close(g.gone)
	defer unix.Close(g.listener)
	table, entered := calls(), false
	for {
		n, err := g.next()
		if err != nil || n == nil {
			g.err = err
			return
		}
		if !g.open.Load() {
			if act, counts := table.describe(n); counts {
				act.Pid = g.processOf(n.pid)
				if !entered && act.Pid == first {
					entered = true
				} else if !g.before(act) {
					g.open.Store(true)
				}
			}
		}
		if err := g.letGo(n.id); err != nil {
			g.err = err
			return
		}
	}
}

// next waits for a call; nil means that nobody is left who could make one (Linux
// 5.9: the listener then polls as hung up).
func (g *Gate) next() (*notice, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(g.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("poll listener: %w", err)
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			if fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
				return nil, nil
			}
			continue
		}
		var n notice
		err := ioctl(g.listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n))
		switch {
		case err == nil:
			return &n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT): // Killed before we looked.
		default:
			return nil, fmt.Errorf("receive notification: %w", err)
		}
	}
}

// letGo continues a call; whoever made it may be dead by now.
func (g *Gate) letGo(id uint64) error {
	a := answer{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	err := ioctl(g.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("continue call: %w", err)
	}
	return nil
}

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Kill kills the process with all its threads and waits until it is dead; one
// that is gone already is no error.
func Kill(pid int, patience time.Duration) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case time.Now().After(deadline):
			return fmt.Errorf("wait for process %d: not dead after %s", pid, patience)
		}
	}
}

// behind turns the command into our own executable that becomes it.
func behind(cmd *exec.Cmd, socket *os.File) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, socket)
	const firstExtra = 3 // exec.Cmd, ExtraFiles
	cmd.Env = append(cmd.Env, marker+"="+strconv.Itoa(firstExtra+len(cmd.ExtraFiles)-1))
	cmd.Args = append([]string{os.Args[0], cmd.Path}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
}

func pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "gate"), os.NewFile(uintptr(fds[1]), "gate"), nil
}

// receive takes the listener that Enter sends; an end without one means that it
// could not be made, and why is on the command's standard error.
func receive(from *os.File) (int, error) {
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), make([]byte, 1), space, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil {
		return -1, err
	}
	if len(messages) == 0 {
		return -1, errors.New("the command could not put on its filter")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}
