package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// parse reads flags that stand before or after the one optional argument.
func parse(verb string, args []string, declare func(*flag.FlagSet)) (string, error) {
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	declare(set)
	argument := ""
	for rest := args; ; rest = set.Args()[1:] {
		if err := set.Parse(rest); err != nil {
			return "", usage(verb + ": " + err.Error())
		}
		if set.NArg() == 0 {
			return argument, nil
		}
		if argument != "" {
			return "", usage(verb + ": too many arguments")
		}
		argument = set.Arg(0)
	}
}

type hog struct {
	mb, step, exit int
	pace, hold     time.Duration
	child          bool
}

func memhog(args []string) error {
	h := hog{}
	mb, err := parse("memhog", args, func(set *flag.FlagSet) {
		set.IntVar(&h.step, "step", 1, "MiB taken at a time")
		set.DurationVar(&h.pace, "pace", 0, "pause between two steps")
		set.DurationVar(&h.hold, "hold", 0, "how long to keep it all")
		set.BoolVar(&h.child, "child", false, "take it in a child process and survive")
		set.IntVar(&h.exit, "exit", 0, "exit status of the surviving parent")
	})
	if err != nil {
		return err
	}
	if h.mb, err = strconv.Atoi(mb); err != nil || h.mb < 1 || h.step < 1 {
		return usage("memhog needs a number of MiB, and steps of at least 1")
	}
	if h.child {
		return survive(h)
	}
	return h.take()
}

// take maps memory piece by piece and writes to every page: the kernel gives
// none before (mmap(2), overcommit).
func (h hog) take() error {
	for taken := 0; taken < h.mb; {
		size := min(h.step, h.mb-taken)
		piece, err := unix.Mmap(-1, 0, size*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err != nil {
			return fmt.Errorf("map %d MiB after %d MiB: %w", size, taken, err)
		}
		for i := 0; i < len(piece); i += os.Getpagesize() {
			piece[i] = 1
		}
		taken += size
		fmt.Println(taken, "MiB")
		time.Sleep(h.pace)
	}
	time.Sleep(h.hold)
	return nil
}

// survive lets a child take the memory, says how the child ended, and ends
// with the status asked for.
func survive(h hog) error {
	child := exec.Command("/proc/self/exe", "memhog", strconv.Itoa(h.mb), "--step", strconv.Itoa(h.step),
		"--pace", h.pace.String(), "--hold", h.hold.String())
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	err := child.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return fmt.Errorf("start the child: %w", err)
	}
	fmt.Println("child:", child.ProcessState)
	return status(h.exit)
}

func cpuburn(args []string) error {
	threads := 0
	seconds, err := parse("cpuburn", args, func(set *flag.FlagSet) {
		set.IntVar(&threads, "threads", 1, "processors to keep busy")
	})
	if err != nil {
		return err
	}
	limit, err := strconv.ParseFloat(orElse(seconds, "Inf"), 64)
	if err != nil || limit <= 0 || threads < 1 {
		return usage("cpuburn needs a positive number of seconds and of threads")
	}
	return burn(limit, threads)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// burn reports what it used on the way out, also when a signal ends it early.
func burn(seconds float64, threads int) error {
	signals := endings()
	// The goroutine that waits for the end needs a processor of its own in
	// Go's scheduler, or it is served late.
	goruntime.GOMAXPROCS(threads + 1)
	start := time.Now()
	for range threads {
		go spin()
	}
	var end <-chan time.Time
	// Longer than a Duration can hold means for ever.
	if seconds < 1e9 {
		end = time.After(time.Duration(seconds * float64(time.Second)))
	}
	select {
	case <-end:
		return tellBurn(start, threads)
	case s := <-signals:
		return errors.Join(tellBurn(start, threads), endedBy(s))
	}
}

func spin() {
	goruntime.LockOSThread()
	for n := uint64(0); ; {
		n++
	}
}

func tellBurn(start time.Time, threads int) error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("read the time used: %w", err)
	}
	wall := time.Since(start).Seconds()
	cpu := float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"threads": threads, "wall_seconds": wall, "cpu_seconds": cpu, "cpus": cpu / wall,
	})
}

// bomb is what a fork bomb saw.
type bomb struct {
	Asked   int `json:"asked"`
	Forked  int `json:"forked"`
	Refused int `json:"refused"`
	// Errno names the first refusal.
	Errno string `json:"errno,omitempty"`
	// Peak is the highest number of tasks alive at once: the children, which
	// have one thread each, and the threads of this process.
	Peak int `json:"peak"`
}

// forkbomb forks bare copies of itself that run no Go code: a started Go
// program has several threads, each of them a task for pids.max, and aborts
// when it is refused one.
func forkbomb(args []string) error {
	asked := 200
	if len(args) > 0 {
		var err error
		if asked, err = number(args, "forkbomb"); err != nil {
			return err
		}
	}
	if asked < 1 || asked > 10000 {
		return usage("forkbomb makes 1 to 10000 processes")
	}
	children := make([]int, 0, asked)
	threads, err := ownThreads()
	if err != nil {
		return err
	}
	b := explode(asked, &children)
	b.Peak = threads + len(children)
	return json.NewEncoder(os.Stdout).Encode(b)
}

// explode makes no call by which Go could want another thread: it has no
// garbage to collect, and raw system calls give no processor away.
func explode(asked int, children *[]int) bomb {
	debug.SetGCPercent(-1)
	// The death signal of a child follows the thread that made it.
	goruntime.LockOSThread()
	b := bomb{Asked: asked}
	var refusal unix.Errno
	for range asked {
		pid, errno := forkIdle()
		if errno != 0 {
			b.Refused++
			refusal = errno
			continue
		}
		*children = append(*children, pid)
	}
	b.Forked = len(*children)
	if b.Refused > 0 {
		b.Errno = unix.ErrnoName(refusal)
	}
	for _, pid := range *children {
		_, _, _ = unix.RawSyscall(unix.SYS_KILL, uintptr(pid), uintptr(unix.SIGKILL), 0)
	}
	// A zombie is still a task, so they have to go before Go may want a thread.
	for _, pid := range *children {
		_, _, _ = unix.RawSyscall6(unix.SYS_WAIT4, uintptr(pid), 0, 0, 0, 0, 0)
	}
	return b
}

// forkIdle makes a child that waits for ever, or until this process dies. The
// child is a copy of one thread of a Go program: it must neither grow its
// stack nor call into the scheduler, so it makes raw system calls only.
//
//go:noinline
//go:nosplit
//go:norace
func forkIdle() (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
	for {
		// ppoll with nothing to wait for and no time-out (ppoll(2)).
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

func ownThreads() (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(statusFields(text)["Threads"]))
}
