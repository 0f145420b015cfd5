package gate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// describe reads what a held call is about. Nothing can change under our eyes
// but memory that another thread writes to: what we read is for telling, not
// for safety.
func (t table) describe(n *notice) (act Act, counts bool) {
	c := t[int(n.nr)]
	act.Call = c.name
	if c.look != nil {
		target, counts := c.look(n)
		act.target = func() string { return target }
		return act, counts
	}
	act.target = func() string {
		switch {
		case c.path >= 0:
			return n.pathAt(c.dir, c.path)
		case c.fd >= 0:
			return n.file(int32(n.args[c.fd]))
		}
		return ""
	}
	return act, true
}

// processOf finds the process of a thread (proc_pid_status(5), Tgid).
func (g *Gate) processOf(thread uint32) int {
	if pid, known := g.processes[thread]; known {
		return pid
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return int(thread)
	}
	_, rest, _ := strings.Cut(string(text), "\nTgid:\t")
	digits, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(digits)
	if err != nil {
		return int(thread)
	}
	g.processes[thread] = pid
	return pid
}

func (n *notice) proc(name string) string { return fmt.Sprintf("/proc/%d/%s", n.pid, name) }

// file names what a descriptor of the caller leads to.
func (n *notice) file(fd int32) string {
	name, _ := os.Readlink(n.proc("fd/" + strconv.Itoa(int(fd))))
	return name
}

func (n *notice) pathAt(dir, path int) string {
	name := n.text(n.args[path])
	if filepath.IsAbs(name) {
		return name
	}
	base, _ := os.Readlink(n.proc("cwd"))
	if dir >= 0 && int32(n.args[dir]) != unix.AT_FDCWD {
		base = n.file(int32(n.args[dir]))
	}
	return filepath.Join(base, name)
}

// text reads a string that ends with a zero byte.
func (n *notice) text(at uint64) string {
	text, _, _ := bytes.Cut(n.memory(at, unix.PathMax), []byte{0})
	return string(text)
}

// pageSize is the least that a machine has; a larger one is a multiple of it.
const pageSize = 4096

// memory reads up to size bytes, at most two pages; fewer where the caller's memory
// ends. In two parts, each on pages of its own, since what reaches beyond the end is
// not read at all (process_vm_readv(2)).
func (n *notice) memory(at uint64, size int) []byte {
	if at == 0 {
		return nil
	}
	buffer := make([]byte, size)
	toPageEnd := min(size, pageSize-int(at%pageSize))
	there := []unix.RemoteIovec{{Base: uintptr(at), Len: toPageEnd}, {Base: uintptr(at) + uintptr(toPageEnd), Len: size - toPageEnd}}
	here := []unix.Iovec{{Base: &buffer[0], Len: uint64(size)}}
	got, _ := unix.ProcessVMReadv(int(n.pid), here, there, 0)
	return buffer[:max(got, 0)]
}

// word reads 8 bytes of a structure, 0 where there are none.
func (n *notice) word(at uint64) uint64 {
	bytes := n.memory(at, 8)
	if len(bytes) < 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(bytes)
}

func lookNothing(*notice) (string, bool) { return "", true }

// lookFile counts a file with a name; what goes into pipes, sockets and devices
// is conversation, and a file without a name goes with its process.
func lookFile(n *notice, fd int32) (string, bool) {
	name := n.file(fd)
	if !filepath.IsAbs(name) || strings.HasPrefix(name, "/dev/") || strings.HasPrefix(name, "/memfd:") || strings.HasSuffix(name, " (deleted)") {
		return "", false
	}
	info, err := os.Stat(n.proc("fd/" + strconv.Itoa(int(fd))))
	return name, err == nil && info.Mode().IsRegular()
}

func lookWrite(n *notice) (string, bool) { return lookFile(n, int32(n.args[0])) }

// lookOpenat2 reads struct open_how, whose first word are the flags (openat2(2)).
func lookOpenat2(n *notice) (string, bool) {
	if n.word(n.args[2])&unix.O_CREAT == 0 {
		return "", false
	}
	return n.pathAt(0, 1), true
}

// lookClone3 reads struct clone_args, whose first word are the flags (clone(2)).
func lookClone3(n *notice) (string, bool) {
	return "", n.word(n.args[0])&unix.CLONE_THREAD == 0
}

// lookSignal leaves out signal 0, which only asks.
func lookSignal(n *notice) (string, bool) {
	return fmt.Sprintf("signal %d", n.args[1]), n.args[1] != 0
}

// lookBind counts a socket in the file system (unix(7)).
func lookBind(n *notice) (string, bool) {
	address := n.memory(n.args[1], int(min(n.args[2], 110)))
	if len(address) < 3 || binary.LittleEndian.Uint16(address) != unix.AF_UNIX || address[2] == 0 {
		return "", false
	}
	name, _, _ := bytes.Cut(address[2:], []byte{0})
	return string(name), true
}

func lookSendto(n *notice) (string, bool) { return n.netlink(n.args[4], n.args[1]) }

// lookSendmsg reads struct msghdr: the address, its length, the list of buffers
// (sendmsg(2)).
func lookSendmsg(n *notice) (string, bool) {
	return n.netlink(n.word(n.args[1]), n.word(n.word(n.args[1]+16)))
}

// netlink counts what asks the kernel for a change.
func (n *notice) netlink(address, message uint64) (string, bool) {
	family, header := n.memory(address, 2), n.memory(message, 8)
	if len(family) < 2 || len(header) < 8 || binary.LittleEndian.Uint16(family) != unix.AF_NETLINK {
		return "", false
	}
	kind := binary.LittleEndian.Uint16(header[4:])
	return fmt.Sprintf("netlink %d", kind), changes(kind)
}

// changes says whether a netlink message of this type changes anything. Those of
// rtnetlink come in fours, of which the third only reads (rtnetlink(7)); a batch of
// nf_tables, outside of which nothing of it changes, begins with type 16, which is of
// the first kind. Else the upper byte is a part of netfilter, of which connection
// tracking has changes of its own (linux/netfilter/nfnetlink_conntrack.h).
func changes(kind uint16) bool {
	const first, place, reads = 16, 3, 2
	switch kind >> 8 {
	case unix.NFNL_SUBSYS_NONE:
		return kind >= first && kind&place != reads
	case unix.NFNL_SUBSYS_CTNETLINK:
		const flowNew, flowDelete = 0, 2 // IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE
		return kind&0xff == flowNew || kind&0xff == flowDelete
	}
	return false
}
