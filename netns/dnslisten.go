package netns

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/minidock/minidock/steps"
)

// The kinds of the resolver's steps. Both objects are inside the container's network
// namespace and go with it, so neither has an undo.
const (
	// KindResolver opens the resolver's sockets.
	KindResolver steps.Kind = "resolver"
	// KindResolverRule leads port 53 to them.
	KindResolverRule steps.Kind = "resolver-rule"
)

// ResolverAddress is where a container finds its resolver, as in Docker. All of
// 127.0.0.0/8 is a host's own (RFC 1122, 3.2.1.3), so it is free in every container.
const ResolverAddress = "127.0.0.11"

// The port that every program asks at (RFC 1035, 4.2).
const dnsPort = 53

// Sockets are where a container's resolver listens. They stay in its namespace
// wherever the process that holds them is.
type Sockets struct {
	Packets *net.UDPConn
	Streams *net.TCPListener
}

// Close closes both.
func (s *Sockets) Close() error { return errors.Join(s.Packets.Close(), s.Streams.Close()) }

// ListenDNS opens the resolver's sockets inside the network namespace that nsFile
// is, whose loopback link has to be up, and leads port 53 to them by rules, so
// that a program in the container can still listen at port 53 itself.
func ListenDNS(ledger *steps.Ledger, nsFile string) (sockets *Sockets, err error) {
	err = Inside(nsFile, func() error {
		if sockets, err = listen(ledger, nsFile); err != nil {
			return err
		}
		return leadDNS(ledger, nsFile, sockets.ports())
	})
	if err != nil && sockets != nil {
		return nil, errors.Join(err, sockets.Close())
	}
	return sockets, err
}

// listen opens both sockets at ports that the kernel draws.
func listen(ledger *steps.Ledger, nsFile string) (*Sockets, error) {
	s := &Sockets{}
	bind := fmt.Sprintf("bind(FD, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(%q)}, 16)", ResolverAddress)
	err := ledger.Do(steps.Step{
		Kind: KindResolver, Target: nsFile,
		Why: "Listen for the container's DNS questions inside its network namespace, at an address that every namespace has to itself and at ports that nobody asks for: a socket stays in the namespace it was made in, so the monitor answers from outside.",
		Call: []string{
			enterCall(nsFile),
			"socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP)", bind,
			"socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP)", bind, "listen(FD, …)",
		},
		Shell: []string{
			inNamespace(nsFile, "socat UDP4-LISTEN:0,bind="+ResolverAddress+",fork -"),
			inNamespace(nsFile, "socat TCP4-LISTEN:0,bind="+ResolverAddress+",fork -"),
		},
		See: inNamespace(nsFile, "ss -lntu"),
		Man: "setns(2), ip(7), resolv.conf(5)",
	}, s.open)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sockets) open() error {
	address := net.JoinHostPort(ResolverAddress, "0")
	var config net.ListenConfig
	config.SetMultipathTCP(false) // Nobody has a second path to a loopback address.
	packets, err := config.ListenPacket(context.Background(), "udp4", address)
	if err != nil {
		return err
	}
	streams, err := config.Listen(context.Background(), "tcp4", address)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	s.Packets, s.Streams = packets.(*net.UDPConn), streams.(*net.TCPListener)
	return nil
}

func inNamespace(nsFile, command string) string {
	return "nsenter --net=" + steps.ShellQuote(nsFile) + " " + command
}

// resolverPorts are those that the kernel drew.
type resolverPorts struct{ udp, tcp uint16 }

func (s *Sockets) ports() resolverPorts {
	return resolverPorts{
		udp: s.Packets.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		tcp: s.Streams.Addr().(*net.TCPAddr).AddrPort().Port(),
	}
}
