package netns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Answer is what a name server said.
type Answer struct {
	// Addresses are sorted; there may be none for a name that is known.
	Addresses []netip.Addr
	// Code is DNS's word for how it went (RFC 1035, 4.1.1), or the reason why
	// there is no answer at all.
	Code string
	// Replied says that it was a server that said so, and not the kernel or the clock.
	Replied bool
	Took    time.Duration
}

// NoQuestion is an [Answer]'s code for a name that DNS has no question for: a part of it
// is empty or longer than 63 bytes, or the whole longer than 255 (RFC 1035, 2.3.4).
const NoQuestion = "no name that DNS can ask for"

// Ask asks a name server for a name's IPv4 addresses, over UDP and from inside a
// network namespace ("" is that of the calling process). That nobody answers is an
// Answer, too.
func Ask(namespace string, server netip.AddrPort, name string, timeout time.Duration) (a Answer, err error) {
	question, err := questionFor(name)
	if err != nil {
		return Answer{Code: NoQuestion}, nil
	}
	err = within(namespace, func() error {
		start := time.Now()
		err := a.ask(server, question, timeout)
		a.Took = time.Since(start)
		return err
	})
	return a, err
}

// question is what is sent, and the number that its answer has.
type question struct {
	id     uint16
	packet []byte
}

func questionFor(name string) (q question, err error) {
	asked, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return q, err
	}
	q.id = uint16(rand.Uint32())
	sent := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: asked, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	q.packet, err = sent.Pack()
	return q, err
}

func (a *Answer) ask(server netip.AddrPort, q question, timeout time.Duration) error {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.Dial("udp4", server.String())
	if err != nil {
		return a.without(err)
	}
	defer conn.Close()
	if err = conn.SetDeadline(time.Now().Add(timeout)); err == nil {
		_, err = conn.Write(q.packet)
	}
	if err != nil {
		return a.without(err)
	}
	buffer := make([]byte, upstreamSize)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return a.without(err)
		}
		var reply dnsmessage.Message
		if reply.Unpack(buffer[:n]) == nil && reply.ID == q.id && reply.Response {
			a.read(reply)
			return nil
		}
	}
}

// without tells a server that does not answer from an error of ours.
func (a *Answer) without(err error) error {
	var errno unix.Errno
	switch {
	case isTimeout(err):
		a.Code = "no answer in time"
	case errors.As(err, &errno):
		a.Code = errno.Error()
	default:
		return fmt.Errorf("ask name server: %w", err)
	}
	return nil
}

// Words are the addresses, or why there are none.
func (a Answer) Words() string {
	if len(a.Addresses) == 0 {
		if a.Code == "NOERROR" {
			return "no address"
		}
		return a.Code
	}
	var all []string
	for _, address := range a.Addresses {
		all = append(all, address.String())
	}
	return strings.Join(all, ", ")
}

func (a *Answer) read(reply dnsmessage.Message) {
	a.Code, a.Replied = codeName(reply.RCode), true
	for _, r := range reply.Answers {
		if body, ok := r.Body.(*dnsmessage.AResource); ok {
			a.Addresses = append(a.Addresses, netip.AddrFrom4(body.A))
		}
	}
	slices.SortFunc(a.Addresses, netip.Addr.Compare)
}

// codeName is the short word of the IANA registry of DNS parameters.
func codeName(code dnsmessage.RCode) string {
	known := map[dnsmessage.RCode]string{
		dnsmessage.RCodeSuccess: "NOERROR", dnsmessage.RCodeServerFailure: "SERVFAIL",
		dnsmessage.RCodeNameError: "NXDOMAIN", dnsmessage.RCodeRefused: "REFUSED",
	}
	if name, ok := known[code]; ok {
		return name
	}
	return fmt.Sprintf("code %d", code)
}

// isTimeout covers both of Go's words for it: of a call that was begun, and of one
// that came too late to begin.
func isTimeout(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}
