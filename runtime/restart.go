package runtime

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/minidock/minidock/steps"
)

// The back-off of Docker's restart policies (docker-behaviour: 100 ms, doubling,
// at most a minute; it begins anew after a run of ten seconds).
const (
	firstBackOff   = 100 * time.Millisecond
	longestBackOff = time.Minute
	longRun        = 10 * time.Second
)

// restarts decides whether and when a container is started again. It is a pure
// state machine: it looks at no clock.
type restarts struct {
	policy RestartPolicy
	// count is how often the policy has started the container since a user did.
	count int
	// wait is how long to wait before the next start.
	wait time.Duration
}

// next says after the end of a run whether there is another, and sets how long to
// wait for it.
func (r *restarts) next(exitCode int, ran time.Duration) bool {
	if !r.policy.wants(exitCode, r.count) {
		return false
	}
	switch {
	case r.wait == 0 || ran >= longRun:
		r.wait = firstBackOff
	default:
		r.wait = min(2*r.wait, longestBackOff)
	}
	r.count++
	return true
}

// wants says whether a container that ended with this status, after so many
// restarts, is to run again.
func (p RestartPolicy) wants(exitCode, restarts int) bool {
	switch p.Name {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return exitCode != 0 && (p.MaximumRetryCount == 0 || restarts < p.MaximumRetryCount)
	}
	return false
}

// wantsAfterBoot says whether a container that had been started is started again
// when the machine comes up.
func (p RestartPolicy) wantsAfterBoot(last LastRun, exit *Exit) bool {
	switch p.Name {
	case "always":
		return true
	case "unless-stopped":
		return !last.StoppedByUser
	case "on-failure":
		return !last.StoppedByUser && exit != nil && p.wants(exit.ExitCode, last.RestartCount)
	}
	return false
}

// ParseRestartPolicy reads the value of --restart as Docker does.
func ParseRestartPolicy(text string) (RestartPolicy, error) {
	name, count, counted := strings.Cut(text, ":")
	p := RestartPolicy{Name: name}
	fault := func(format string, args ...any) (RestartPolicy, error) {
		return RestartPolicy{}, &steps.Fault{
			Msg: fmt.Sprintf(format, args...), Hint: "Use no, on-failure[:max-retries], always or unless-stopped.",
		}
	}
	switch name {
	case "", "no", "always", "unless-stopped", "on-failure":
	default:
		return fault("invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", name)
	}
	if !counted {
		return p, nil
	}
	n, err := strconv.Atoi(count)
	switch {
	case err != nil:
		return fault("invalid restart policy format: maximum retry count must be an integer")
	case name != "on-failure":
		return fault("invalid restart policy: maximum retry count can only be used with 'on-failure'")
	case n < 0:
		return fault("invalid restart policy: maximum retry count cannot be negative")
	}
	p.MaximumRetryCount = n
	return p, nil
}
