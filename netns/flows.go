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

// these matches some flows that were listed.
type these []netlink.IPTuple

// MatchConntrackFlow implements [netlink.CustomConntrackFilter].
func (t these) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return slices.ContainsFunc(t, func(one netlink.IPTuple) bool {
		return one.Protocol == flow.Forward.Protocol && one.SrcPort == flow.Forward.SrcPort && one.DstPort == flow.Forward.DstPort &&
			one.SrcIP.Equal(flow.Forward.SrcIP) && one.DstIP.Equal(flow.Forward.DstIP)
	})
}

// listed are the tracked flows that match.
func (f flows) listed() (found these, err error) {
	known, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list tracked flows: %w", err)
	}
	for _, flow := range known {
		if f.MatchConntrackFlow(flow) {
			found = append(found, flow.Forward)
		}
	}
	return found, nil
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
	found, err := stray.listed()
	if err != nil || len(found) == 0 {
		return err
	}
	step := steps.Step{
		Kind: KindFlows, Target: fmt.Sprintf("%d/udp", p.Host),
		Why: "Have the kernel forget the packets that came to this port before: whoever goes on sending would be led where the first one went.",
		See: "cat /proc/net/nf_conntrack", Man: "conntrack(8), kernel Documentation/networking/nf_conntrack-sysctl.rst",
	}
	for _, one := range found {
		step.Call = append(step.Call, "sendto(netlink, IPCTNL_MSG_CT_DELETE)")
		step.Shell = append(step.Shell, fmt.Sprintf("conntrack -D -p udp --orig-src %s --orig-dst %s --orig-port-src %d --orig-port-dst %d", one.SrcIP, one.DstIP, one.SrcPort, one.DstPort))
	}
	return ledger.Do(step, func() error { return forgetFlows(found) })
}

// forgetFlows leaves be what can't be listed whole: new flows come all the time.
func forgetFlows(which netlink.CustomConntrackFilter) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, which)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("forget tracked flows: %w", err)
	}
	return nil
}
