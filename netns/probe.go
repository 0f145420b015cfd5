package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Probe is one real attempt to reach an address.
type Probe struct {
	// Namespace is the file of the network namespace it is made in; "" is that of
	// the calling process.
	Namespace string
	To        netip.Addr
	// Port is 0 for ICMP.
	Port uint16
	// Proto is tcp, udp or icmp.
	Proto string
	// Timeout is how long it waits for an answer.
	Timeout time.Duration
}

// Outcome is what came of a probe.
type Outcome string

const (
	// Answered says that a TCP connection was made, a datagram or an echo came back.
	Answered Outcome = "answered"
	// Refused is a TCP reset, or ICMP's word that nobody has the port.
	Refused Outcome = "refused"
	// Silent says that nothing came back in time.
	Silent Outcome = "silent"
	// Unreachable says that the kernel, or a router on the way, knows no way.
	Unreachable Outcome = "unreachable"
)

// Echo is what came of a probe, and after what time.
type Echo struct {
	Outcome Outcome
	Took    time.Duration
	// Error is the kernel's word for a refusal, and for no way.
	Error string `json:",omitempty"`
}

// Send makes the attempt. An error is about the probe itself; that nobody was
// reached is none.
func (p Probe) Send() (e Echo, err error) {
	send := map[string]func() error{"tcp": p.connect, "udp": p.exchange, "icmp": p.ping}[p.Proto]
	if send == nil {
		return e, fmt.Errorf("probe %s: unknown protocol %q", p.To, p.Proto)
	}
	var sent error
	err = within(p.Namespace, func() error {
		start := time.Now()
		sent = send()
		e.Took = time.Since(start)
		return nil
	})
	if err != nil {
		return e, err
	}
	return e, e.read(sent)
}

// within is [Inside], where "" is the calling process' own namespace.
func within(file string, do func() error) error {
	if file == "" {
		file = "/proc/self/ns/net"
	}
	return Inside(file, do)
}

// read tells the answers that an error can be from errors of the probe itself.
func (e *Echo) read(err error) error {
	var errno unix.Errno
	switch {
	case err == nil:
		e.Outcome = Answered
	case isTimeout(err):
		e.Outcome = Silent
	case errors.As(err, &errno):
		e.Outcome, e.Error = Unreachable, errno.Error()
		if errno == unix.ECONNREFUSED || errno == unix.ECONNRESET {
			e.Outcome = Refused
		}
	default:
		return fmt.Errorf("send probe: %w", err)
	}
	return nil
}

func (p Probe) dial() (net.Conn, error) {
	dialer := net.Dialer{Timeout: p.Timeout}
	return dialer.Dial(p.Proto+"4", netip.AddrPortFrom(p.To, p.Port).String())
}

// connect makes a TCP connection and ends it.
func (p Probe) connect() error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	return conn.Close()
}

// exchange sends a datagram and waits for any other.
func (p Probe) exchange() error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(p.Timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("minidock\n")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, plainSize))
	return err
}

// ping sends an ICMP echo request and waits for the reply, or for the word of a
// router that there is no way.
func (p Probe) ping() error {
	conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(p.Timeout)); err != nil {
		return err
	}
	request := echoRequest(uint16(unix.Gettid()))
	if _, err := conn.WriteTo(request, &net.IPAddr{IP: p.To.AsSlice()}); err != nil {
		return err
	}
	buffer := make([]byte, plainSize)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if from.String() == p.To.String() && answersEcho(buffer[:n], request) {
			return nil
		}
		if err := refusesEcho(buffer[:n], request); err != nil {
			return err
		}
	}
}

// Types and codes of ICMP messages (RFC 792).
const (
	icmpReply, icmpUnreachable, icmpRequest = 0, 3, 8
	icmpNet                                 = 0
)

// echoRequest is type, code, checksum, identifier and number (RFC 792).
func echoRequest(id uint16) []byte {
	message := []byte{icmpRequest, 0, 0, 0}
	message = binary.BigEndian.AppendUint16(message, id)
	message = binary.BigEndian.AppendUint16(message, 1)
	binary.BigEndian.PutUint16(message[2:], checksum(message))
	return message
}

// checksum is the Internet's (RFC 1071), of an even number of bytes.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func answersEcho(message, request []byte) bool {
	return len(message) >= len(request) && message[0] == icmpReply && string(message[4:8]) == string(request[4:8])
}

// refusesEcho reads ICMP's "destination unreachable", which quotes the IP header
// and the first 8 bytes of what could not be delivered.
func refusesEcho(message, request []byte) error {
	const quoted, least = 8, 20
	if len(message) < quoted+least+len(request) || message[0] != icmpUnreachable {
		return nil
	}
	header := int(message[quoted]&0xf) * 4 // RFC 791, 3.1: in words of four bytes
	if len(message) < quoted+header+len(request) || string(message[quoted+header:quoted+header+len(request)]) != string(request) {
		return nil
	}
	if message[1] == icmpNet {
		return unix.ENETUNREACH
	}
	return unix.EHOSTUNREACH
}
