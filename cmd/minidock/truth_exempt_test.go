package main

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/runtime"
)

// exemption is something that happens in every run and is not part of the story.
type exemption struct {
	why    string
	covers func(a act) bool
}

// exemptions is the whole list of what need not be told.
func exemptions(l runtime.Layout) []exemption {
	var files unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
	most := strconv.FormatUint(files.Max, 10)
	var shared []string
	for _, dir := range []string{l.Containers(), l.Names(), l.Root + "/ledgers", l.Run, l.Run + "/containers", l.Run + "/ledgers", l.Libcontainer(), l.Root + "/networks", l.Run + "/networks"} {
		shared = append(shared, strconv.Quote(dir))
	}
	return []exemption{
		{"The Go runtime starts threads as it needs them; they share everything with the process.", func(a act) bool {
			return a.name == "clone" && strings.Contains(a.args[0], "CLONE_THREAD")
		}},
		{"The Go runtime tries, with a child that does nothing, whether the kernel gives out pidfds.", func(a act) bool {
			return a.name == "clone" && a.args[0] == "CLONE_VM|CLONE_PIDFD|CLONE_VFORK"
		}},
		{"The Go runtime lets itself open as many files as it may, and has what it starts begin as it began; the most stays as it is.", func(a act) bool {
			return a.is("prlimit64", "0", "RLIMIT_NOFILE") && strace.Alike(most, strace.Structure(a.args[2])["rlim_max"])
		}},
		{"libcontainer lifts the monitor's own limit on locked memory: before Linux 5.11 BPF programs were charged to it.", func(a act) bool {
			return a.role == asMonitor && a.is("prlimit64", "0", "RLIMIT_MEMLOCK", "{rlim_cur=RLIM64_INFINITY, rlim_max=RLIM64_INFINITY}")
		}},
		{"libcontainer tries, with a program of two instructions, whether the kernel can replace one that is attached.", func(a act) bool {
			return a.role == asMonitor && a.is("bpf", "BPF_PROG_LOAD") && strace.Structure(a.args[1])["insn_cnt"] == "2"
		}},
		{"nsexec.c, which has nothing to leave when it joins namespaces, says so to the kernel.", func(a act) bool {
			return a.is("unshare", "0")
		}},
		{"What all containers share of a cgroup v2 tree can't be removed by a monitor, who is in it: whoever comes next does.", func(a act) bool {
			path := ""
			if a.is("unlinkat") {
				path, _ = strace.Literal(a.args[0])
			}
			return a.role == asCommand && (strings.HasSuffix(path, "/"+l.Instance) || strings.HasSuffix(path, "/"+l.Instance+"/monitors"))
		}},
		{"strace or its shell starts the command.", func(a act) bool {
			return a.name == "execve" && a.role == asCommand
		}},
		{"libcontainer seals its own executable: it starts itself from a read-only overlay mount that nobody else sees.", func(a act) bool {
			return a.role == asMonitor && (a.is("fsopen", `"overlay"`) || a.is("fsmount", "", "FSMOUNT_CLOEXEC", "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV") ||
				a.is("fsconfig", "", "FSCONFIG_SET_STRING", `"lowerdir"`) || a.is("fsconfig", "", "FSCONFIG_SET_STRING", `"xino"`) || a.is("fsconfig", "", "FSCONFIG_CMD_CREATE"))
		}},
		{"libcontainer's library for safe paths looks at descriptors through a process file system of its own, mounted nowhere.", func(a act) bool {
			return a.is("fsopen", `"proc"`) || a.is("fsmount", "", "FSMOUNT_CLOEXEC", "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV|MOUNT_ATTR_NOEXEC") ||
				a.is("fsconfig", "", "FSCONFIG_SET_STRING", `"subset"`, `"pid"`) || a.is("fsconfig", "", "FSCONFIG_SET_STRING", `"hidepid"`, `"ptraceable"`) ||
				a.is("fsconfig", "", "FSCONFIG_CMD_CREATE")
		}},
		{"The directories that all containers share are made once and stay (docs/layout.md).", func(a act) bool {
			return a.name == "mkdirat" && slices.Contains(shared, a.args[0])
		}},
	}
}

// is compares the name and the first arguments; an empty one may be anything.
func (a act) is(name string, args ...string) bool {
	if a.name != name || len(a.args) < len(args) {
		return false
	}
	for i, arg := range args {
		if arg != "" && arg != a.args[i] {
			return false
		}
	}
	return true
}
