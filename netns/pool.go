package netns

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/minidock/minidock/steps"
)

// Claim is a range of addresses that is in use.
type Claim struct {
	Range netip.Prefix
	// By says whose it is, for the person who wanted it: "network web".
	By string
}

// pool is an address range that networks get parts of.
type pool struct {
	base netip.Prefix
	// bits is the prefix length of a part.
	bits int
}

// pools are Docker's default address pools (dockerd(8), --default-address-pool):
// fifteen ranges of 65,536 addresses, and then sixteen of 4,096. All of them are
// private (RFC 1918, 3).
func pools() []pool {
	var all []pool
	for second := byte(17); second <= 31; second++ {
		all = append(all, pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, second}), 16), 16})
	}
	return append(all, pool{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168}), 16), 20})
}

// subnets lists the parts of all pools, in the order in which they are given out.
func subnets() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range pools() {
		for first := p.base.Addr(); p.base.Contains(first); {
			part := netip.PrefixFrom(first, p.bits)
			all = append(all, part)
			first = lastAddress(part).Next()
		}
	}
	return all
}

// pickSubnet finds a range for a network of this name that overlaps nothing that is
// claimed. The first range of all is kept for the network [Default], which Docker
// always gives it to.
func pickSubnet(name string, claimed []Claim) (netip.Prefix, error) {
	offered := subnets()
	if name != Default {
		offered = offered[1:]
	}
	for _, subnet := range offered {
		if _, taken := conflict(subnet, claimed); !taken {
			return subnet, nil
		}
	}
	return netip.Prefix{}, &steps.Fault{
		Msg:  "all predefined address pools have been fully subnetted",
		Hint: "Remove networks that nobody uses (`minidock network prune`), or give a range that the host does not route: --subnet 10.20.0.0/24.",
	}
}

// conflict finds a claim that overlaps a range.
func conflict(subnet netip.Prefix, claimed []Claim) (Claim, bool) {
	i := slices.IndexFunc(claimed, func(c Claim) bool { return c.Range.Overlaps(subnet) })
	if i < 0 {
		return Claim{}, false
	}
	return claimed[i], true
}

// lastAddress is the highest address of an IPv4 range: its broadcast address (RFC
// 919, 7).
func lastAddress(p netip.Prefix) netip.Addr {
	address := p.Masked().Addr().As4()
	for i := range address {
		free := min(max(8*(i+1)-p.Bits(), 0), 8)
		address[i] |= byte(1<<free - 1)
	}
	return netip.AddrFrom4(address)
}

// usable says whether a network's containers and gateway can have an address: it is
// the network's, and neither its first nor its last, which mean the network and
// everybody on it (RFC 1122, 3.2.1.3).
func usable(subnet netip.Prefix, a netip.Addr) bool {
	return subnet.Contains(a) && a != subnet.Masked().Addr() && a != lastAddress(subnet)
}

// defaultGateway is the first usable address of a range in a subnet, as Docker has it.
func defaultGateway(subnet, ipRange netip.Prefix) netip.Addr {
	first := subnet.Masked().Addr()
	if ipRange.IsValid() {
		first = ipRange.Masked().Addr()
	}
	if first == subnet.Masked().Addr() {
		first = first.Next()
	}
	return first
}

// leastRoute is the shortest prefix of a route that counts as one of the host's
// networks. Default routes have 0, and a VPN that takes their place, without removing
// them, has two of 1: those say nothing of what is there.
const leastRoute = 2

// HostRoutes asks for the main routing table (rtnetlink(7), RTM_GETROUTE) of the
// network namespace that the caller is in: the ranges that it routes, IPv4 only.
func HostRoutes() ([]Claim, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	names := map[int]string{}
	var claimed []Claim
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		address, _ := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		if bits < leastRoute {
			continue
		}
		claimed = append(claimed, Claim{netip.PrefixFrom(address.Unmap(), bits), "the host's route" + by(names, r.LinkIndex)})
	}
	return claimed, nil
}

// by names the link of a route, and remembers it; a route to nowhere has none.
func by(names map[int]string, index int) string {
	if name, known := names[index]; known || index == 0 {
		return name
	}
	if link, err := netlink.LinkByIndex(index); err == nil {
		names[index] = " by " + link.Attrs().Name
	}
	return names[index]
}
