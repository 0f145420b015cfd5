package main

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// role says on whose behalf a traced thread works.
type role string

const (
	// asCommand is `minidock run`, asMonitor the process that it leaves behind.
	asCommand role = "command"
	asMonitor role = "monitor"
	// asInit is what the monitor starts, until it becomes the program.
	asInit role = "init"
	// asProgram is the user's: what it does is not minidock's story.
	asProgram role = "program"
)

// act is a traced call as a told one is written: paths instead of descriptors,
// nothing that only the kernel or the C library cares for.
type act struct {
	role role
	line int
	name string
	args []string
	// failed is the error's name.
	failed string
}

func (a act) String() string {
	return string(a.role) + ": " + a.name + "(" + strings.Join(a.args, ", ") + ")"
}

// traced is a process: its threads share it.
type traced struct {
	role  role
	files map[string]file
}

// file is an open file: its path as strace shows it, and what is missing before
// it. The root of a process file system that is mounted nowhere shows as /.
type file struct{ shown, before string }

func (f file) path() string { return path.Clean(f.before + f.shown) }

// follower finds out which process each call belongs to, and what its numbers
// mean there.
type follower struct {
	// births are the clones by the number that they returned; inner is the thread
	// that threads belong to whose number only their container knows.
	births    map[int]birth
	inner     int
	processes map[int]*traced
	// contexts are the descriptors of fsopen("proc").
	contexts map[string]bool
}

type birth struct {
	parent int
	thread bool
}

// follow turns the log of a `minidock run` into acts.
func follow(calls []tracedCall) []act {
	f := &follower{births: map[int]birth{}, processes: map[int]*traced{}, contexts: map[string]bool{}}
	for _, c := range calls {
		if child, err := strconv.Atoi(c.result); err == nil && child > 0 && isClone(c.name) {
			f.births[child] = birth{c.pid, strings.Contains(strings.Join(c.args, " "), "CLONE_THREAD")}
		}
		if c.name == "pivot_root" {
			f.inner = c.pid
		}
	}
	if len(calls) > 0 {
		f.processes[calls[0].pid] = &traced{asCommand, map[string]file{}}
	}
	var acts []act
	for _, c := range calls {
		acts = append(acts, f.act(c))
	}
	return acts
}

func isClone(name string) bool {
	return slices.Contains([]string{"clone", "clone3", "fork", "vfork"}, name)
}

// process is the process that a thread belongs to; a new one begins in its
// parent's role.
func (f *follower) process(pid int) *traced {
	if known := f.processes[pid]; known != nil {
		return known
	}
	born, known := f.births[pid]
	parent := born.parent
	if !known {
		born.thread, parent = true, f.inner
	}
	if parent == 0 || parent == pid {
		return &traced{asProgram, map[string]file{}}
	}
	p := f.process(parent)
	if !born.thread {
		p = &traced{p.role, map[string]file{}}
	}
	f.processes[pid] = p
	return p
}

func (f *follower) act(c tracedCall) act {
	p := f.process(c.pid)
	if c.name == "execve" && c.errno == "" && p.role != asProgram {
		if becomes := roleAfter(p.role, c.args); becomes != asProgram {
			p.role = becomes
		} else {
			defer func() { p.role = asProgram }() // The last act of init.
		}
	}
	for _, arg := range c.args {
		p.see(descriptor(arg))
	}
	a := act{role: p.role, line: c.line, failed: c.errno}
	a.name, a.args = canonical(c.name, c.args, p.path)
	if c.errno == "" {
		f.opened(p, c)
	}
	return a
}

// roleAfter is what a process becomes by an execve.
func roleAfter(before role, args []string) role {
	argv, _, _ := splitList(strings.TrimPrefix(args[1], "["))
	switch {
	case len(argv) > 1 && argv[1] == `"monitor"` && strings.HasPrefix(argv[0], `"minidock: monitor `):
		return asMonitor
	case before == asMonitor && len(argv) > 1 && argv[1] == `"init"`:
		return asInit
	case before == asInit:
		return asProgram
	}
	return before
}

// see notes what strace says of a descriptor, unless more is known of it.
func (p *traced) see(number, shown string) {
	if shown != "" && p.files[number].shown != shown {
		p.files[number] = file{shown: shown}
	}
}

// opened notes the descriptor that a call returned.
func (f *follower) opened(p *traced, c tracedCall) {
	if c.path == "" {
		return
	}
	opened := file{shown: c.path}
	switch c.name {
	case "fsopen":
		f.contexts[c.result] = c.args[0] == `"proc"`
	case "fsmount":
		if number, _ := descriptor(c.args[0]); f.contexts[number] {
			opened.before = "/proc"
		}
	case "openat", "openat2":
		number, _ := descriptor(c.args[0])
		dir := p.files[number]
		opened.before = dir.before
		// A number in a directory of descriptors leads to another file.
		if name, _ := literal(c.args[1]); path.Base(dir.shown) == "fd" && p.files[name].shown != "" {
			opened = p.files[name]
		}
	}
	p.files[c.result] = opened
}

// path says which file an argument means.
func (p *traced) path(arg string) string {
	if number, shown := descriptor(arg); shown != "" {
		if known, ok := p.files[number]; ok {
			return known.path()
		}
		return shown
	}
	text, ok := literal(arg)
	if !ok {
		return ""
	}
	for _, dir := range []string{"/proc/thread-self/fd/", "/proc/self/fd/"} {
		if number, found := strings.CutPrefix(text, dir); found && p.files[number].shown != "" {
			return p.files[number].path()
		}
	}
	return text
}
