package runtime

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// maxSignal is the last real-time signal, SIGRTMAX (signal(7)).
const maxSignal = 64

// ParseSignal reads a signal as Docker's flags take it: a number, or a name with
// or without SIG, in either case; RTMIN+n and RTMAX-n too.
func ParseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n > 0 && n <= maxSignal {
			return unix.Signal(n), nil
		}
		return 0, invalidSignal(text)
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if s := unix.SignalNum("SIG" + name); s != 0 {
		return s, nil
	}
	if s, ok := realTime(name); ok {
		return s, nil
	}
	return 0, invalidSignal(text)
}

// realTime: the C library keeps the kernel's first two for itself (signal(7),
// Real-time signals), so RTMIN is 34.
func realTime(name string) (unix.Signal, bool) {
	const first = 34
	offset := func(digits string) int {
		n, err := strconv.ParseUint(digits[1:], 10, 8)
		if err != nil {
			return maxSignal
		}
		return int(n)
	}
	n := 0
	switch {
	case name == "RTMIN":
		n = first
	case name == "RTMAX":
		n = maxSignal
	case strings.HasPrefix(name, "RTMIN+"):
		n = first + offset(name[len("RTMIN"):])
	case strings.HasPrefix(name, "RTMAX-"):
		n = maxSignal - offset(name[len("RTMAX"):])
	}
	return unix.Signal(n), n >= first && n <= maxSignal
}

func invalidSignal(text string) error {
	return &steps.Fault{Msg: "Invalid signal: " + text, Hint: "Give a name such as TERM or SIGHUP, or a number; `kill -l` lists them."}
}

// stopSignal is what stop sends first.
func (c Config) stopSignal() unix.Signal {
	s, err := ParseSignal(firstOf(c.StopSignal, "TERM"))
	if err != nil {
		return unix.SIGTERM // Checked when the container was made.
	}
	return s
}

// stopTimeout is how many seconds stop waits; below 0 for ever.
func (c Config) stopTimeout() int {
	if c.StopTimeout == nil {
		return DefaultStopTimeout
	}
	return *c.StopTimeout
}

// signalStep tells a signal to a container's first process.
func signalStep(pid int, s unix.Signal, why string) steps.Step {
	name := unix.SignalName(s)
	if name == "" {
		name = strconv.Itoa(int(s))
	}
	return steps.Step{
		Kind: "signal", Target: fmt.Sprintf("%s to process %d", name, pid), Why: why,
		Call:  []string{fmt.Sprintf("pidfd_open(%d, 0)", pid), fmt.Sprintf("pidfd_send_signal(FD, %s, NULL, 0)", name)},
		Shell: []string{fmt.Sprintf("kill -%s %d", strings.TrimPrefix(name, "SIG"), pid)},
		See:   fmt.Sprintf("ps -o pid,stat,args -p %d", pid),
		Man:   "pidfd_send_signal(2), signal(7), pid_namespaces(7)",
	}
}
