package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// element is an entry of a set or map, as nft writes it: `"minidock0"`,
// `172.17.0.0/16`, `tcp . 8080 : 172.17.0.2 . 80`.
type element struct{ set, text string }

// key is what the element is found by.
func (e element) key() string {
	key, _, _ := strings.Cut(e.text, mapsTo)
	return key
}

// mapsTo stands between key and value, and partOf between the parts of either.
const (
	mapsTo = " : "
	partOf = " . "
)

// encode writes an element as the kernel is sent it: an interval is two, its first
// address and the one behind its last.
func (e element) encode() ([]nftables.SetElement, error) {
	if prefix, err := netip.ParsePrefix(e.text); err == nil {
		return []nftables.SetElement{
			{Key: prefix.Masked().Addr().AsSlice()},
			{Key: behind(prefix), IntervalEnd: true},
		}, nil
	}
	key, value, _ := strings.Cut(e.text, mapsTo)
	encodedKey, err := encodeParts(key)
	if err != nil {
		return nil, err
	}
	encodedValue, err := encodeParts(value)
	return []nftables.SetElement{{Key: encodedKey, Val: encodedValue}}, err
}

// behind is the first address after an IPv4 network.
func behind(p netip.Prefix) []byte {
	first := binary.BigEndian.Uint32(p.Masked().Addr().AsSlice())
	return binary.BigEndian.AppendUint32(nil, first+1<<(32-p.Bits()))
}

func encodeParts(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	var all []byte
	for part := range strings.SplitSeq(text, partOf) {
		encoded, err := encodePart(part)
		if err != nil {
			return nil, err
		}
		all = append(all, encoded...)
	}
	return all, nil
}

// encodePart fills registers of four bytes each.
func encodePart(text string) ([]byte, error) {
	if name, err := strconv.Unquote(text); err == nil && len(name) <= maxLinkName {
		return paddedName(name), nil
	}
	if address, err := netip.ParseAddr(text); err == nil && address.Is4() {
		return address.AsSlice(), nil
	}
	if port, err := strconv.ParseUint(text, 10, 16); err == nil {
		return []byte{byte(port >> 8), byte(port), 0, 0}, nil
	}
	if number, known := protocols()[text]; known {
		return []byte{number, 0, 0, 0}, nil
	}
	return nil, fmt.Errorf("encode %q: neither link, address, port nor protocol", text)
}

// protocols are those that have ports where both TCP and UDP have theirs.
func protocols() map[string]byte {
	return map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP}
}

// decode writes an element that the kernel has sent as nft does.
func (s set) decode(e nftables.SetElement) string {
	text := decodeParts(s.keys, e.Key)
	if len(s.values) > 0 {
		text += mapsTo + decodeParts(s.values, e.Val)
	}
	return text
}

func decodeParts(types []string, bytes []byte) string {
	var parts []string
	for _, t := range types {
		size := 4
		if t == "ifname" {
			size = 16
		}
		if len(bytes) < size {
			bytes = append(slices.Clone(bytes), make([]byte, size)...)
		}
		parts = append(parts, decodePart(t, bytes[:size]))
		bytes = bytes[size:]
	}
	return strings.Join(parts, partOf)
}

func decodePart(kind string, bytes []byte) string {
	switch kind {
	case "ifname":
		return strconv.Quote(strings.TrimRight(string(bytes), "\x00"))
	case "ipv4_addr":
		return netip.AddrFrom4([4]byte(bytes)).String()
	case "inet_service":
		return strconv.Itoa(int(binary.BigEndian.Uint16(bytes)))
	}
	for name, number := range protocols() {
		if number == bytes[0] {
			return name
		}
	}
	return strconv.Itoa(int(bytes[0]))
}
