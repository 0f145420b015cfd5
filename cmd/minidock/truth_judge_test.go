package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/steps"
)

// toldCall is one call of a told step.
type toldCall struct {
	step steps.Record
	text string
	name string
	args []string
	// network is the network namespace that it is told for; see [act].
	network string
}

func (told toldCall) String() string {
	return fmt.Sprintf("step %d (%s %s): %s", told.step.N, told.step.Kind, told.step.Target, told.text)
}

// toldCalls reads the calls of a story.
func toldCalls(story []steps.Record) ([]toldCall, error) {
	var all []toldCall
	for _, r := range story {
		for _, text := range r.Call {
			for _, call := range eachCall(text) {
				name, args, _, err := strace.SplitCall(call)
				if err != nil {
					return nil, fmt.Errorf("step %d: %w", r.N, err)
				}
				told := toldCall{step: r, text: text}
				told.name, told.args = canonical(name, args, (&traced{}).path)
				if told.args, err = toldMessages(told.args); err != nil {
					return nil, fmt.Errorf("step %d: %w", r.N, err)
				}
				told.network = toldNetwork(r)
				all = append(all, told)
			}
		}
	}
	return all, nil
}

// eachCall reads "call(…, cap) for cap in A B", which tells one call with each.
func eachCall(text string) []string {
	call, values, loop := strings.Cut(text, " for cap in ")
	if !loop {
		return []string{text}
	}
	var calls []string
	for value := range strings.FieldsSeq(values) {
		calls = append(calls, strings.TrimSuffix(call, "cap)")+value+")")
	}
	return calls
}

// relevant leaves out what no story tells: what the program does, and what is exempt.
func relevant(acts []act, exempt []exemption) []act {
	return slices.DeleteFunc(slices.Clone(acts), func(a act) bool {
		return a.role == asProgram || a.role == asShell || slices.ContainsFunc(exempt, func(e exemption) bool { return e.covers(a) })
	})
}

// judge holds a story against the relevant acts, and returns what is not true: a
// told call that nobody made, one made out of turn, and an act that nobody told.
func judge(story []steps.Record, acts []act) []string {
	told, err := toldCalls(story)
	if err != nil {
		return []string{err.Error()}
	}
	h := &hearing{byName: map[string][]*candidate{}, last: map[hand]turn{}}
	var unheard []*candidate
	for _, a := range acts {
		c := &candidate{act: a, told: isMessage(a) && undoes(story, a)}
		h.byName[a.name] = append(h.byName[a.name], c)
		if watched(a) {
			unheard = append(unheard, c)
		}
	}
	for _, t := range told {
		if !h.hasFailed(t.step) {
			h.find(t)
		}
	}
	undone := slices.DeleteFunc(slices.Clone(acts), func(a act) bool { return !isOfUndo(a) || a.name == "write" && !watched(a) })
	for _, r := range story {
		if r.State == steps.Undone && !slices.ContainsFunc(undone, func(a act) bool { return takesBack(r, a) }) {
			h.say("not taken back: step %d (%s %s)", r.N, r.Kind, r.Target)
		}
	}
	for _, c := range unheard {
		if !c.told && !undoes(story, c.act) && !h.repeats(c.act) {
			h.say("not told: line %d, %s", c.line, c.act)
		}
	}
	return h.complaints
}

// hearing is how far a story has been followed.
type hearing struct {
	byName     map[string][]*candidate
	last       map[hand]turn
	complaints []string
	// failed is the step of which the log shows that it did.
	failed steps.Record
}

// candidate is an act that a told call may mean.
type candidate struct {
	act
	told bool
}

// hand does one thing after the other. A monitor has two: while libcontainer does
// what was told together, it connects the container's networks.
type hand struct {
	role     role
	together bool
}

// turn is how far the log has been followed for one hand, and in which step.
type turn struct {
	line int
	step steps.Record
}

func (h *hearing) say(format string, args ...any) {
	h.complaints = append(h.complaints, fmt.Sprintf(format, args...))
}

// find takes the first act that the told call means and that was made in its
// turn; else the first that was made at all, and says so.
func (h *hearing) find(t toldCall) {
	var c *candidate
	for _, one := range h.byName[t.name] {
		if one.told || t.step.Inside && one.role != asInit || one.failed != "" && t.step.State != steps.Failed || !t.means(one.act) || !t.isThere(one.act) {
			continue
		}
		if h.inTurn(t, one) {
			c = one
			break
		}
		if c == nil {
			c = one
		}
	}
	if c == nil {
		h.say("not done: %s", t)
		return
	}
	c.told = true
	if c.failed != "" {
		h.failed = t.step
	}
	if t.step.Kind == cgroups.KindAnnounce {
		return // It is done in the background.
	}
	before := h.before(t, c.role)
	if !h.inTurn(t, c) {
		h.say("out of turn: %s was done at line %d, before step %d (%s)", t, c.line, before.step.N, before.step.Kind)
	}
	h.last[hand{c.role, t.step.Together}] = turn{max(c.line, before.line), t.step}
}

// before is what has to have been done before a told call is: what the same hand did
// for earlier ones, and the other, too, unless it is about connecting networks.
func (h *hearing) before(t toldCall, as role) turn {
	own, other := h.last[hand{as, t.step.Together}], h.last[hand{as, !t.step.Together}]
	if other.line > own.line && (t.step.Together || !connects(t.step.Kind)) {
		return other
	}
	return own
}

// hasFailed says whether a step's last call failed, so that the rest of it was not
// made.
func (h *hearing) hasFailed(step steps.Record) bool {
	return step.State == steps.Failed && h.failed.N == step.N && h.failed.Kind == step.Kind
}

// inTurn says whether an act comes after all that has to be before it.
func (h *hearing) inTurn(t toldCall, c *candidate) bool {
	before := h.before(t, c.role)
	return c.line >= before.line || inAnyOrder(before.step, t.step)
}

// inAnyOrder says of which steps the order is not told.
func inAnyOrder(a, b steps.Record) bool {
	anyOf := func(kinds ...steps.Kind) bool {
		return slices.Contains(kinds, a.Kind) && slices.Contains(kinds, b.Kind)
	}
	switch {
	case anyOf("sysctl"):
		return true // libcontainer has them in a map, which Go goes through at random.
	case anyOf(cgroups.KindShared, cgroups.KindGroup, "cpuset", cgroups.KindJoin):
		return len(a.Call) > 1 || len(b.Call) > 1 // Version 1: libcontainer does it all tree by tree; the story goes act by act.
	}
	return false
}

// watched says which acts must be told: all that make or change something of the
// kernel's that others can see.
func watched(a act) bool {
	if a.failed != "" {
		return false
	}
	first := ""
	if len(a.args) > 0 {
		first = a.args[0]
	}
	switch a.name {
	case "clone", "unshare", "setns", "execve", "execveat",
		"mount", "umount", "umount2", "pivot_root", "chroot", "fsopen", "fspick", "fsconfig", "fsmount", "move_mount", "mount_setattr", "open_tree_attr",
		"sethostname", "setdomainname", "setuid", "setgid", "setgroups", "setreuid", "setregid", "setresuid", "setresgid",
		"capset", "mkdirat", "mknodat", "symlinkat", "linkat", "setrlimit", "setsid", "listen":
		return true
	case "bind":
		return strings.Contains(a.args[1], "AF_UNIX") || strings.Contains(a.args[1], "AF_INET")
	case "unlinkat":
		return strings.HasPrefix(first, `"/sys/fs/cgroup`)
	case "pidfd_send_signal", "kill":
		return a.args[1] != "0"
	case "ioctl":
		return a.role == asInit && slices.Contains([]string{"TIOCSCTTY", "TIOCSPTLCK", "TIOCSWINSZ", "TIOCGPTPEER"}, a.args[1])
	case "bpf":
		return !strings.Contains(first, "QUERY") && !strings.Contains(first, "_GET_")
	case "openat", "openat2":
		return a.role == asInit && strings.Contains(strings.Join(a.args[1:], " "), "O_CREAT")
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
	case "sendto", "sendmsg":
		return first == "netlink" && !strace.Asks(a.args[1])
	}
	// What strace has no name for can't be judged.
	return strings.HasPrefix(a.name, "syscall_")
}

// isMessage says whether an act asks something of the kernel's network.
func isMessage(a act) bool { return a.name == "sendto" || a.name == "sendmsg" }

// undoes says whether an act takes back a told step, which the story marks.
func undoes(story []steps.Record, a act) bool {
	return isOfUndo(a) && slices.ContainsFunc(story, func(r steps.Record) bool {
		return r.State == steps.Undone && (takesBack(r, a) || a.network == "" && takesNetworkAlong(r.Kind, r.Target, a))
	})
}

// isOfUndo says whether undos consist of such acts.
func isOfUndo(a act) bool {
	return a.failed == "" && slices.Contains([]string{"umount2", "unlinkat", "write", "sendto", "sendmsg"}, a.name) && len(a.args) > 1
}

// takesBack says whether an act is the undo of a step, or part of it: a directory
// goes with what is in it, and a container's group with its members and, when it
// was the last, its parent.
func takesBack(r steps.Record, a act) bool {
	if !isOfUndo(a) {
		return false
	}
	target, _, _ := strings.Cut(r.Target, " -> ")
	path, _ := strace.Literal(a.args[0])
	switch r.Kind {
	case images.KindMount:
		return a.name == "umount2" && path == target
	case cgroups.KindGroup:
		return a.name == "write" && strings.HasSuffix(path, target+"/cgroup.kill") ||
			a.name == "unlinkat" && (strings.HasSuffix(path, target) || strings.HasSuffix(path, filepath.Dir(target)))
	case cgroups.KindShared:
		return a.name == "unlinkat" && strings.HasSuffix(path, target)
	}
	if takes, known := takesNetworkBack(r.Kind, r.Target, a); known {
		return takes && a.network == ""
	}
	return a.name == "unlinkat" && (path == target || strings.HasPrefix(path, target+"/"))
}

// repeats says whether an act is one that is told once and that a process does
// several times.
func (h *hearing) repeats(a act) bool {
	switch {
	case a.name == "setuid" || a.name == "setgid":
		// The C library has every thread do what POSIX wants done for the process.
	case a.name == "prctl" && a.args[0] == "PR_CAPBSET_DROP":
		// libcontainer drops them before the change of user, and again after it.
	case a.name == "write" && strings.HasSuffix(a.args[0], `/freezer.state"`):
		// On cgroup version 1 libcontainer tries again until all are frozen, and
		// lets them go in between.
		a.args = a.args[:1]
	default:
		return false
	}
	return slices.ContainsFunc(h.byName[a.name], func(c *candidate) bool {
		return c.told && c.process == a.process && slices.Equal(c.args[:len(a.args)], a.args)
	})
}
