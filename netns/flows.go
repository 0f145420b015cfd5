package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// KindFlows has the kernel forget where flows of packets were led; nothing is undone.
const KindFlows steps.Kind = "flows"

// A flow of UDP packets has no beginning that the kernel could see: as long as they
// come, it leads them where it led the first (nf_conntrack), although the port has
// been published since, or leads to another container by now.
//
// flows matches those to a published port of the host.
type flows struct {
	port  Publication
	local []netip.Addr // the host's addresses
	// led says which: those that are led to the container, or all others.
	led bool
}

// MatchConntrackFlow implements [netlink.CustomConntrackFilter].
func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	to, answers := addressOf(flow.Forward.DstIP), addressOf(flow.Reverse.SrcIP)
	return flow.Forward.Protocol == unix.IPPROTO_UDP && flow.Forward.DstPort == f.port.Host &&
		(to.IsLoopback() || slices.Contains(f.local, to)) && (!f.port.atOneAddress() || to == f.port.HostIP) &&
		f.led == (answers == f.port.Address && flow.Reverse.SrcPort == f.port.Container)
}

func addressOf(ip net.IP) netip.Addr {
	address, _ := netip.AddrFromSlice(ip)
	return address.Unmap()
}

func flowsOf(p Publication, led bool) (flows, error) {
	found, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return flows{}, fmt.Errorf("list addresses: %w", err)
	}
	f := flows{port: p, led: led}
	for _, a := range found {
		f.local = append(f.local, addressOf(a.IP))
	}
	return f, nil
}

// forgetStrayFlows is the step that has the kernel forget flows to a port that was
// just published, as far as there are any.
func forgetStrayFlows(ledger *steps.Ledger, p Publication) error {
	if p.Proto != "udp" {
		return nil
	}
	stray, err := flowsOf(p, false)
	if err != nil {
		return err
	}
	known, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list tracked flows: %w", err)
	}
	if !slices.ContainsFunc(known, stray.MatchConntrackFlow) {
		return nil
	}
	return ledger.Do(steps.Step{
		Kind: KindFlows, Target: fmt.Sprintf("%d/udp", p.Host),
		Why:   "Have the kernel forget the packets that came to this port before: whoever goes on sending would be led where the first one went.",
		Call:  []string{"sendto(netlink, IPCTNL_MSG_CT_DELETE)"},
		Shell: []string{fmt.Sprintf("conntrack -D -p udp --orig-port-dst %d || true", p.Host)},
		See:   "cat /proc/net/nf_conntrack", Man: "conntrack(8), kernel Documentation/networking/nf_conntrack-sysctl.rst",
	}, func() error { return forgetFlows(stray) })
}

// forgetFlows leaves be what can't be listed whole: new flows come all the time.
func forgetFlows(which flows) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, which)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("forget tracked flows: %w", err)
	}
	return nil
}
