package strace

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Netfilter writes a message to nf_tables, or to the tracking of connections, as a step tells it, with an element's
// key and value as bytes: NFT_MSG_NEWSETELEM "bridges" {6d696e69…}. The names of
// the table, and what a rule holds, are left out: they are told in shell.
func Netfilter(m Message) (string, error) {
	const header = 4 // struct nfgenmsg of linux/netfilter/nfnetlink.h
	name, named := netfilterName(m.Type)
	if named == 0 || len(m.Payload) < header {
		return name, nil
	}
	all, err := attributes(m.Payload[header:])
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	text := name + " "
	if strings.HasSuffix(name, "TABLE") {
		text += familyName(m.Payload[0]) + " "
	}
	for _, a := range all {
		if a.kind == named {
			text += quoted(a.value)
		}
	}
	if !strings.HasSuffix(name, "SETELEM") {
		return text, nil
	}
	elements, err := elements(all)
	return text + " {" + strings.Join(elements, ", ") + "}", err
}

// netfilterName is a message's name, and the number of the attribute that names
// what it is about (linux/netfilter/nfnetlink.h and nf_tables.h); 0 is none.
func netfilterName(number uint16) (name string, named uint16) {
	const tracking, tables = 1 << 8, 10 << 8 // NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_NFTABLES
	switch number {
	case 16:
		return "NFNL_MSG_BATCH_BEGIN", 0
	case 17:
		return "NFNL_MSG_BATCH_END", 0
	case tracking + 1:
		return "IPCTNL_MSG_CT_GET", 0
	case tracking + 2:
		return "IPCTNL_MSG_CT_DELETE", 0
	case tables + 16:
		return "NFT_MSG_GETGEN", 0
	}
	things := []struct {
		name  string
		named uint16
	}{{"TABLE", 1}, {"CHAIN", 3}, {"RULE", 2}, {"SET", 2}, {"SETELEM", 2}}
	thing := int(number) - tables
	if thing < 0 || thing/3 >= len(things) {
		return fmt.Sprintf("NFT_MSG_%d", number), 0
	}
	action := []string{"NEW", "GET", "DEL"}[thing%3]
	if action == "GET" {
		return "NFT_MSG_GET" + things[thing/3].name, 0
	}
	return "NFT_MSG_" + action + things[thing/3].name, things[thing/3].named
}

// familyName is of linux/netfilter.h.
func familyName(number byte) string {
	switch number {
	case 2:
		return "ip"
	case 5:
		return "netdev"
	}
	return strconv.Itoa(int(number))
}

// elements reads NFTA_SET_ELEM_LIST_ELEMENTS.
func elements(of []attribute) (texts []string, err error) {
	for _, list := range of {
		if list.kind != 3 {
			continue
		}
		all, err := attributes(list.value)
		if err != nil {
			return nil, err
		}
		for _, a := range all {
			text, err := readElement(a.value)
			if err != nil {
				return nil, err
			}
			texts = append(texts, text)
		}
	}
	return texts, nil
}

// behindLast marks the end of an interval: the first that is not in it.
const behindLast = "<"

func readElement(text []byte) (string, error) {
	all, err := attributes(text)
	key, value, end := "", "", ""
	for _, a := range all {
		switch a.kind {
		case 1, 2: // NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA
			inner, err := attributes(a.value)
			if err != nil || len(inner) != 1 {
				return "", fmt.Errorf("an element of %x", a.value)
			}
			if a.kind == 1 {
				key = hex.EncodeToString(inner[0].value)
			} else {
				value = " : " + hex.EncodeToString(inner[0].value)
			}
		case 3: // NFTA_SET_ELEM_FLAGS: NFT_SET_ELEM_INTERVAL_END
			if len(a.value) == 4 && binary.BigEndian.Uint32(a.value) == 1 {
				end = behindLast
			}
		}
	}
	return end + key + value, err
}

// ElementBytes writes an element that is told as nft(8) has it, as bytes, as
// [Netfilter] does: `"minidock0" . "minidock0"`, `172.17.0.0/16`, `tcp . 80 :
// 172.17.0.2 . 80`.
func ElementBytes(text string) (string, error) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		first := binary.BigEndian.Uint32(prefix.Masked().Addr().AsSlice())
		return fmt.Sprintf("%08x, %s%08x", first, behindLast, first+1<<(32-prefix.Bits())), nil
	}
	key, value, mapped := strings.Cut(text, " : ")
	keyBytes, err := partsBytes(key)
	if err != nil || !mapped {
		return keyBytes, err
	}
	valueBytes, err := partsBytes(value)
	return keyBytes + " : " + valueBytes, err
}

// partsBytes: each part of a key fills registers of four bytes.
func partsBytes(text string) (string, error) {
	var all []byte
	for part := range strings.SplitSeq(text, " . ") {
		name, unquoted := strconv.Unquote(part)
		address, noAddress := netip.ParseAddr(part)
		port, noPort := strconv.ParseUint(part, 10, 16)
		switch {
		case unquoted == nil && len(name) < 16: // IFNAMSIZ of linux/if.h
			all = append(all, append([]byte(name), make([]byte, 16-len(name))...)...)
		case noAddress == nil:
			all = append(all, address.AsSlice()...)
		case noPort == nil:
			all = append(binary.BigEndian.AppendUint16(all, uint16(port)), 0, 0)
		case part == "tcp":
			all = append(all, 6, 0, 0, 0)
		case part == "udp":
			all = append(all, 17, 0, 0, 0)
		default:
			return "", fmt.Errorf("element %q can't be read", part)
		}
	}
	return hex.EncodeToString(all), nil
}

// ToldMessages writes the messages of a told transaction as [Netfilter] writes
// those of a traced one; others it leaves as they are.
func ToldMessages(text string) (string, error) {
	inner, several := strings.CutPrefix(text, "[")
	if !several {
		return text, nil
	}
	messages, _, err := SplitList(inner)
	if err != nil {
		return "", err
	}
	for i, m := range messages {
		head, element, found := strings.Cut(m, " {")
		if !found {
			continue
		}
		bytes, err := ElementBytes(strings.TrimSuffix(element, "}"))
		if err != nil {
			return "", err
		}
		messages[i] = head + " {" + bytes + "}"
	}
	return "[" + strings.Join(messages, ", ") + "]", nil
}
