package netns

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// ttl is how many seconds an answer may be kept: 600, as in Docker's resolver.
const ttl = 600

// The bits of a header's flags (RFC 1035, 4.1.1; CD: RFC 4035, 3.2.2).
const (
	bitResponse           = 1 << 15
	bitTruncated          = 1 << 9
	bitRecursionDesired   = 1 << 8
	bitRecursionAvailable = 1 << 7
	bitCheckingDisabled   = 1 << 4
)

// answer replies to one message: from the table, or by what forward fetches. nil
// means that it deserves no reply.
func answer(packet []byte, stream bool, table *Table, forward func(*query) []byte) []byte {
	q, refusal, err := readQuery(packet, stream)
	if err != nil || refusal != nil {
		return refusal
	}
	if reply := q.fromTable(table); reply != nil {
		return reply
	}
	return q.fit(forward(q))
}

// fromTable replies to a question about a container, and returns nil for any other.
// Of a known name there are addresses of IPv4, and everything else is empty: that
// is what keeps a public name of the same spelling away.
func (q *query) fromTable(t *Table) []byte {
	if q.class != dnsmessage.ClassINET && q.class != dnsmessage.ClassANY {
		return nil
	}
	if addresses, known := t.names[q.name]; known {
		if q.kind != dnsmessage.TypeA && q.kind != dnsmessage.TypeALL {
			return q.finish(q.begin(0, false, 0), 0)
		}
		return q.addresses(addresses)
	}
	if q.kind == dnsmessage.TypePTR {
		if address, ok := reverse(q.name); ok {
			if name, known := t.pointers[address]; known {
				return q.pointer(name)
			}
		}
	}
	return nil
}

// begin writes header and question.
func (q *query) begin(rcode dnsmessage.RCode, truncated bool, answers int) []byte {
	flags := bitResponse | bitRecursionAvailable | int(q.header.OpCode)<<11 | int(rcode)&0xf
	if truncated {
		flags |= bitTruncated
	}
	if q.header.RecursionDesired {
		flags |= bitRecursionDesired
	}
	if q.header.CheckingDisabled {
		flags |= bitCheckingDisabled
	}
	questions, additionals := 0, 0
	if q.end > 0 {
		questions = 1
	}
	if q.edns {
		additionals = 1
	}
	// No larger than it needs to be: what is thrown away has to be collected, and meanwhile askers wait.
	b := make([]byte, 0, max(q.end, headerSize)+answers*addressSize+optSize)
	for _, word := range []int{int(q.header.ID), flags, questions, answers, 0, additionals} {
		b = binary.BigEndian.AppendUint16(b, uint16(word))
	}
	if q.end > 0 {
		b = append(b, q.packet[headerSize:q.end]...)
	}
	return b
}

// optSize is that of an OPT record without options (RFC 6891, 6.1.2).
const optSize = 11

// finish adds the OPT record that an asker with one gets back.
func (q *query) finish(b []byte, rcode dnsmessage.RCode) []byte {
	if !q.edns {
		return b
	}
	extended := uint32(rcode) >> 4 << 24
	if q.dnssec {
		extended |= 1 << 15
	}
	b = append(b, 0) // the root's name
	b = binary.BigEndian.AppendUint16(b, uint16(dnsmessage.TypeOPT))
	b = binary.BigEndian.AppendUint16(b, offeredSize)
	b = binary.BigEndian.AppendUint32(b, extended)
	return append(b, 0, 0)
}

// error replies with nothing but a response code.
func (q *query) error(rcode dnsmessage.RCode) []byte {
	return q.finish(q.begin(rcode, false, 0), rcode)
}

// record adds what all records of an answer begin with: the name is a pointer to
// that of the question, which stands behind the header (RFC 1035, 4.1.4).
func record(b []byte, kind dnsmessage.Type, length int) []byte {
	b = append(b, 0xc0, headerSize)
	b = binary.BigEndian.AppendUint16(b, uint16(kind))
	b = binary.BigEndian.AppendUint16(b, uint16(dnsmessage.ClassINET))
	b = binary.BigEndian.AppendUint32(b, ttl)
	return binary.BigEndian.AppendUint16(b, uint16(length))
}

// addressSize is that of an A record whose name is a pointer.
const addressSize = 16

// addresses replies with as many addresses as the asker takes, in random order, so
// that askers who take the first are spread over all.
func (q *query) addresses(all []netip.Addr) []byte {
	if len(all) > 1 {
		all = slices.Clone(all)
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	room := q.limit - q.end - optSize
	fitting := min(len(all), room/addressSize)
	// Over TCP there is nobody to ask again.
	b := q.begin(0, fitting < len(all) && !q.stream, fitting)
	for _, a := range all[:fitting] {
		four := a.As4()
		b = append(record(b, dnsmessage.TypeA, len(four)), four[:]...)
	}
	return q.finish(b, 0)
}

// pointer replies with a container's name.
func (q *query) pointer(name string) []byte {
	wire, ok := wireName(name)
	if !ok {
		return q.finish(q.begin(0, false, 0), 0)
	}
	b := append(record(q.begin(0, false, 1), dnsmessage.TypePTR, len(wire)), wire...)
	return q.finish(b, 0)
}

// wireName writes a name that ends in a dot as labels (RFC 1035, 3.1). Not every
// container's name can be: a label of its may be too long, or empty.
func wireName(name string) (wire []byte, ok bool) {
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > maxLabel {
			return nil, false
		}
		wire = append(append(wire, byte(len(label))), label...)
	}
	wire = append(wire, 0)
	return wire, len(wire) <= maxWireName
}

// fit makes a reply that others gave small enough for the asker, who gets nothing of
// a too large one, and asks again over TCP. nil stands for a server failure.
func (q *query) fit(reply []byte) []byte {
	switch {
	case reply == nil:
		return q.error(dnsmessage.RCodeServerFailure)
	case len(reply) <= q.limit:
		return reply
	}
	return q.finish(q.begin(dnsmessage.RCode(reply[3]&0xf), true, 0), 0)
}
