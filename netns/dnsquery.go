package netns

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Sizes of DNS messages, in bytes.
const (
	// headerSize is that of every message's beginning (RFC 1035, 4.1.1).
	headerSize = 12
	// plainSize is the largest message over UDP for who doesn't ask for more (RFC
	// 1035, 4.2.1), and the least that an asker can mean (RFC 6891, 6.2.3).
	plainSize = 512
	// maxLabel and maxWireName are the limits of RFC 1035, 2.3.4; the latter counts every
	// label's length and the last zero.
	maxLabel, maxWireName = 63, 255
	// streamSize is the largest that TCP's two bytes of length allow (RFC 1035, 4.2.2).
	streamSize = 65535
	// datagramSize is the largest payload of UDP over IPv4: 65535 less 20 bytes of IP
	// header (RFC 791, 3.1) and 8 of UDP's (RFC 768).
	datagramSize = 65535 - 20 - 8
	// querySize is the largest query that is read: a name takes 255 bytes (RFC 1035,
	// 3.1), and 4096 is what RFC 6891, 6.2.5 has a sender begin with.
	querySize = 4096
	// offeredSize is what our own OPT records offer: with it no datagram is
	// fragmented on the way (dnsflagday.net, 2020).
	offeredSize = 1232
)

// Response codes that dnsmessage has no names for.
const rcodeBadVersion = 16 // RFC 6891, 9

// Query types that dnsmessage has no names for.
const typeIXFR dnsmessage.Type = 251 // RFC 1995, 2

// query is one question, taken apart as far as a resolver needs it.
type query struct {
	packet []byte
	stream bool
	header dnsmessage.Header
	// end is where the question section ends; 0 while there is none to be read.
	end int
	// name is in lower case and without its last dot; "" also where a label holds a
	// dot of its own, which no container's name can.
	name  string
	kind  dnsmessage.Type
	class dnsmessage.Class
	edns  bool
	// dnssec is the bit that has to be given back (RFC 3225, 3).
	dnssec bool
	// limit is the size of the largest reply.
	limit int
}

// errDrop says that a message gets no reply: there is no ID to send it to, or it is
// a reply itself, which two servers would send to and fro.
var errDrop = errors.New("drop message")

// readQuery takes a message apart. When refusal is not nil it is the reply.
func readQuery(packet []byte, stream bool) (q *query, refusal []byte, err error) {
	q = &query{packet: packet, stream: stream, limit: plainSize}
	if stream {
		q.limit = streamSize
	}
	var parser dnsmessage.Parser
	if q.header, err = parser.Start(packet); err != nil || q.header.Response {
		return nil, nil, errDrop
	}
	if q.header.OpCode != 0 {
		return q, q.error(dnsmessage.RCodeNotImplemented), nil
	}
	// One question is all there can be (RFC 9619).
	if int(packet[4])<<8|int(packet[5]) != 1 || !q.readQuestion() {
		return q, q.error(dnsmessage.RCodeFormatError), nil
	}
	version, err := q.readRest(&parser)
	switch {
	case err != nil:
		q.edns = false
		return q, q.error(dnsmessage.RCodeFormatError), nil
	case version != 0:
		return q, q.error(rcodeBadVersion), nil
	case q.kind == dnsmessage.TypeAXFR || q.kind == typeIXFR:
		return q, q.error(dnsmessage.RCodeRefused), nil // A transfer is no single message.
	}
	return q, nil, nil
}

// readQuestion reads the only question. Its name stands first in the message, so
// there is nothing that it could point at (RFC 1035, 4.1.4).
func (q *query) readQuestion() bool {
	var name []byte
	at, plain := headerSize, true
	for {
		if at >= len(q.packet) {
			return false
		}
		length := int(q.packet[at])
		// A greater length is a pointer's.
		if length > maxLabel || at+1+length-headerSize > maxWireName || at+1+length > len(q.packet) {
			return false
		}
		label := q.packet[at+1 : at+1+length]
		at += 1 + length
		if length == 0 {
			break
		}
		if len(name) > 0 {
			name = append(name, '.')
		}
		name = append(name, label...)
		plain = plain && bytes.IndexByte(label, '.') < 0
	}
	if at+4 > len(q.packet) {
		return false
	}
	q.kind = dnsmessage.Type(q.packet[at])<<8 | dnsmessage.Type(q.packet[at+1])
	q.class = dnsmessage.Class(q.packet[at+2])<<8 | dnsmessage.Class(q.packet[at+3])
	q.end = at + 4
	if plain {
		q.name = lower(string(name))
	}
	return true
}

// readRest reads what comes after the question, in which only the OPT record
// matters (RFC 6891, 6.1), and returns the version of EDNS that is asked for.
func (q *query) readRest(parser *dnsmessage.Parser) (version int, err error) {
	if err := errors.Join(parser.SkipAllQuestions(), parser.SkipAllAnswers(), parser.SkipAllAuthorities()); err != nil {
		return 0, err
	}
	for {
		header, err := parser.AdditionalHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return version, nil
		}
		if err == nil {
			err = parser.SkipAdditional()
		}
		if err != nil {
			return 0, err
		}
		if header.Type != dnsmessage.TypeOPT {
			continue
		}
		if q.edns {
			return 0, errors.New("read message: two OPT records")
		}
		q.edns, q.dnssec = true, header.TTL&(1<<15) != 0
		version = int(header.TTL >> 16 & 0xff)
		if !q.stream {
			q.limit = min(max(int(header.Class), plainSize), datagramSize)
		}
	}
}

// reverse is the address that a name of in-addr.arpa stands for (RFC 1035, 3.5).
func reverse(name string) (netip.Addr, bool) {
	digits, found := strings.CutSuffix(name, ".in-addr.arpa")
	parts := strings.Split(digits, ".")
	if !found || len(parts) != 4 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return address, err == nil
}
