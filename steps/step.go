package steps

import (
	"strconv"
	"time"
)

// Kind names what a step makes; it selects the undo.
type Kind string

// Lifetime says what takes an object away, and so which ledger file records it.
type Lifetime int

const (
	// Boot is for objects that a reboot takes: mounts, cgroups, fifos, processes.
	Boot Lifetime = iota
	// Kept is for files and directories that outlive a reboot.
	Kept
)

// Step is one act on the kernel or the host, described before it is done.
type Step struct {
	Kind   Kind   `json:"kind"`
	Target string `json:"target"`
	// Lifetime selects the ledger file; see [Boot] and [Kept].
	Lifetime Lifetime `json:"lifetime,omitempty"`
	// Why is one sentence for a learner.
	Why string `json:"why"`
	// Call holds the system calls made, one per line, in C notation.
	Call []string `json:"call,omitempty"`
	// Shell holds the commands that do the same by hand.
	Shell []string `json:"shell,omitempty"`
	// Undo is the command that takes the object back by hand.
	Undo string `json:"undo,omitempty"`
	// See is a command that shows the result.
	See string `json:"see,omitempty"`
	// Man names the manual page or kernel document.
	Man string `json:"man,omitempty"`
	// Inside marks an act done by the container's own first process.
	Inside bool `json:"inside,omitempty"`
}

// State is how far a step has come.
type State string

// The states of a recorded step.
const (
	Begun  State = "begun"
	Done   State = "done"
	Failed State = "failed"
	Undone State = "undone"
)

// Record is a step as the ledger knows it.
type Record struct {
	Step
	// N numbers the steps of one ledger from 1, across both of its files.
	N     int       `json:"n"`
	Begun time.Time `json:"begun"`
	// Took is how long the act lasted; 0 for a step done together with others.
	Took  time.Duration `json:"took_ns,omitempty"`
	State State         `json:"state"`
	Error string        `json:"error,omitempty"`
	// Together marks a step done with others by a component that reports no
	// progress: if that fails, any of them may have been done.
	Together bool `json:"together,omitempty"`
}

// mayExist says whether the step's object may be there: it was done, or it was
// under way, or it was one of several of which the last may have failed.
func (r Record) mayExist() bool {
	return r.State == Done || r.State == Begun || r.State == Failed && r.Together
}

// Quote writes an argument as a C string literal, for [Step.Call].
func Quote(s string) string { return strconv.Quote(s) }

// ShellQuote writes an argument so that a POSIX shell reads it as one word
// (POSIX.1-2017, Shell Command Language, 2.2.2).
func ShellQuote(s string) string {
	if s != "" && !containsSpecial(s) {
		return s
	}
	quoted := []byte{'\''}
	for i := range len(s) {
		if s[i] == '\'' {
			quoted = append(quoted, `'\''`...)
			continue
		}
		quoted = append(quoted, s[i])
	}
	return string(append(quoted, '\''))
}

func containsSpecial(s string) bool {
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case r == '/' || r == '.' || r == '_' || r == '-' || r == '=' || r == ':' || r == ',' || r == '+' || r == '@' || r == '%':
		default:
			return true
		}
	}
	return false
}
