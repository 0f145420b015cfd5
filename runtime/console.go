package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// console is the monitor's side of a container's terminal. The container's own
// init opens a pseudo-terminal in its /dev/pts (pty(7)) and sends the end that
// the outside reads and writes over a socket.
type console struct {
	ours *net.UnixConn
	// theirs is the socket's end for libcontainer.
	theirs *os.File
	// terminal is the master end, which monitors read from and write to.
	terminal *os.File
	// peer is the container's end. As long as we have it open, the terminal lives
	// on while no process of the container has it open.
	peer *os.File
}

func newConsole() (*console, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	return &console{ours: ours, theirs: theirs}, nil
}

// receive waits for the terminal, which init has sent by the time Start returns.
func (c *console) receive() (*os.File, error) {
	defer c.ours.Close()
	c.theirs.Close()
	name, rights := make([]byte, unix.PathMax), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ours.ReadMsgUnix(name, rights)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	fd, err := oneRight(rights[:n])
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	// Not blocking, it is read by Go's poller, and reading can be ended.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("use terminal: %w", err)
	}
	c.terminal = os.NewFile(uintptr(fd), "terminal")
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errors.Join(fmt.Errorf("open the container's end of its terminal: %w", errno), c.terminal.Close())
	}
	c.peer = os.NewFile(peer, "terminal's peer")
	return c.terminal, nil
}

// oneRight takes the one file descriptor out of a control message (unix(7), SCM_RIGHTS).
func oneRight(control []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, err
	}
	if len(messages) != 1 {
		return 0, fmt.Errorf("%d control messages, not one", len(messages))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	if len(fds) != 1 {
		return 0, fmt.Errorf("%d file descriptors, not one", len(fds))
	}
	unix.CloseOnExec(fds[0])
	return fds[0], nil
}

// resize tells the container's programs of a new size, by SIGWINCH.
func (c *console) resize(size windowSize) error {
	if c == nil || c.terminal == nil {
		return nil
	}
	raw, err := c.terminal.SyscallConn()
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Height, Col: size.Width})
	})
	if err = errors.Join(err, set); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// release lets the terminal come to its end once the container has let go of it.
func (c *console) release() {
	if c.peer != nil {
		c.peer.Close()
		c.peer = nil
	}
}

func (c *console) close() {
	c.release()
	c.ours.Close()
	c.theirs.Close()
}
