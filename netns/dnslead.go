package netns

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// The tables inside of containers, one of each family that is needed, and the chain in
// each. What is asked is changed before connections are tracked (nft(8), priority), and
// what is answered after that, on its way over the loopback link: where a program in
// the container has them tracked, it sees both at the port that the resolver listens
// at. A packet that leaves by another link meets one rule, and one that comes in by
// another meets none.
const (
	resolverTable   = "minidock"
	resolverComment = "the container's resolver"

	asked    = "asked"
	answered = "answered"
)

// askedPriority is that of "raw" (nft(8), priority): tracking comes at -200.
const askedPriority = -300

// askedTable leads what is asked to the resolver's ports.
func askedTable(to resolverPorts) table {
	return table{
		family: "ip", number: nftables.TableFamilyIPv4, name: resolverTable,
		chains: []chain{{name: asked, hook: "output", kind: nftables.ChainTypeFilter, number: nftables.ChainHookOutput, priority: nftables.ChainPriorityRef(askedPriority)}},
		rules: []rule{
			{asked, []phrase{forOthers()}, pass(), resolverComment},
			{asked, []phrase{portIs(udpDestination, dnsPort)}, setPort(udpDestination, to.udp), resolverComment},
			{asked, []phrase{portIs(tcpDestination, dnsPort)}, setPort(tcpDestination, to.tcp), resolverComment},
		},
	}
}

// answeredTable has what is answered come from where it was asked.
func answeredTable(from resolverPorts) table {
	return table{
		family: "netdev", number: nftables.TableFamilyNetdev, name: resolverTable,
		chains: []chain{{name: answered, hook: "ingress", device: "lo", kind: nftables.ChainTypeFilter, number: nftables.ChainHookIngress, priority: nftables.ChainPriorityFilter}},
		rules: []rule{
			{answered, []phrase{fromResolver(), portIs(udpSource, from.udp)}, setPort(udpSource, dnsPort), resolverComment},
			{answered, []phrase{fromResolver(), portIs(tcpSource, from.tcp)}, setPort(tcpSource, dnsPort), resolverComment},
		},
	}
}

// leadDNS makes the tables that lead port 53 to the sockets, and back.
func leadDNS(ledger *steps.Ledger, nsFile string, ports resolverPorts) error {
	there, back := askedTable(ports), answeredTable(ports)
	return ledger.Do(steps.Step{
		Kind: KindResolverRule, Target: nsFile,
		Why: "Lead port 53 of that address to the resolver's sockets, in tables of the container's own namespace: port 53 itself stays free for a name server that the container may want to run. " +
			"The rules write another port into the packet, both ways, and remember nothing: address translation (dnat) would have the kernel track every connection of the container, which makes each of its packets dearer.",
		Call:  []string{transactionCall(append(there.messages(), back.messages()...)...)},
		Shell: []string{inNamespace(nsFile, "nft "+steps.ShellQuote(there.text()+"\n"+back.text()))},
		Undo:  inNamespace(nsFile, fmt.Sprintf("nft 'delete table ip %s; delete table netdev %[1]s'", resolverTable)),
		See:   inNamespace(nsFile, "nft list ruleset"),
		Man:   "nft(8), PAYLOAD STATEMENT",
	}, func() error { return addTables(there, back) })
}

// addTables sends all in one transaction, from the namespace of this thread.
func addTables(tables ...table) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := t.add(conn); err != nil {
			return err
		}
	}
	return conn.Flush()
}

// TryRules asks whether the kernel takes these rules, in a network namespace that is
// thrown away: those at a link are an option of its own (CONFIG_NETFILTER_INGRESS).
func TryRules() error {
	return OnThrownThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		ports := resolverPorts{udp: dnsPort, tcp: dnsPort}
		return addTables(askedTable(ports), answeredTable(ports))
	})
}

func resolverIs(op expr.CmpOp, at uint32) []expr.Any {
	return []expr.Any{address(at), &expr.Cmp{Op: op, Register: register, Data: netip.MustParseAddr(ResolverAddress).AsSlice()}}
}

// forOthers matches what is sent to any address but the resolver's.
func forOthers() phrase {
	return phrase{"ip daddr != " + ResolverAddress, resolverIs(expr.CmpOpNeq, destinationOffset)}
}

// fromResolver asks for the protocol first, since the packets of a link may be of any
// (linux/if_ether.h).
func fromResolver() phrase {
	return phrase{"ip saddr " + ResolverAddress, append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(unix.ETH_P_IP)},
	}, resolverIs(expr.CmpOpEq, sourceOffset)...)}
}

// portField is one of the ports in a header, and where the header's checksum is
// (RFC 768; RFC 9293, section 3.1): offsets in bytes.
type portField struct {
	words            string
	protocol         byte
	offset, checksum uint32
}

var (
	udpSource      = portField{"udp sport", unix.IPPROTO_UDP, 0, 6}
	udpDestination = portField{"udp dport", unix.IPPROTO_UDP, portOffset, 6}
	tcpSource      = portField{"tcp sport", unix.IPPROTO_TCP, 0, 16}
	tcpDestination = portField{"tcp dport", unix.IPPROTO_TCP, portOffset, 16}
)

func portIs(f portField, port uint16) phrase {
	return phrase{fmt.Sprintf("%s %d", f.words, port), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{f.protocol}},
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: f.offset, Len: portLength},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.BigEndian.PutUint16(port)},
	}}
}

// setPort writes another port into a packet.
func setPort(f portField, port uint16) phrase {
	return counted(phrase{fmt.Sprintf("%s set %d", f.words, port), []expr.Any{
		&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Payload{
			OperationType: expr.PayloadWrite, SourceRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: f.offset, Len: portLength,
			CsumType: expr.CsumTypeInet, CsumOffset: f.checksum,
		},
	}})
}
