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

// Ask asks a name server for a name's IPv4 addresses, over UDP and from inside a
// network namespace ("" is that of the calling process). That nobody answers is an
// Answer, too.
func Ask(namespace string, server netip.AddrPort, name string, timeout time.Duration) (a Answer, err error) {
	question, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return a, fmt.Errorf("ask for %q: %w", name, err)
	}
	err = within(namespace, func() error {
		start := time.Now()
		err := a.ask(server, question, timeout)
		a.Took = time.Since(start)
		return err
	})
	return a, err
}

func (a *Answer) ask(server netip.AddrPort, name dnsmessage.Name, timeout time.Duration) error {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.Dial("udp4", server.String())
	if err != nil {
		return a.without(err)
	}
	defer conn.Close()
	id := uint16(rand.Uint32())
	sent := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packet, err := sent.Pack()
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(timeout))
	}
	if err == nil {
		_, err = conn.Write(packet)
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
		if reply.Unpack(buffer[:n]) == nil && reply.ID == id && reply.Response {
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
