package main

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/internal/strace"
)

// canonical writes a call, traced or told, in the one way in which both can be
// compared: one name for a family of calls, absolute paths, and no argument that
// only the kernel or the C library cares for. path says which file an argument
// means.
func canonical(name string, args []string, path func(string) string) (string, []string) {
	quoted := func(i int) string { return strconv.Quote(path(args[i])) }
	switch {
	case name == "syscall_0x1c4": // strace 6.1 doesn't know it; see <asm-generic/unistd.h>.
		return "fchmodat2", args
	case isClone(name):
		return "clone", []string{cloneFlags(args)}
	case slices.Contains([]string{"mkdir", "mknod", "chmod"}, name) && len(args) > 1:
		name, args = map[string]string{"mkdir": "mkdirat", "mknod": "mknodat", "chmod": "fchmodat"}[name], append([]string{"AT_FDCWD"}, args...)
	case name == "rmdir" && len(args) == 1, name == "unlink" && len(args) == 1:
		flag := map[string]string{"rmdir": "AT_REMOVEDIR", "unlink": "0"}[name]
		name, args = "unlinkat", []string{"AT_FDCWD", args[0], flag}
	case name == "symlink" && len(args) == 2:
		name, args = "symlinkat", []string{args[0], "AT_FDCWD", args[1]}
	}
	args = slices.Clone(args)
	switch {
	case len(args) == 0:
	case slices.Contains([]string{"mkdirat", "mknodat", "openat", "openat2", "fchmodat", "unlinkat"}, name) && len(args) > 1:
		args = append([]string{strconv.Quote(absolute(path(args[0]), path(args[1])))}, args[2:]...)
	case name == "symlinkat" && len(args) == 3:
		args = []string{args[0], strconv.Quote(absolute(path(args[1]), path(args[2])))}
	case name == "write", name == "pwrite64":
		name, args = "write", []string{quoted(0), args[1]}
	case name == "mount" && len(args) == 5:
		args[0], args[1] = quoted(0), quoted(1)
		if strings.HasPrefix(args[2], "0x") {
			args[2] = "NULL" // A string that the kernel does not look at.
		}
	case strings.HasPrefix(name, "rename") && len(args) >= 4:
		name, args = "renameat", []string{strconv.Quote(absolute(path(args[0]), path(args[1]))), strconv.Quote(absolute(path(args[2]), path(args[3])))}
	case name == "fchdir", name == "flock", name == "fsync":
		args[0] = quoted(0)
	case name == "open_tree":
		args[0], _ = strace.Descriptor(args[0])
	case name == "move_mount" && len(args) > 2:
		args[0] = "FD"
		args[2], _ = strace.Descriptor(args[2])
	case name == "fchown":
		args[0], _ = strace.Descriptor(args[0])
	case name == "bind", name == "listen", name == "pidfd_send_signal":
		args[0] = "FD"
	case name == "dup3":
		args[0] = quoted(0)
		args[1], _ = strace.Descriptor(args[1])
	case name == "ioctl" && len(args) == 3:
		args[0] = quoted(0)
		if args[1] == "TIOCGPTPEER" && args[2] == "0x80102" {
			args[2] = "O_RDWR|O_NOCTTY|O_CLOEXEC" // strace doesn't decode it.
		}
	case name == "setns":
		args[0] = namespaceName(args[0])
	case name == "bpf" && len(args) > 1:
		args = []string{args[0], withPaths(args[1], path)}
	}
	for i, arg := range args {
		if text, ok := strace.Literal(arg); ok {
			args[i] = strconv.Quote(text)
		}
	}
	return name, args
}

// namespaceName is the kind of a namespace, which is all that strace says of one, or
// the file that it has been given as its name.
func namespaceName(arg string) string {
	if _, shown := strace.Descriptor(arg); shown != "" {
		arg, _, _ = strings.Cut(shown, ":")
	}
	if strings.HasPrefix(arg, "/") {
		return strconv.Quote(arg)
	}
	if file, ok := strace.Literal(arg); ok && strings.HasPrefix(file, "/proc/") {
		return path.Base(file)
	}
	return arg
}

func absolute(dir, name string) string {
	if strings.HasPrefix(name, "/") {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

// cloneFlags finds the flags of a told clone, and of strace's clone and clone3.
func cloneFlags(args []string) string {
	for _, arg := range args {
		all := strace.Structure(arg)
		if len(all) == 0 {
			all = strace.Structure("{" + arg + "}")
		}
		if flags, ok := all["flags"]; ok {
			return flags
		}
	}
	return strings.Join(args, ", ")
}

// withPaths replaces the descriptors in a structure by what they lead to.
func withPaths(text string, path func(string) string) string {
	var parts []string
	for name, value := range strace.Structure(text) {
		if _, shown := strace.Descriptor(value); shown != "" {
			value = strconv.Quote(path(value))
		}
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// means says whether a told call and an act are one and the same.
func (told toldCall) means(a act) bool {
	if told.name != a.name {
		return false
	}
	for i, arg := range told.args {
		if arg == "…" && i == len(told.args)-1 {
			return true
		}
		if i >= len(a.args) || !strace.Alike(arg, a.args[i]) {
			return false
		}
	}
	return len(told.args) == len(a.args)
}
