package strace

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Message is a netlink(7) message as strace shows it where it does not know the
// socket's protocol, that is of every network namespace but its own: the header by
// its fields, the rest as bytes.
type Message struct {
	Type uint16
	// Seq is the number by which an answer is found.
	Seq string
	// Refused is the error that the kernel answers with, as "-ENODEV"; empty in
	// what is no such answer.
	Refused string
	Payload []byte
}

// Messages reads the netlink messages of a traced sendto, sendmsg, recvfrom or
// recvmsg; ok is false where there are none, or strace shows no bytes.
func Messages(c Call) (all []Message, ok bool) {
	if len(c.Args) < 2 {
		return nil, false
	}
	text := c.Args[1]
	if strings.HasSuffix(c.Name, "msg") {
		vectors, _, _ := SplitList(strings.TrimPrefix(Structure(text)["msg_iov"], "["))
		if len(vectors) != 1 {
			return nil, false
		}
		text = Structure(vectors[0])["iov_base"]
	}
	return readMessages(text)
}

// readMessages reads [{HEADER}, REST] or, of several, [[{HEADER}, REST], …].
func readMessages(text string) (all []Message, ok bool) {
	inner, found := strings.CutPrefix(text, "[")
	if !found {
		return nil, false
	}
	parts, _, err := SplitList(inner)
	if err != nil || len(parts) == 0 {
		return nil, false
	}
	if strings.HasPrefix(parts[0], "{nlmsg_len=") {
		m, ok := readMessage(parts)
		return []Message{m}, ok
	}
	for _, part := range parts {
		one, ok := readMessages(part)
		if !ok {
			return nil, false
		}
		all = append(all, one...)
	}
	return all, true
}

// errorMessage is NLMSG_ERROR of linux/netlink.h, the kernel's answer to a request.
const errorMessage = 2

func readMessage(parts []string) (m Message, ok bool) {
	header := Structure(parts[0])
	m.Seq = header["nlmsg_seq"]
	kind, _, _ := strings.Cut(header["nlmsg_type"], " ")
	if kind == "NLMSG_ERROR" && len(parts) > 1 {
		m.Type = errorMessage
		if m.Refused = Structure(parts[1])["error"]; m.Refused == "0" {
			m.Refused = ""
		}
		return m, true
	}
	number, err := strconv.ParseUint(kind, 0, 16)
	m.Type = uint16(number)
	if err != nil {
		return m, strings.HasPrefix(kind, "NLMSG_")
	}
	if len(parts) > 1 {
		rest, whole := Literal(parts[1])
		m.Payload, ok = []byte(rest), whole
		return m, ok
	}
	return m, true
}

// attribute is a struct nlattr with what it holds (linux/netlink.h).
type attribute struct {
	kind  uint16
	value []byte
}

// attributes splits what follows a message's own header.
func attributes(text []byte) ([]attribute, error) {
	const header, nested = 4, 0xc000 // NLA_F_NESTED and NLA_F_NET_BYTEORDER
	var all []attribute
	for len(text) >= header {
		length := int(binary.NativeEndian.Uint16(text))
		if length < header || length > len(text) {
			return nil, fmt.Errorf("an attribute of %d bytes in %d", length, len(text))
		}
		all = append(all, attribute{binary.NativeEndian.Uint16(text[2:]) &^ nested, text[header:length]})
		text = text[min((length+3)&^3, len(text)):]
	}
	if len(text) > 0 {
		return nil, fmt.Errorf("%d bytes behind the last attribute", len(text))
	}
	return all, nil
}

// Sight is what is known of the numbers in a message where it was sent.
type Sight struct {
	// Link names the link of an index, File the file of a descriptor; "" is unknown.
	Link, File func(number int) string
}

// link writes an index as it is told.
func (s Sight) link(index uint32) string {
	if name := s.Link(int(index)); name != "" {
		return fmt.Sprintf("if_nametoindex(%q)", name)
	}
	return strconv.FormatUint(uint64(index), 10)
}

// Route writes an rtnetlink(7) message with all of its attributes as a step tells
// it: RTM_NEWLINK {IFF_UP, IFLA_IFNAME="eth0"}. The attributes that are nested in
// others stand beside them, but those of a peer.
func (s Sight) Route(m Message) (string, error) {
	name := routeName(m.Type)
	if strings.HasPrefix(name, "RTM_GET") {
		return name, nil
	}
	var fields []string
	var err error
	switch {
	case strings.HasSuffix(name, "LINK"):
		fields, err = s.linkFields(m.Payload)
	case strings.HasSuffix(name, "ADDR"):
		fields, err = s.addressFields(m.Payload)
	case strings.HasSuffix(name, "ROUTE"):
		fields, err = s.routeFields(m.Payload)
	default:
		fields = []string{hex.EncodeToString(m.Payload)}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return name + " {" + strings.Join(fields, ", ") + "}", nil
}

// routeName: message types come in fours, from 16 on (linux/rtnetlink.h).
func routeName(number uint16) string {
	things := map[uint16]string{16: "LINK", 20: "ADDR", 24: "ROUTE", 28: "NEIGH", 32: "RULE"}
	thing, known := things[number&^3]
	if !known {
		return fmt.Sprintf("RTM_%d", number)
	}
	return "RTM_" + []string{"NEW", "DEL", "GET", "SET"}[number&3] + thing
}

// split cuts a header of a fixed size off.
func split(payload []byte, size int) (header []byte, all []attribute, err error) {
	if len(payload) < size {
		return nil, nil, fmt.Errorf("%d bytes are too short", len(payload))
	}
	all, err = attributes(payload[size:])
	return payload[:size], all, err
}

// linkFields reads a struct ifinfomsg and its attributes.
func (s Sight) linkFields(payload []byte) (fields []string, err error) {
	const size, up = 16, 1 // IFF_UP of linux/if.h
	header, all, err := split(payload, size)
	if err != nil {
		return nil, err
	}
	if index := binary.NativeEndian.Uint32(header[4:]); index != 0 {
		fields = append(fields, "ifi_index="+s.link(index))
	}
	flags, change := binary.NativeEndian.Uint32(header[8:]), binary.NativeEndian.Uint32(header[12:])
	switch {
	case change == 0 && flags == 0:
	case change == up && flags == up:
		fields = append(fields, "IFF_UP")
	default:
		fields = append(fields, fmt.Sprintf("ifi_flags=%#x", flags), fmt.Sprintf("ifi_change=%#x", change))
	}
	more, err := s.linkAttributes(all)
	return append(fields, more...), err
}

// The numbers of linux/if_link.h.
func (s Sight) linkAttributes(all []attribute) (fields []string, err error) {
	for _, a := range all {
		switch a.kind {
		case 1:
			fields = append(fields, "IFLA_ADDRESS="+net.HardwareAddr(a.value).String())
		case 3:
			fields = append(fields, "IFLA_IFNAME="+quoted(a.value))
		case 4:
			fields = append(fields, "IFLA_MTU="+number(a.value))
		case 10:
			fields = append(fields, "IFLA_MASTER="+s.link(word(a.value)))
		case 12, 18: // IFLA_PROTINFO, IFLA_LINKINFO
			more, err := s.nested(a)
			if err != nil {
				return nil, err
			}
			fields = append(fields, more...)
		case 28:
			fields = append(fields, fmt.Sprintf("IFLA_NET_NS_FD=%q", s.File(int(word(a.value)))))
		default:
			fields = append(fields, fmt.Sprintf("IFLA_%d=%x", a.kind, a.value))
		}
	}
	return fields, nil
}

func (s Sight) nested(in attribute) (fields []string, err error) {
	all, err := attributes(in.value)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		switch {
		case in.kind == 12 && a.kind == 4 && len(a.value) == 1:
			fields = append(fields, "IFLA_BRPORT_MODE="+strconv.Itoa(int(a.value[0])))
		case in.kind == 18 && a.kind == 1:
			fields = append(fields, "IFLA_INFO_KIND="+quoted(a.value))
		case in.kind == 18 && a.kind == 2:
			more, err := s.data(a.value)
			if err != nil {
				return nil, err
			}
			fields = append(fields, more...)
		default:
			fields = append(fields, fmt.Sprintf("IFLA_%d_%d=%x", in.kind, a.kind, a.value))
		}
	}
	return fields, nil
}

// data reads IFLA_INFO_DATA of a veth(4): VETH_INFO_PEER of linux/veth.h is a
// whole message.
func (s Sight) data(text []byte) (fields []string, err error) {
	all, err := attributes(text)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		peer, err := s.linkFields(a.value)
		if a.kind != 1 || err != nil {
			fields = append(fields, fmt.Sprintf("IFLA_INFO_DATA_%d=%x", a.kind, a.value))
			continue
		}
		fields = append(fields, "VETH_INFO_PEER={"+strings.Join(peer, ", ")+"}")
	}
	return fields, nil
}

// addressFields reads a struct ifaddrmsg; the numbers are of linux/if_addr.h.
func (s Sight) addressFields(payload []byte) (fields []string, err error) {
	header, all, err := split(payload, 8)
	if err != nil {
		return nil, err
	}
	fields = []string{"ifa_index=" + s.link(binary.NativeEndian.Uint32(header[4:]))}
	local := slices.IndexFunc(all, func(a attribute) bool { return a.kind == 2 })
	for _, a := range all {
		switch {
		case a.kind == 1 && local >= 0 && slices.Equal(a.value, all[local].value):
			// IFA_ADDRESS is the peer's address, of a link that has none its own.
		case a.kind == 2:
			fields = append(fields, fmt.Sprintf("IFA_LOCAL=%s/%d", address(a.value), header[1]))
		case a.kind == 4:
			fields = append(fields, "IFA_BROADCAST="+address(a.value))
		default:
			fields = append(fields, fmt.Sprintf("IFA_%d=%x", a.kind, a.value))
		}
	}
	return fields, nil
}

// routeFields reads a struct rtmsg; the numbers are of linux/rtnetlink.h.
func (s Sight) routeFields(payload []byte) (fields []string, err error) {
	header, all, err := split(payload, 12)
	if err != nil {
		return nil, err
	}
	fields = []string{fmt.Sprintf("rtm_dst_len=%d", header[1])}
	for _, a := range all {
		switch a.kind {
		case 1:
			fields = append(fields, "RTA_DST="+address(a.value))
		case 4:
			if word(a.value) != 0 { // 0 is any that leads to the gateway.
				fields = append(fields, "RTA_OIF="+s.link(word(a.value)))
			}
		case 5:
			fields = append(fields, "RTA_GATEWAY="+address(a.value))
		default:
			fields = append(fields, fmt.Sprintf("RTA_%d=%x", a.kind, a.value))
		}
	}
	return fields, nil
}

// quoted is a name, which a 0 may end.
func quoted(value []byte) string { return strconv.Quote(strings.TrimRight(string(value), "\x00")) }

func word(value []byte) uint32 {
	if len(value) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}

func number(value []byte) string { return strconv.FormatUint(uint64(word(value)), 10) }

func address(value []byte) string {
	a, _ := netip.AddrFromSlice(value)
	return a.String()
}

// LinkOf reads the index and the name of a link in the kernel's answer to
// RTM_GETLINK; the name is "" in any other message.
func LinkOf(m Message) (index int, name string) {
	header, all, err := split(m.Payload, 16)
	if routeName(m.Type) != "RTM_NEWLINK" || err != nil {
		return 0, ""
	}
	for _, a := range all {
		if a.kind == 3 {
			return int(binary.NativeEndian.Uint32(header[4:])), strings.TrimRight(string(a.value), "\x00")
		}
	}
	return 0, ""
}
