package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// startOnTerminal starts a command as a terminal window would: with a
// pseudo-terminal (pty(7)) as its standard streams, in a session of its own whose
// controlling terminal that is. What the screen shows is the job's output.
func startOnTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: terminal NAME ROWSxCOLS COMMAND [ARG…]")
	}
	window, program, err := openWindow(windowSize(ts, args[1]))
	ts.Check(err)
	defer program.Close()
	r := &running{cmd: command(ts, args[2:]), stdin: window, ended: make(chan struct{})}
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = program, program, program
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(r.cmd.Start())
	worldOf(ts).running[args[0]] = r
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(shownText{&r.out}, window) // Ends with EIO when nobody has the other end open.
	}()
	go func() {
		_ = r.cmd.Wait() // Its status is in ProcessState.
		<-shown
		close(r.ended)
	}()
}

// shownText leaves out the carriage returns with which a terminal ends lines.
type shownText struct{ to io.Writer }

func (s shownText) Write(p []byte) (int, error) {
	_, err := io.WriteString(s.to, strings.ReplaceAll(string(p), "\r", ""))
	return len(p), err
}

// openWindow makes a pseudo-terminal: the window's end, and the program's.
func openWindow(size *unix.Winsize) (window, program *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	window = os.NewFile(uintptr(fd), "window")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("unlock terminal: %w", err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, size); err != nil {
		return nil, nil, fmt.Errorf("set size of terminal: %w", err)
	}
	peer, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, fmt.Errorf("find terminal: %w", err)
	}
	program, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(peer)), os.O_RDWR|unix.O_NOCTTY, 0)
	return window, program, err
}

func windowSize(ts *testscript.TestScript, text string) *unix.Winsize {
	var size unix.Winsize
	if n, err := fmt.Sscanf(text, "%dx%d", &size.Row, &size.Col); n != 2 {
		ts.Fatalf("%s is no size, such as 24x80: %v", text, err)
	}
	return &size
}

// types presses keys; \x10 is ctrl-p, \r the return key.
func types(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 2)
	keys, err := strconv.Unquote(`"` + strings.Join(args[1:], " ") + `"`)
	ts.Check(err)
	_, err = io.WriteString(r.stdin, keys)
	ts.Check(err)
}

// resizes changes the window, of which the kernel tells the program by SIGWINCH.
func resizes(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 2)
	raw, err := r.stdin.(*os.File).SyscallConn()
	ts.Check(err)
	size, set := windowSize(ts, args[1]), error(nil)
	ts.Check(raw.Control(func(fd uintptr) { set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) }))
	ts.Check(set)
}

func TestATerminalHasTheSizeOfItsWindow(t *testing.T) {
	window, program, err := openWindow(&unix.Winsize{Row: 7, Col: 33})
	if err != nil {
		t.Fatal(err)
	}
	defer window.Close()
	defer program.Close()
	if !hasTerminal(program) {
		t.Error("it is no terminal")
	}
	size, err := unix.IoctlGetWinsize(int(program.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Row != 7 || size.Col != 33 {
		t.Errorf("%+v, %v", size, err)
	}
}
