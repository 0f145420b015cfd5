package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/minidock/minidock/steps"
)

// toldCall is one call of a told step.
type toldCall struct {
	step steps.Record
	text string
	name string
	args []string
}

func (told toldCall) String() string {
	return fmt.Sprintf("step %d (%s %s): %s", told.step.N, told.step.Kind, told.step.Target, told.text)
}

// toldCalls reads the calls of a story. "call(… x …) for x in A B" stands for
// one call with each.
func toldCalls(story []steps.Record) ([]toldCall, error) {
	var all []toldCall
	for _, r := range story {
		for _, text := range r.Call {
			call, each, loop := strings.Cut(text, " for cap in ")
			values := strings.Fields(each)
			if !loop {
				values = []string{""}
			}
			for _, v := range values {
				told := toldCall{step: r, text: text}
				name, args, _, err := splitCall(strings.Replace(call, "cap", v, 1*len(v)))
				if err != nil {
					return nil, fmt.Errorf("step %d: %w", r.N, err)
				}
				told.name, told.args = canonical(name, args, (&traced{}).path)
				all = append(all, told)
			}
		}
	}
	return all, nil
}

// judge holds a story against what was traced, and returns what is not true: a
// told call that nobody made, one made out of turn, and an act that nobody told.
func judge(story []steps.Record, acts []act, exempt []exemption) []string {
	told, err := toldCalls(story)
	if err != nil {
		return []string{err.Error()}
	}
	j := &hearing{acts: acts, taken: make([]bool, len(acts)), last: map[role]turn{}}
	for _, t := range told {
		j.find(t)
	}
	for i, a := range acts {
		if !j.taken[i] && watched(a) && !undoes(story, a) && !repeats(told, a) && !slices.ContainsFunc(exempt, func(e exemption) bool { return e.covers(a) }) {
			j.say("not told: line %d, %s", a.line, a)
		}
	}
	return j.complaints
}

type hearing struct {
	acts       []act
	taken      []bool
	last       map[role]turn
	complaints []string
}

// turn is how far the log has been followed for one role, and in which step.
type turn struct {
	line int
	step steps.Record
}

func (j *hearing) say(format string, args ...any) {
	j.complaints = append(j.complaints, fmt.Sprintf(format, args...))
}

// find takes the first act that the told call means, and sees that it was made
// in its turn.
func (j *hearing) find(t toldCall) {
	at := -1
	for i, a := range j.acts {
		if j.taken[i] || a.failed != "" || a.role == asProgram || t.step.Inside && a.role != asInit || !t.means(a) {
			continue
		}
		at = i
		break
	}
	if at < 0 {
		j.say("not done: %s", t)
		return
	}
	j.taken[at] = true
	a := j.acts[at]
	before := j.last[a.role]
	if a.line < before.line && !inAnyOrder(before.step, t.step) {
		j.say("out of turn: %s was done at line %d, before step %d (%s)", t, a.line, before.step.N, before.step.Kind)
	}
	j.last[a.role] = turn{max(a.line, before.line), t.step}
}

// inAnyOrder says of which steps the order is not told.
func inAnyOrder(a, b steps.Record) bool {
	anyOf := func(kinds ...steps.Kind) bool {
		return slices.Contains(kinds, a.Kind) && slices.Contains(kinds, b.Kind)
	}
	switch {
	case anyOf("sysctl"):
		return true // libcontainer has them in a map, which Go goes through at random.
	case anyOf("shared-cgroup", "cgroup", "cpuset", "join"):
		return len(a.Call) > 1 || len(b.Call) > 1 // Version 1: libcontainer does it all tree by tree; the story goes act by act.
	}
	return false
}

// watched says which acts must be told: all that make or change something of the
// kernel's that others can see.
func watched(a act) bool {
	if a.failed != "" || a.role == asProgram {
		return false
	}
	first := ""
	if len(a.args) > 0 {
		first = a.args[0]
	}
	switch a.name {
	case "clone", "unshare", "setns", "execve", "execveat",
		"mount", "umount2", "pivot_root", "chroot", "fsopen", "fspick", "fsconfig", "fsmount", "move_mount", "mount_setattr",
		"sethostname", "setdomainname", "setuid", "setgid", "setgroups", "setreuid", "setregid", "setresuid", "setresgid",
		"capset", "bpf", "mkdirat", "mknodat", "symlinkat", "linkat", "setrlimit":
		return true
	case "open_tree":
		return strings.Contains(strings.Join(a.args, " "), "OPEN_TREE_CLONE")
	case "prlimit64":
		return len(a.args) > 2 && a.args[2] != "NULL"
	case "prctl":
		return slices.Contains([]string{"PR_CAPBSET_DROP", "PR_SET_NO_NEW_PRIVS", "PR_SET_SECCOMP", "PR_SET_KEEPCAPS", "PR_SET_SECUREBITS"}, first)
	case "seccomp":
		return strings.HasPrefix(first, "SECCOMP_SET_MODE_")
	case "keyctl":
		return first == "KEYCTL_JOIN_SESSION_KEYRING" || strings.HasPrefix(first, "KEYCTL_SET")
	case "write":
		return strings.HasPrefix(first, `"/sys/`) || strings.HasPrefix(first, `"/proc/`)
	case "sendto":
		return first == "netlink" && !strings.HasPrefix(a.args[1], "RTM_GET")
	}
	// What strace has no name for can't be judged.
	return strings.HasPrefix(a.name, "syscall_")
}

// undoes says whether an act takes back a told step, which the story marks.
func undoes(story []steps.Record, a act) bool {
	return slices.ContainsFunc(story, func(r steps.Record) bool {
		switch {
		case r.State != steps.Undone:
			return false
		case r.Kind == "mount":
			return a.name == "umount2" && a.args[0] == steps.Quote(r.Target)
		case r.Kind == "cgroup":
			return a.name == "write" && strings.HasSuffix(a.args[0], r.Target+`/cgroup.kill"`)
		}
		return false
	})
}

// repeats says whether an act is one that is told once and done several times.
func repeats(told []toldCall, a act) bool {
	switch {
	case a.name == "setuid" || a.name == "setgid":
		// The C library has every thread do what POSIX wants done for the process.
	case a.name == "prctl" && a.args[0] == "PR_CAPBSET_DROP":
		// libcontainer drops them before the change of user, and again after it.
	default:
		return false
	}
	return slices.ContainsFunc(told, func(t toldCall) bool { return t.means(a) })
}
