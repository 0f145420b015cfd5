package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// What this file asks of the kernel it asks of the network namespace that the
// calling thread is in, over rtnetlink(7).

// loopbackIndex is the loopback link's index in every network namespace (Linux,
// include/net/flow.h: LOOPBACK_IFINDEX).
const loopbackIndex = 1

// newLink makes a link by one message. Flags are those of ifi_flags.
func newLink(flags uint32, attributes ...*nl.RtAttr) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Flags, message.Change = flags, flags
	request.AddData(message)
	for _, a := range attributes {
		request.AddData(a)
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func linkName(name string) *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name))
}

// linkMTU is no attribute where the kernel is to choose.
func linkMTU(mtu int) []*nl.RtAttr {
	if mtu == 0 {
		return nil
	}
	return []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu)))}
}

// setUp brings a link up by its name.
func setUp(name string) error { return switchLink(name, unix.IFF_UP) }

// setDown switches a link off; a missing one is no error.
func setDown(name string) error {
	if !listed(name) {
		return nil
	}
	if err := switchLink(name, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("switch link %s off: %w", name, err)
	}
	return nil
}

func switchLink(name string, to uint32) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Flags, message.Change = to, unix.IFF_UP
	request.AddData(message)
	if name == "lo" {
		message.Index = loopbackIndex
	} else {
		request.AddData(linkName(name))
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func upStep(name, inside, why string) steps.Step {
	which := fmt.Sprintf("IFLA_IFNAME=%q", name)
	if name == "lo" {
		which = `ifi_index=if_nametoindex("lo")`
	}
	return steps.Step{
		Kind: KindUp, Target: name, Why: why,
		Call:  []string{"sendto(netlink, RTM_NEWLINK {" + which + ", IFF_UP})"},
		Shell: []string{inside + "ip link set " + name + " up"},
		See:   inside + "ip address show " + name, Man: "netdevice(7), rtnetlink(7)",
	}
}

// findLink returns the attributes of a link, or an error that is
// [fs.ErrNotExist].
func findLink(name string) (*netlink.LinkAttrs, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("find link %s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("find link %s: %w", name, err)
	}
	return link.Attrs(), nil
}

// ports lists the links that have a bridge as their master; one that is not there
// has none.
func ports(bridge string) ([]string, error) {
	if !listed(bridge) {
		return nil, nil
	}
	link, err := findLink(bridge)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := portsOf(link.Index)
	var names []string
	for _, port := range found {
		names = append(names, port.Name)
	}
	return names, err
}

// addAddress gives a link an address, with the broadcast address of its network.
func addAddress(name string, prefix netip.Prefix) error {
	link, err := findLink(name)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(&netlink.Device{LinkAttrs: *link}, &netlink.Addr{IPNet: ipNet(prefix)})
}

func addressStep(name, inside string, prefix netip.Prefix, why string) steps.Step {
	return steps.Step{
		Kind: KindAddress, Target: name + " " + prefix.String(), Why: why,
		Call:  []string{fmt.Sprintf("sendto(netlink, RTM_NEWADDR {ifa_index=if_nametoindex(%q), IFA_LOCAL=%s, IFA_BROADCAST=%s})", name, prefix, lastAddress(prefix))},
		Shell: []string{inside + "ip address add " + prefix.String() + " brd + dev " + name},
		See:   inside + "ip address show dev " + name, Man: "rtnetlink(7), ip-address(8)",
	}
}

// addresses lists the IPv4 addresses of a link.
func addresses(link *netlink.LinkAttrs) ([]netip.Prefix, error) {
	found, err := netlink.AddrList(&netlink.Device{LinkAttrs: *link}, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", link.Name, err)
	}
	var all []netip.Prefix
	for _, a := range found {
		address, _ := netip.AddrFromSlice(a.IP.To4())
		ones, _ := a.Mask.Size()
		all = append(all, netip.PrefixFrom(address, ones))
	}
	return all, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addDefaultRoute leads everything that no other route leads anywhere to a gateway.
func addDefaultRoute(gateway netip.Addr) error {
	return netlink.RouteAdd(&netlink.Route{Gw: gateway.AsSlice()})
}
