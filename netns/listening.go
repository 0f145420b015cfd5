package netns

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// listeningState is how /proc/net/tcp and /proc/net/udp write the state of a socket
// that anybody can call (linux/net/tcp_states.h): TCP_LISTEN, and TCP_CLOSE, in which
// an unconnected UDP socket is.
func listeningState(proto string) string {
	if proto == "tcp" {
		return "0A"
	}
	return "07"
}

// Listening lists where programs listen in the network namespace of a process, but
// for our own resolver there; proto is tcp or udp.
func Listening(pid int, proto string) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, file := range []string{proto, proto + "6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, file))
		if errors.Is(err, fs.ErrNotExist) && file != proto {
			continue // A kernel without IPv6.
		}
		if err != nil {
			return nil, fmt.Errorf("read sockets: %w", err)
		}
		all = append(all, listeningIn(string(text), listeningState(proto))...)
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all), nil
}

// listeningIn reads the second and fourth column of such a file (proc_net(5)).
func listeningIn(text, state string) (all []netip.AddrPort) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		at, ok := socketAddress(fields[1])
		if ok && at.Addr().String() != ResolverAddress {
			all = append(all, at)
		}
	}
	return all
}

// socketAddress reads an address that is written as words of the machine's own
// order of bytes, in hexadecimal digits, and a port.
func socketAddress(text string) (netip.AddrPort, bool) {
	digits, number, _ := strings.Cut(text, ":")
	words, err := hex.DecodeString(digits)
	port, portErr := strconv.ParseUint(number, 16, 16)
	if err != nil || portErr != nil || len(words)%4 != 0 {
		return netip.AddrPort{}, false
	}
	var address []byte
	for ; len(words) > 0; words = words[4:] {
		address = binary.NativeEndian.AppendUint32(address, binary.BigEndian.Uint32(words))
	}
	a, ok := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), ok
}

// DatagramsRead counts the UDP datagrams that programs in the network namespace of
// a process have read: InDatagrams of RFC 4113.
func DatagramsRead(pid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", pid))
	if err != nil {
		return 0, fmt.Errorf("read counters: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		if at := slices.Index(names, "InDatagrams"); at > 0 && at < len(fields) {
			return strconv.ParseUint(fields[at], 10, 64)
		}
	}
	return 0, fmt.Errorf("read counters: /proc/%d/net/snmp has no InDatagrams", pid)
}
