package runtime

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// mountCall is one mount(2) with its arguments; an empty kind or data is NULL.
type mountCall struct {
	source, target, kind string
	flags                int
	data                 string
}

// mountFlag names one MS_ constant of mount(2), and the option that mount(8) has
// for it, in the order of their bits, in which strace prints them.
type mountFlag struct {
	bit          int
	name, option string
}

func mountFlags() []mountFlag {
	return []mountFlag{
		{unix.MS_RDONLY, "MS_RDONLY", "ro"},
		{unix.MS_NOSUID, "MS_NOSUID", "nosuid"},
		{unix.MS_NODEV, "MS_NODEV", "nodev"},
		{unix.MS_NOEXEC, "MS_NOEXEC", "noexec"},
		{unix.MS_REMOUNT, "MS_REMOUNT", "remount"},
		{unix.MS_NOATIME, "MS_NOATIME", "noatime"},
		{unix.MS_BIND, "MS_BIND", "bind"},
		{unix.MS_REC, "MS_REC", ""},
		{unix.MS_PRIVATE, "MS_PRIVATE", ""},
		{unix.MS_SLAVE, "MS_SLAVE", ""},
		{unix.MS_SHARED, "MS_SHARED", ""},
		{unix.MS_RELATIME, "MS_RELATIME", "relatime"},
		{unix.MS_STRICTATIME, "MS_STRICTATIME", "strictatime"},
	}
}

// call writes the system call in C notation.
func (m mountCall) call() string {
	var names []string
	for _, f := range mountFlags() {
		if m.flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	flags := strings.Join(names, "|")
	if flags == "" {
		flags = "0"
	}
	kind := m.kind
	if m.flags&(unix.MS_BIND|unix.MS_REMOUNT|unix.MS_PRIVATE|unix.MS_SLAVE|unix.MS_SHARED) != 0 {
		kind = "" // The kernel does not look at it then.
	}
	return fmt.Sprintf("mount(%q, %q, %s, %s, %s)", m.source, m.target, orNULL(kind), flags, orNULL(m.data))
}

func orNULL(s string) string {
	if s == "" {
		return "NULL"
	}
	return steps.Quote(s)
}

// shell writes the same as a mount(8) command.
func (m mountCall) shell() string {
	target := steps.ShellQuote(m.target)
	for _, p := range []struct {
		bit  int
		name string
	}{{unix.MS_PRIVATE, "private"}, {unix.MS_SLAVE, "slave"}, {unix.MS_SHARED, "shared"}} {
		if m.flags&p.bit != 0 {
			if m.flags&unix.MS_REC != 0 {
				p.name = "r" + p.name
			}
			return "mount --make-" + p.name + " " + target
		}
	}
	if m.flags&unix.MS_BIND != 0 && m.flags&unix.MS_REMOUNT == 0 {
		if m.flags&unix.MS_REC != 0 {
			return "mount --rbind " + steps.ShellQuote(m.source) + " " + target
		}
		return "mount --bind " + steps.ShellQuote(m.source) + " " + target
	}
	command := []string{"mount"}
	if m.kind != "" && m.flags&unix.MS_REMOUNT == 0 {
		command = append(command, "-t", m.kind)
	}
	if options := m.options(); len(options) > 0 {
		command = append(command, "-o", strings.Join(options, ","))
	}
	if m.flags&unix.MS_REMOUNT == 0 {
		command = append(command, steps.ShellQuote(m.source))
	}
	return strings.Join(append(command, target), " ")
}

func (m mountCall) options() []string {
	var options []string
	for _, f := range mountFlags() {
		if m.flags&f.bit != 0 && f.option != "" {
			options = append(options, f.option)
		}
	}
	if m.data != "" {
		options = append(options, m.data)
	}
	return slices.Compact(options)
}

func mountStep(destination string, m mountCall, why string) steps.Step {
	return steps.Step{
		Kind: "mount", Target: destination, Why: why,
		Call: []string{m.call()}, Shell: []string{m.shell()},
		See: "findmnt " + steps.ShellQuote(destination), Man: "mount(2), mount_namespaces(7)",
	}
}

// mountStep tells one mount inside the container.
func (t *inside) mountStep(destination string, m mountCall, why string) {
	t.add(mountStep(destination, m, why))
}
