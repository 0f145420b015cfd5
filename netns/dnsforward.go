package netns

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Limits of forwarding.
const (
	// maxUpstreams is how many servers are tried, as in Docker and resolv.conf(5), MAXNS.
	maxUpstreams = 3
	// upstreamTimeout is what each of them gets, as in Docker.
	upstreamTimeout = 4 * time.Second
	// maxForwarded is how many questions may be on their way at a time. Each holds a
	// socket and some 10 KiB, so a container that asks for nonsense can't take more
	// than 3 MiB of its monitor; Docker's limit is 1024, for all of a sandbox.
	maxForwarded = 256
	// upstreamSize is the largest datagram that is read from a server; a longer one
	// is fetched over TCP (RFC 6891, 6.2.5 has askers begin with 4096).
	upstreamSize = 4096
)

// Forwarder asks other servers what the table doesn't know.
type Forwarder struct {
	// Upstreams are tried in order; those after the third are ignored.
	Upstreams []netip.AddrPort
	// Single keeps names without a dot here: the container's own ndots option says
	// that they are to be completed first, and Docker's resolver then has no answer.
	Single bool

	timeout time.Duration // of each server
	busy    chan struct{}
}

// NewForwarder returns a forwarder to these servers, called from the network
// namespace of this process.
func NewForwarder(single bool, upstreams ...netip.AddrPort) *Forwarder {
	upstreams = upstreams[:min(len(upstreams), maxUpstreams)]
	return &Forwarder{Upstreams: upstreams, Single: single, timeout: upstreamTimeout, busy: make(chan struct{}, maxForwarded)}
}

// reserve takes a place for one question, if there is one.
func (f *Forwarder) reserve() bool {
	select {
	case f.busy <- struct{}{}:
		return true
	default:
		return false
	}
}

func (f *Forwarder) release() { <-f.busy }

// keeps replies to a question that goes nowhere, and returns nil for one to forward.
func (f *Forwarder) keeps(q *query, outside bool) []byte {
	single := q.name != "" && !strings.Contains(q.name, ".")
	switch {
	case f.Single && single && (q.kind == dnsmessage.TypeA || q.kind == dnsmessage.TypeAAAA):
		return q.error(dnsmessage.RCodeSuccess)
	case !outside || len(f.Upstreams) == 0:
		return q.error(dnsmessage.RCodeServerFailure)
	}
	return nil
}

// ask returns the first reply that is neither a failure nor a refusal, or nil.
func (f *Forwarder) ask(ctx context.Context, q *query) []byte {
	for _, server := range f.Upstreams {
		reply, err := f.askOne(ctx, server, q)
		if err != nil {
			continue // The asker hears SERVFAIL when nobody answers.
		}
		switch dnsmessage.RCode(reply[3] & 0xf) {
		case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused:
			continue
		}
		copy(reply, q.packet[:2])
		return reply
	}
	return nil
}

// askOne asks over UDP first. What does not fit there is fetched over TCP for who
// can take it; others get the shortened reply, and will come over TCP themselves.
func (f *Forwarder) askOne(ctx context.Context, server netip.AddrPort, q *query) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	sent := bytes.Clone(q.packet)
	// Who guesses an answer has to guess 16 bits of ID and the port, which the kernel
	// draws for each socket (RFC 5452, 9.2).
	binary.BigEndian.PutUint16(sent, uint16(rand.Uint32()))
	reply, err := q.overDatagrams(ctx, server, sent)
	if err != nil || !isTruncated(reply) || q.limit == plainSize {
		return reply, err
	}
	whole, err := q.overStream(ctx, server, sent)
	if !q.stream && (err != nil || len(whole) > q.limit) {
		return reply, nil
	}
	return whole, err
}

func isTruncated(reply []byte) bool { return int(reply[2])<<8&bitTruncated != 0 }

// dial connects: the kernel then drops what comes from any other address or port.
func dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // A closed connection says so itself.
	}
	return conn, nil
}

// overDatagrams waits for the datagram that answers the question; others are not
// from whom they seem to be.
func (q *query) overDatagrams(ctx context.Context, server netip.AddrPort, sent []byte) ([]byte, error) {
	conn, err := dial(ctx, "udp", server)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(sent); err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	buffer := make([]byte, upstreamSize+1)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, fmt.Errorf("hear from %s: %w", server, err)
		}
		reply := buffer[:n:n]
		if n > upstreamSize {
			reply = withoutRecords(reply, q.end)
		}
		if q.answeredBy(sent, reply) {
			return reply, nil
		}
	}
}

// overStream asks over TCP, where both ways carry the length first (RFC 1035, 4.2.2).
func (q *query) overStream(ctx context.Context, server netip.AddrPort, sent []byte) ([]byte, error) {
	conn, err := dial(ctx, "tcp", server)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(withLength(sent)); err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	reply, err := readMessage(conn, streamSize)
	if err != nil {
		return nil, fmt.Errorf("hear from %s: %w", server, err)
	}
	if !q.answeredBy(sent, reply) {
		return nil, fmt.Errorf("hear from %s: not an answer to the question", server)
	}
	return reply, nil
}

// withoutRecords makes of a reply that was longer than what was read of it one that
// says so.
func withoutRecords(reply []byte, end int) []byte {
	reply[2] |= bitTruncated >> 8
	clear(reply[6:headerSize])
	return reply[:end]
}

func withLength(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message))), message...)
}

// readMessage reads one message from a stream, of at most limit bytes.
func readMessage(from io.Reader, limit int) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(length[:]))
	if size > limit {
		return nil, errors.New("read message: too long")
	}
	message := make([]byte, size)
	_, err := io.ReadFull(from, message)
	return message, err
}

// answeredBy says whether a message is a reply to what was sent: ID, question and
// form have to be right (RFC 5452, 4.2).
func (q *query) answeredBy(sent, reply []byte) bool {
	var parser dnsmessage.Parser
	header, err := parser.Start(reply)
	if err != nil || !header.Response || header.OpCode != 0 || !bytes.Equal(reply[:2], sent[:2]) {
		return false
	}
	if len(reply) < q.end || reply[4] != 0 || reply[5] != 1 || !sameQuestion(sent[headerSize:q.end], reply[headerSize:q.end]) {
		return false
	}
	return errors.Join(parser.SkipAllQuestions(), parser.SkipAllAnswers(), parser.SkipAllAuthorities(), parser.SkipAllAdditionals()) == nil
}

// sameQuestion compares names without regard to capitals; type and class, the last
// four bytes, exactly. Lengths of labels are below every letter.
func sameQuestion(a, b []byte) bool {
	name := len(a) - 4
	if !bytes.Equal(a[name:], b[name:]) {
		return false
	}
	for i := range name {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}
