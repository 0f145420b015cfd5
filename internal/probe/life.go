package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func exit(args []string) error {
	code, err := number(args, "exit")
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// number reads the one argument of a verb.
func number(args []string, verb string) (int, error) {
	if len(args) != 1 {
		return 0, usage(verb + " needs one number")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return 0, usage(verb + " needs a number, not " + args[0])
	}
	return n, nil
}

// sleep answers signals itself, because the first process of a pid namespace
// gets none that it has no handler for (pid_namespaces(7)).
func sleep(args []string) error {
	if len(args) != 1 {
		return usage("sleep needs a number of seconds")
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return usage("sleep needs a number of seconds, not " + args[0])
	}
	signals := endings()
	fmt.Println("ready")
	select {
	case s := <-signals:
		return endedBy(s)
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return nil
	}
}

// endings subscribes to the signals that a well-behaved program ends on, and
// two that it may have a meaning of its own for.
func endings() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	return c
}

// endedBy says which signal came and gives the status that a shell would report.
func endedBy(s os.Signal) error {
	n := s.(syscall.Signal)
	fmt.Println("got", unix.SignalName(n))
	return status(128 + int(n))
}

func ignoreTerm([]string) error {
	c := make(chan os.Signal, 1)
	signal.Notify(c, unix.SIGTERM)
	fmt.Println("ready")
	for range c {
		fmt.Println("ignored SIGTERM")
	}
	return nil
}

// dieOf takes away Go's handler, and then sends the signal to itself. The
// kernel drops a signal that PID 1 of a namespace sends itself; a real fault
// it does not drop.
func dieOf(args []string) error {
	n, err := number(args, "signal")
	if err != nil {
		return err
	}
	if n < 1 || n > 64 {
		return usage("signals are numbered 1 to 64 (signal(7))")
	}
	s := syscall.Signal(n)
	if s != unix.SIGKILL && s != unix.SIGSTOP {
		if err := setDefault(s); err != nil {
			return fmt.Errorf("reset the handler of %s: %w", unix.SignalName(s), err)
		}
	}
	if err := unix.Kill(os.Getpid(), s); err != nil {
		return fmt.Errorf("send %s: %w", unix.SignalName(s), err)
	}
	if s == unix.SIGSEGV {
		fault()
	}
	return fmt.Errorf("%s left process %d alive", unix.SignalName(s), os.Getpid())
}

// setDefault bypasses os/signal, whose Reset leaves Go's own handler for faults.
func setDefault(s syscall.Signal) error {
	// struct kernel_sigaction, all zero: SIG_DFL, no flags, an empty mask of
	// 8 bytes (rt_sigaction in sigaction(2)).
	var action [4]uint64
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// fault reads the first page, which vm.mmap_min_addr keeps unmapped.
//
//go:noinline
func fault() {
	var nowhere *byte
	fmt.Println(*nowhere)
}

// zombie makes a grandchild, ends its parent, then ends the grandchild: an
// orphan that only the first process of the namespace (or a subreaper) can
// reap.
func zombie([]string) error {
	orphan, end, err := makeOrphan()
	if err != nil {
		return err
	}
	if err := end.Close(); err != nil {
		return fmt.Errorf("end the orphan: %w", err)
	}
	state, err := fate(orphan)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"orphan": orphan, "state": state})
}

// makeOrphan returns the orphan's pid and the pipe that keeps it alive.
func makeOrphan() (int, io.Closer, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, nil, fmt.Errorf("make pipe: %w", err)
	}
	parent := exec.Command("/proc/self/exe", "orphan-maker")
	parent.Stdin, parent.Stderr = r, os.Stderr
	text, err := parent.Output()
	if err != nil {
		return 0, nil, fmt.Errorf("run the orphan's parent: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, nil, fmt.Errorf("read the orphan's pid: %w", err)
	}
	return pid, w, errors.Join(r.Close())
}

// orphanMaker starts a child that lives as long as standard input, says its
// pid, and leaves without waiting.
func orphanMaker([]string) error {
	child := exec.Command("/proc/self/exe", "cat")
	child.Stdin, child.Stderr = os.Stdin, os.Stderr
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the orphan: %w", err)
	}
	fmt.Println(child.Process.Pid)
	return nil
}

// fate waits until the orphan is a zombie of ours, or gone because somebody
// else reaped it.
func fate(pid int) (string, error) {
	// 5 s: the orphan has nothing to do but see the end of its input.
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		// A siginfo that is left zero means "not yet" (waitid(2), WNOHANG).
		if err == nil && info.Signo != 0 {
			return "zombie", nil
		}
		if errors.Is(err, unix.ECHILD) && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return "reaped", nil
		}
	}
	return "", fmt.Errorf("orphan %d is still there after 5 s", pid)
}
