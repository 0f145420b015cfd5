package netns

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Way is the kernel's decision on where packets to an address go.
type Way struct {
	// Link is the name of the link that they leave by.
	Link string
	// Via is the router they are handed to; the zero Addr where the address is on
	// the link itself.
	Via netip.Addr `json:",omitzero"`
	// Source is the address that they come from.
	Source netip.Addr `json:",omitzero"`
	// Local says that the address is the namespace's own.
	Local bool `json:",omitempty"`
	// None is the kernel's word where there is no way.
	None string `json:",omitempty"`
}

// WayTo asks the kernel, inside a network namespace ("" is that of the calling
// process), where packets to an address go: `ip route get ADDRESS`.
func WayTo(namespace string, to netip.Addr) (Way, error) {
	w, err := wayTo(namespace, to, nil)
	if named := map[string]string{unix.EINVAL.Error(): "a blackhole", unix.EACCES.Error(): "a prohibit"}[w.None]; named != "" {
		w.None = "it has " + named + " route there" // ip-route(8), TYPE: the kernel's word misleads.
	}
	return w, err
}

// WayThrough asks where a namespace sends a packet on that comes in on a link:
// `ip route get ADDRESS from SOURCE iif LINK`.
func WayThrough(namespace string, to, from netip.Addr, link string) (Way, error) {
	return wayTo(namespace, to, &netlink.RouteGetOptions{Iif: link, SrcAddr: from.AsSlice()})
}

func wayTo(namespace string, to netip.Addr, options *netlink.RouteGetOptions) (w Way, err error) {
	err = within(namespace, func() error {
		routes, err := netlink.RouteGetWithOptions(to.AsSlice(), options)
		var errno unix.Errno
		if errors.As(err, &errno) {
			w.None = errno.Error()
			return nil
		}
		if err != nil || len(routes) == 0 {
			return err
		}
		return w.read(routes[0])
	})
	if err != nil {
		return w, fmt.Errorf("ask for the route to %s: %w", to, err)
	}
	return w, nil
}

func (w *Way) read(r netlink.Route) error {
	w.Local = r.Type == unix.RTN_LOCAL
	w.Via, _ = netip.AddrFromSlice(r.Gw.To4())
	w.Source, _ = netip.AddrFromSlice(r.Src.To4())
	link, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil {
		return fmt.Errorf("find link %d: %w", r.LinkIndex, err)
	}
	w.Link = link.Attrs().Name
	return nil
}

// Unheard says whether nobody on a link has said that an address is theirs: the
// kernel has asked for it (arp(7)) and is still waiting, or has given up.
func Unheard(namespace, link string, a netip.Addr) (unheard bool, err error) {
	err = within(namespace, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return fmt.Errorf("find link %s: %w", link, err)
		}
		all, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
		for _, n := range all {
			if address, _ := netip.AddrFromSlice(n.IP.To4()); address == a {
				unheard = n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) != 0
			}
		}
		return err
	})
	return unheard, err
}
