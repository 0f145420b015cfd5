package gate

import (
	"maps"

	"golang.org/x/sys/unix"
)

// call says how to read one system call: which of its arguments say what.
type call struct {
	name string
	// path is the argument that points to a path, dir the one that holds the
	// directory it starts from, fd one that holds the file it is about; -1 is none.
	path, dir, fd int
	// flags in the argument flagsAt stop the call (flagsStop) or let it pass; with
	// flagsAt -1 every such call is stopped.
	flagsAt   int
	flags     uint32
	flagsStop bool
	// look, when not nil, finds the target in another way, and says whether the
	// call changes anything.
	look func(*notice) (target string, counts bool)
}

// table maps the numbers of this architecture's calls.
type table map[int]call

func byPath(name string, path int) call {
	return call{name: name, path: path, dir: -1, fd: -1, flagsAt: -1}
}

func byPathAt(name string, dir, path int) call {
	return call{name: name, path: path, dir: dir, fd: -1, flagsAt: -1}
}

// byFile is for calls whose first argument is a file descriptor.
func byFile(name string) call {
	return call{name: name, path: -1, dir: -1, fd: 0, flagsAt: -1}
}

func byLook(name string, look func(*notice) (string, bool)) call {
	return call{name: name, path: -1, dir: -1, fd: -1, flagsAt: -1, look: look}
}

// calls are all that change something which others can see: names and contents
// of files, mounts, processes and their namespaces, devices of a cgroup, and
// through netlink links, addresses and rules.
func calls() table {
	all := table{}
	for _, part := range []table{ofNames(), ofContents(), ofMounts(), ofProcesses(), ofSockets(), legacy()} {
		maps.Copy(all, part)
	}
	return all
}

// createsFile stops a call that opens a file only where it may make one.
func createsFile(c call, flagsAt int) call {
	c.flagsAt, c.flags, c.flagsStop = flagsAt, unix.O_CREAT, true
	return c
}

// makesProcess lets a call pass that makes a thread.
func makesProcess(c call) call {
	c.flagsAt, c.flags, c.flagsStop = 0, unix.CLONE_THREAD, false
	return c
}

func ofNames() table {
	return table{
		unix.SYS_OPENAT:    createsFile(byPathAt("openat", 0, 1), 2),
		unix.SYS_OPENAT2:   byLook("openat2", lookOpenat2),
		unix.SYS_MKDIRAT:   byPathAt("mkdirat", 0, 1),
		unix.SYS_MKNODAT:   byPathAt("mknodat", 0, 1),
		unix.SYS_SYMLINKAT: byPathAt("symlinkat", 1, 2),
		unix.SYS_LINKAT:    byPathAt("linkat", 2, 3),
		unix.SYS_UNLINKAT:  byPathAt("unlinkat", 0, 1),
		unix.SYS_RENAMEAT2: byPathAt("renameat2", 2, 3),
		unix.SYS_RENAMEAT:  byPathAt("renameat", 2, 3),
	}
}

func ofContents() table {
	return table{
		unix.SYS_WRITE:     byLook("write", lookWrite),
		unix.SYS_PWRITE64:  byLook("pwrite64", lookWrite),
		unix.SYS_WRITEV:    byLook("writev", lookWrite),
		unix.SYS_PWRITEV:   byLook("pwritev", lookWrite),
		unix.SYS_SENDFILE:  byLook("sendfile", lookWrite),
		unix.SYS_TRUNCATE:  byPath("truncate", 0),
		unix.SYS_FTRUNCATE: byLook("ftruncate", lookWrite),
		unix.SYS_FALLOCATE: byLook("fallocate", lookWrite),
		unix.SYS_COPY_FILE_RANGE: byLook("copy_file_range", func(n *notice) (string, bool) {
			return lookFile(n, int32(n.args[2]))
		}),
		unix.SYS_SPLICE: byLook("splice", func(n *notice) (string, bool) {
			return lookFile(n, int32(n.args[2]))
		}),
		unix.SYS_FCHMOD:    byFile("fchmod"),
		unix.SYS_FCHMODAT:  byPathAt("fchmodat", 0, 1),
		unix.SYS_FCHOWN:    byFile("fchown"),
		unix.SYS_FCHOWNAT:  byPathAt("fchownat", 0, 1),
		unix.SYS_SETXATTR:  byPath("setxattr", 0),
		unix.SYS_LSETXATTR: byPath("lsetxattr", 0),
		unix.SYS_FSETXATTR: byFile("fsetxattr"),
	}
}

func ofMounts() table {
	return table{
		unix.SYS_MOUNT:         byPath("mount", 1),
		unix.SYS_UMOUNT2:       byPath("umount2", 0),
		unix.SYS_PIVOT_ROOT:    byPath("pivot_root", 0),
		unix.SYS_CHROOT:        byPath("chroot", 0),
		unix.SYS_OPEN_TREE:     byPathAt("open_tree", 0, 1),
		unix.SYS_MOVE_MOUNT:    byPathAt("move_mount", 2, 3),
		unix.SYS_FSMOUNT:       byFile("fsmount"),
		unix.SYS_FSCONFIG:      byFile("fsconfig"),
		unix.SYS_MOUNT_SETATTR: byPathAt("mount_setattr", 0, 1),
	}
}

func ofProcesses() table {
	return table{
		unix.SYS_EXECVE:            byPath("execve", 0),
		unix.SYS_EXECVEAT:          byPathAt("execveat", 0, 1),
		unix.SYS_CLONE:             makesProcess(byLook("clone", lookNothing)),
		unix.SYS_CLONE3:            byLook("clone3", lookClone3),
		unix.SYS_UNSHARE:           byLook("unshare", lookNothing),
		unix.SYS_SETNS:             byFile("setns"),
		unix.SYS_SETHOSTNAME:       byLook("sethostname", lookNothing),
		unix.SYS_KILL:              byLook("kill", lookSignal),
		unix.SYS_PIDFD_SEND_SIGNAL: byLook("pidfd_send_signal", lookSignal),
		unix.SYS_BPF:               byLook("bpf", lookNothing),
	}
}

func ofSockets() table {
	return table{
		unix.SYS_SENDTO:  byLook("sendto", lookSendto),
		unix.SYS_SENDMSG: byLook("sendmsg", lookSendmsg),
		unix.SYS_BIND:    byLook("bind", lookBind),
	}
}
