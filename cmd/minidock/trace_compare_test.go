package main

import (
	"encoding/binary"
	"path"
	"slices"
	"strconv"
	"strings"
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
	case name == "fchdir", name == "flock":
		args[0] = quoted(0)
	case name == "open_tree":
		args[0], _ = descriptor(args[0])
	case name == "move_mount" && len(args) > 2:
		args[0] = "FD"
		args[2], _ = descriptor(args[2])
	case name == "fchown":
		args[0], _ = descriptor(args[0])
	case name == "bind", name == "listen", name == "pidfd_send_signal":
		args[0] = "FD"
	case name == "dup3":
		args[0] = quoted(0)
		args[1], _ = descriptor(args[1])
	case name == "ioctl" && len(args) == 3:
		args[0] = quoted(0)
		if args[1] == "TIOCGPTPEER" && args[2] == "0x80102" {
			args[2] = "O_RDWR|O_NOCTTY|O_CLOEXEC" // strace doesn't decode it.
		}
	case name == "setns":
		if _, what := descriptor(args[0]); what != "" {
			args[0], _, _ = strings.Cut(what, ":")
		}
	case name == "bpf" && len(args) > 1:
		args = []string{args[0], withPaths(args[1], path)}
	case name == "sendto":
		args = netlink(args)
	}
	for i, arg := range args {
		if text, ok := literal(arg); ok {
			args[i] = strconv.Quote(text)
		}
	}
	return name, args
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
		all := structure(arg)
		if len(all) == 0 {
			all = structure("{" + arg + "}")
		}
		if flags, ok := all["flags"]; ok {
			return flags
		}
	}
	return strings.Join(args, ", ")
}

// structure reads {name=value, …}; a part without a name stands for itself.
func structure(text string) map[string]string {
	inner, ok := strings.CutPrefix(text, "{")
	if !ok {
		return nil
	}
	parts, _, _ := splitList(inner)
	all := map[string]string{}
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		all[name] = value
	}
	return all
}

// withPaths replaces the descriptors in a structure by what they lead to.
func withPaths(text string, path func(string) string) string {
	var parts []string
	for name, value := range structure(text) {
		if _, shown := descriptor(value); shown != "" {
			value = strconv.Quote(path(value))
		}
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// netlink says in short what an rtnetlink(7) message asks for. strace knows what
// kind of socket it is only in its own network namespace, and shows bytes else.
func netlink(args []string) []string {
	if len(args) < 2 || strings.HasPrefix(args[1], "RTM_") {
		return args
	}
	message, _, _ := splitList(strings.TrimPrefix(args[1], "["))
	if len(message) < 2 {
		return []string{"other"}
	}
	kind, _, _ := strings.Cut(structure(message[0])["nlmsg_type"], " ")
	if number, err := strconv.ParseUint(kind, 0, 16); err == nil {
		kind = messageName(number)
	}
	if kind == "RTM_NEWLINK" && bringsUpLoopback(message[1]) {
		return []string{"netlink", "RTM_NEWLINK lo IFF_UP"}
	}
	return []string{"netlink", kind}
}

// messageName: message types come in fours, from 16 on (linux/rtnetlink.h).
func messageName(number uint64) string {
	if number < 16 {
		return "other"
	}
	action := []string{"NEW", "DEL", "GET", "SET"}[number%4]
	if number < 20 {
		return "RTM_" + action + "LINK"
	}
	return "RTM_" + action + strconv.FormatUint(number/4*4, 10)
}

// bringsUpLoopback looks at a struct ifinfomsg, decoded or as bytes: the index of
// lo is 1 in every network namespace.
func bringsUpLoopback(text string) bool {
	if raw, ok := literal(text); ok && len(raw) >= 16 {
		index, flags := binary.NativeEndian.Uint32([]byte(raw[4:8])), binary.NativeEndian.Uint32([]byte(raw[8:12]))
		return index == 1 && flags&1 != 0
	}
	all := structure(text)
	return strings.Contains(all["ifi_flags"], "IFF_UP") && (all["ifi_index"] == "1" || strings.Contains(all["ifi_index"], `"lo"`))
}

// alike says whether a told argument means a traced one. What only the moment of
// the call decides is told as PID or FD, what would be too long to tell as ….
func alike(told, got string) bool {
	switch {
	case told == got, told == "…", told == "{…}" && strings.HasPrefix(got, "{"):
		return true
	case told == `"/dev/pts/N"`:
		number, found := strings.CutPrefix(strings.Trim(got, `"`), "/dev/pts/")
		return found && number != "" && strings.Trim(number, "0123456789") == ""
	case told == "PID", told == `"PID"`, told == `"/proc/self/fd/FD"`:
		number := strings.TrimPrefix(strings.Trim(got, `"`), "/proc/self/fd/")
		return number != "" && strings.Trim(number, "0123456789") == ""
	case strings.HasPrefix(told, "{"):
		return alikeStructures(structure(told), structure(got))
	case strings.HasPrefix(told, `"`):
		return false
	}
	return slices.Equal(flagSet(told), flagSet(got))
}

func alikeStructures(told, got map[string]string) bool {
	_, partly := told["…"]
	if !partly && len(told) != len(got) {
		return false
	}
	for name, value := range told {
		if name != "…" && (got[name] == "" || !alike(value, got[name])) {
			return false
		}
	}
	return got != nil
}

// flagSet sorts A|B; strace writes a set of numbers as shifts, and a large number
// as a product.
func flagSet(text string) []string {
	flags := strings.Split(text, "|")
	for i, f := range flags {
		flags[i] = strings.TrimPrefix(f, "1<<")
		if a, b, ok := strings.Cut(f, "*"); ok {
			x, errX := strconv.ParseUint(a, 10, 32)
			y, errY := strconv.ParseUint(b, 10, 32)
			if errX == nil && errY == nil {
				flags[i] = strconv.FormatUint(x*y, 10)
			}
		}
	}
	slices.Sort(flags)
	return flags
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
		if i >= len(a.args) || !alike(arg, a.args[i]) {
			return false
		}
	}
	return len(told.args) == len(a.args)
}
