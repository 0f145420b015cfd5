package netns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyTables lists the tables of the older iptables, which nf_tables knows nothing
// of; without its module the file is not there. Asking for a table by name would have
// the kernel make it.
const legacyTables = "/proc/thread-self/net/ip_tables_names"

// legacyChain is the obstacle's name where it is the older iptables'.
const legacyChain = "iptables-legacy filter FORWARD"

// legacyObstacles finds the policy DROP of iptables-legacy's chain FORWARD.
func (p bridgePatterns) legacyObstacles() ([]Obstacle, error) {
	text, err := os.ReadFile(legacyTables)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !slices.Contains(strings.Fields(string(text)), "filter") {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tables of iptables-legacy: %w", err)
	}
	table, err := readLegacyFilter()
	if err != nil {
		return nil, fmt.Errorf("read iptables-legacy's table filter: %w", err)
	}
	if !table.dropsForwarded() {
		return nil, nil
	}
	// A chain's name is in an entry of its own.
	has := func(chain string) bool { return bytes.Contains(table.entries, append([]byte(chain), 0)) }
	return []Obstacle{p.iptablesObstacle(legacyChain, "iptables-legacy", has)}, nil
}

// legacyTable is a table as the kernel gives it (linux/netfilter_ipv4/ip_tables.h).
type legacyTable struct {
	info    legacyInfo
	entries []byte
}

// legacyInfo is struct ipt_getinfo.
type legacyInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [hooks]uint32
	underflow  [hooks]uint32 // where each built-in chain's policy is
	numEntries uint32
	size       uint32
}

const (
	hooks       = 5 // NF_INET_NUMHOOKS (linux/netfilter.h)
	hookForward = 2 // NF_INET_FORWARD
	// optionInfo and optionEntries are IPT_SO_GET_INFO and IPT_SO_GET_ENTRIES.
	optionInfo, optionEntries = 64, 65
	// entriesOffset is where struct ipt_get_entries has them: a name, a length, and
	// room to align.
	entriesOffset = 40
	// targetOffset is where struct ipt_entry says how far behind it its target is, and
	// verdictOffset where a standard target has its verdict.
	targetOffset, verdictOffset = 88, 32
	// legacyDrop is -NF_DROP - 1.
	legacyDrop = -1
)

func readLegacyFilter() (t legacyTable, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return t, err
	}
	defer unix.Close(fd)
	copy(t.info.name[:], "filter")
	if err := getOption(fd, optionInfo, unsafe.Pointer(&t.info), unsafe.Sizeof(t.info)); err != nil {
		return t, err
	}
	all := make([]byte, entriesOffset+int(t.info.size))
	copy(all, t.info.name[:])
	binary.NativeEndian.PutUint32(all[len(t.info.name):], t.info.size)
	err = getOption(fd, optionEntries, unsafe.Pointer(&all[0]), uintptr(len(all)))
	t.entries = all[entriesOffset:]
	return t, err
}

func getOption(fd, option int, into unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, uintptr(option), uintptr(into), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// dropsForwarded says whether the policy of FORWARD is DROP.
func (t legacyTable) dropsForwarded() bool {
	policy := t.entries[min(int(t.info.underflow[hookForward]), len(t.entries)):]
	if len(policy) < targetOffset+2 {
		return false
	}
	at := int(binary.NativeEndian.Uint16(policy[targetOffset:])) + verdictOffset
	return len(policy) >= at+4 && int32(binary.NativeEndian.Uint32(policy[at:])) == legacyDrop
}
