package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

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

// resolverTable is the name of our table inside of containers.
const resolverTable = "minidock"

// Sockets are where a container's resolver listens. They stay in its namespace
// wherever the process that holds them is.
type Sockets struct {
	Packets *net.UDPConn
	Streams *net.TCPListener
}

// Close closes both.
func (s *Sockets) Close() error { return errors.Join(s.Packets.Close(), s.Streams.Close()) }

// ListenDNS opens the resolver's sockets inside the network namespace that nsFile
// is, whose loopback link has to be up, and leads port 53 to them by four rules, so
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

const resolverComment = "the container's resolver"

// The chains of the table. What is asked is changed before connections are tracked, and
// what is answered afterwards (nft(8), priority): where a program in the container has
// them tracked, it sees both at the port that the resolver listens at.
const (
	askedChain    = "asked"
	answeredChain = "answered"

	askedPriority    = -300
	answeredPriority = 300
)

// leadDNS makes the table that leads port 53 to the sockets, and back.
func leadDNS(ledger *steps.Ledger, nsFile string, to resolverPorts) error {
	add := func(what string) string { return inNamespace(nsFile, "nft add "+steps.ShellQuote(what)) }
	chain := func(name string, priority int) string {
		return add(fmt.Sprintf("chain ip %s %s { type filter hook output priority %d ; }", resolverTable, name, priority))
	}
	rule := func(chain, way, proto, side string, from, to uint16) string {
		return add(fmt.Sprintf("rule ip %s %s ip %s %s %s %s %d counter %s %s set %d comment %q",
			resolverTable, chain, way, ResolverAddress, proto, side, from, proto, side, to, resolverComment))
	}
	return ledger.Do(steps.Step{
		Kind: KindResolverRule, Target: nsFile,
		Why: "Lead port 53 of that address to the resolver's sockets, in a table of the container's own namespace: port 53 itself stays free for a name server that the container may want to run. " +
			"The rules write another port into the packet, both ways, and remember nothing: address translation (dnat) would have the kernel track every connection of the container, which makes each of its packets dearer.",
		Call: []string{fmt.Sprintf("sendmsg(netlink, [NFNL_MSG_BATCH_BEGIN, NFT_MSG_NEWTABLE ip %q, NFT_MSG_NEWCHAIN %q, NFT_MSG_NEWCHAIN %q, NFT_MSG_NEWRULE %[2]q, NFT_MSG_NEWRULE %[2]q, NFT_MSG_NEWRULE %[3]q, NFT_MSG_NEWRULE %[3]q, NFNL_MSG_BATCH_END])",
			resolverTable, askedChain, answeredChain)},
		Shell: []string{
			add("table ip " + resolverTable),
			chain(askedChain, askedPriority),
			chain(answeredChain, answeredPriority),
			rule(askedChain, "daddr", "udp", "dport", dnsPort, to.udp),
			rule(askedChain, "daddr", "tcp", "dport", dnsPort, to.tcp),
			rule(answeredChain, "saddr", "udp", "sport", to.udp, dnsPort),
			rule(answeredChain, "saddr", "tcp", "sport", to.tcp, dnsPort),
		},
		Undo: inNamespace(nsFile, "nft delete table ip "+resolverTable),
		See:  inNamespace(nsFile, "nft list table ip "+resolverTable),
		Man:  "nft(8), PAYLOAD STATEMENT",
	}, func() error { return addResolverRules(to) })
}

// addResolverRules sends all in one transaction, from the namespace of this thread.
func addResolverRules(to resolverPorts) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: resolverTable})
	chain := func(name string, priority int32) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{
			Name: name, Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority)),
		})
	}
	asked, answered := chain(askedChain, askedPriority), chain(answeredChain, answeredPriority)
	comment := userdata.AppendString(nil, userdata.TypeComment, resolverComment)
	add := func(to *nftables.Chain, exprs []expr.Any) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: to, Exprs: exprs, UserData: comment})
	}
	add(asked, changePort(destination, overUDP, dnsPort, to.udp))
	add(asked, changePort(destination, overTCP, dnsPort, to.tcp))
	add(answered, changePort(source, overUDP, to.udp, dnsPort))
	add(answered, changePort(source, overTCP, to.tcp, dnsPort))
	return conn.Flush()
}

// side is where a packet's address and port stand: offsets in an IPv4 header (RFC 791,
// 3.1), and in the headers of UDP and of TCP (RFC 768; RFC 9293, 3.1).
type side struct{ address, port uint32 }

var (
	source      = side{12, 0}
	destination = side{16, 2}
)

// transport is a protocol's number (IANA, Protocol Numbers), and where the checksum
// stands in its header.
type transport struct {
	number   byte
	checksum uint32
}

var (
	overUDP = transport{unix.IPPROTO_UDP, 6}
	overTCP = transport{unix.IPPROTO_TCP, 16}
)

// changePort is what nft(8) makes of a rule, one expression after the other.
func changePort(at side, proto transport, from, to uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at.address, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: netip.MustParseAddr(ResolverAddress).AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto.number}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at.port, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(from)},
		&expr.Counter{},
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(to)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at.port, Len: 2,
			CsumType: expr.CsumTypeInet, CsumOffset: proto.checksum,
		},
	}
}
