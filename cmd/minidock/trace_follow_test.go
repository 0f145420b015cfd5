package main

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/internal/strace"
)

// role says on whose behalf a traced thread works.
type role string

const (
	// asShell is what types the commands.
	asShell role = "shell"
	// asCommand is `minidock run` and the like, asMonitor the process that it
	// leaves behind.
	asCommand role = "command"
	asMonitor role = "monitor"
	// asInit is what the monitor starts, for run and for exec, until it becomes the
	// program.
	asInit role = "init"
	// asProgram is the user's: what it does is not minidock's story.
	asProgram role = "program"
	// asUnknown is a thread that nobody is known to have started.
	asUnknown role = "unknown"
)

// act is a traced call as a told one is written: paths instead of descriptors,
// nothing that only the kernel or the C library cares for.
type act struct {
	role    role
	process *traced
	line    int
	// command counts the commands from 1: which of them it was done for.
	command int
	name    string
	args    []string
	// network is the network namespace that it was done in; see [strace.Networks].
	network string
	// failed is the error's name.
	failed string
}

func (a act) String() string {
	return string(a.role) + ": " + a.name + "(" + strings.Join(a.args, ", ") + ")"
}

// traced is a process: its threads share it.
type traced struct {
	role role
	// command is the one that it is or was started for.
	command int
	files   map[string]file
}

// file is an open file: its path as strace shows it, and what is missing before
// it. The root of a process file system that is mounted nowhere shows as /.
type file struct{ shown, before string }

func (f file) path() string { return path.Clean(f.before + f.shown) }

// follower finds out which process each call belongs to, and what its numbers
// mean there.
type follower struct {
	births    map[int]birth // by the number that the clone returned
	processes map[int]*traced
	// commands is how many have begun.
	commands int
	// contexts are the descriptors of fsopen("proc").
	contexts map[string]bool
	networks *strace.Networks
	acts     []act
	// returning are the descriptors of calls that had begun and not returned yet:
	// until then their numbers may be other files'.
	returning []returned
}

// returned is a file that a process has had under a number since a line of the log.
type returned struct {
	line    int
	process *traced
	number  string
	file    file
}

type birth struct {
	parent int
	thread bool
}

// follow turns the log of some minidock commands into acts. A monitor works for
// the last command that has begun.
func follow(calls []strace.Call) []act {
	f := &follower{births: map[int]birth{}, processes: map[int]*traced{}, contexts: map[string]bool{}, networks: strace.NewNetworks()}
	for _, c := range calls {
		if child, err := strconv.Atoi(c.Result); err == nil && child > 0 && isClone(c.Name) {
			f.births[child] = birth{c.Thread, strings.Contains(strings.Join(c.Args, " "), "CLONE_THREAD")}
		}
	}
	if len(calls) > 0 {
		f.processes[calls[0].Thread] = &traced{role: asShell, files: map[string]file{}}
	}
	for _, c := range calls {
		f.acts = append(f.acts, f.act(c))
		if at, why, refused := f.networks.Refused(c); refused {
			f.acts[at].failed = why
		}
	}
	return f.acts
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
	if !known {
		return &traced{role: asUnknown, files: map[string]file{}}
	}
	p := f.process(born.parent)
	if !born.thread {
		p = &traced{role: p.role, command: f.commandOf(p), files: map[string]file{}}
	}
	f.processes[pid] = p
	return p
}

// commandOf says for which command a process works now.
func (f *follower) commandOf(p *traced) int {
	if p.role == asMonitor {
		return f.commands
	}
	return p.command
}

func (f *follower) act(c strace.Call) act {
	f.returnedBy(c.Line)
	p := f.process(c.Thread)
	if c.Name == "execve" && c.Errno == "" && p.role != asProgram {
		switch becomes := roleAfter(p.role, c.Args); {
		case becomes == asProgram:
			defer func() { p.role = asProgram }() // The last act of init.
		case becomes == asCommand && p.role == asShell:
			f.commands++
			p.role, p.command = asCommand, f.commands
		default:
			p.role = becomes
		}
	}
	for _, arg := range c.Args {
		p.see(strace.Descriptor(arg))
	}
	a := act{role: p.role, process: p, line: c.Line, command: f.commandOf(p), failed: c.Errno, network: f.networks.Of(c.Thread)}
	a.name, a.args = canonical(c.Name, p.reopens(c), p.path)
	if c.Name == "sendto" || c.Name == "sendmsg" {
		a.args = f.networks.Sent(c, len(f.acts), func(number int) string { return p.files[strconv.Itoa(number)].path() })
	}
	if child, err := strconv.Atoi(c.Result); err == nil && isClone(c.Name) && child > 0 {
		f.process(child) // It works for whom its parent works for now.
		f.networks.Born(c.Thread, child)
	}
	if c.Errno == "" {
		f.opened(p, c)
		if p.role != asShell { // It makes the network that the commands are typed in.
			f.networks.Note(c, p.path)
		}
	}
	return a
}

// roleAfter is what a process becomes by an execve.
func roleAfter(before role, args []string) role {
	argv, _, _ := strace.SplitList(strings.TrimPrefix(args[1], "["))
	switch {
	case len(argv) > 1 && argv[1] == `"monitor"` && strings.HasPrefix(argv[0], `"minidock: monitor `):
		return asMonitor
	case before == asMonitor && len(argv) > 1 && argv[1] == `"init"`:
		return asInit
	case before == asShell && len(argv) > 0 && strings.HasSuffix(argv[0], `minidock"`):
		return asCommand
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

// returnedBy gives processes the files that calls had returned before a line.
func (f *follower) returnedBy(line int) {
	slices.SortStableFunc(f.returning, func(a, b returned) int { return a.line - b.line })
	f.returning = slices.DeleteFunc(f.returning, func(r returned) bool {
		if r.line < line {
			r.process.files[r.number] = r.file
		}
		return r.line < line
	})
}

// opened notes the descriptor that a call returns.
func (f *follower) opened(p *traced, c strace.Call) {
	if c.Path == "" {
		return
	}
	opened := file{shown: c.Path}
	switch c.Name {
	case "fsopen":
		f.contexts[c.Result] = c.Args[0] == `"proc"`
	case "fsmount":
		if number, _ := strace.Descriptor(c.Args[0]); f.contexts[number] {
			opened.before = "/proc"
		}
	case "openat", "openat2":
		number, _ := strace.Descriptor(c.Args[0])
		dir := p.files[number]
		opened.before = dir.before
		if again, ok := p.reopened(c); ok {
			opened = again
		}
	}
	f.returning = append(f.returning, returned{c.End, p, c.Result, opened})
}

// reopened: a number in a directory of descriptors leads to another file.
func (p *traced) reopened(c strace.Call) (f file, ok bool) {
	number, _ := strace.Descriptor(c.Args[0])
	name, _ := strace.Literal(c.Args[1])
	f = p.files[name]
	return f, path.Base(p.files[number].shown) == "fd" && f.shown != ""
}

// reopens writes an opening by number as one of the file that it leads to.
func (p *traced) reopens(c strace.Call) []string {
	if c.Name != "openat" || len(c.Args) < 2 {
		return c.Args
	}
	if f, ok := p.reopened(c); ok {
		return append([]string{"AT_FDCWD", strconv.Quote(f.path())}, c.Args[2:]...)
	}
	return c.Args
}

// path says which file an argument means.
func (p *traced) path(arg string) string {
	if number, shown := strace.Descriptor(arg); shown != "" {
		if known, ok := p.files[number]; ok {
			return known.path()
		}
		return shown
	}
	text, ok := strace.Literal(arg)
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
