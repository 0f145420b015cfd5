package netns

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// KindAnnounce has a container make itself known to its neighbours.
const KindAnnounce steps.Kind = "arp-announce"

// Announce tells the neighbours which hardware address an attached container's
// address has now: who had it before may be remembered for half a minute (arp(7),
// base_reachable_time). It has to come after [Store.Attach] and before anybody
// counts on the container; best is late, for it waits until the bridge passes
// frames of the new port on, a moment after both ends are up.
func (s *Store) Announce(ledger *steps.Ledger, n Network, p Plug) error {
	mac, err := net.ParseMAC(p.MAC)
	if err != nil {
		return fmt.Errorf("read hardware address: %w", err)
	}
	if err := awaitUp(HostLink(p.Container, p.Index)); err != nil {
		return err
	}
	name, inside := ContainerLink(p.Index), "nsenter --net="+steps.ShellQuote(p.Namespace)+" "
	step := steps.Step{
		Kind: KindAnnounce, Target: name + " " + p.Address.String(),
		Why: fmt.Sprintf("Make the address known on network %s: being given a hardware address, even the one that it has, the link sends an ARP announcement, and neighbours forget who had the address before.", n.Name),
		Call: []string{
			enterCall(p.Namespace),
			fmt.Sprintf("sendto(netlink, RTM_NEWLINK {IFLA_IFNAME=%q, IFLA_ADDRESS=%s})", name, mac),
		},
		Shell: []string{inside + "ip link set " + name + " address " + mac.String()},
		See:   "ip neigh show " + p.Address.String(), Man: "arp(7), RFC 5227, kernel Documentation/networking/ip-sysctl.rst (arp_notify)",
	}
	return Inside(p.Namespace, func() error {
		return ledger.Do(step, func() error { return setMAC(name, mac) })
	})
}

func setMAC(name string, mac net.HardwareAddr) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(linkName(name))
	request.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// upPatience is how long a link may take to be up once both of its ends are: the
// kernel sees to it at once, unless others hold its lock on links.
const upPatience = 2 * time.Second

// awaitUp waits until a link passes packets, or has had time enough.
func awaitUp(name string) error {
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	defer events.Close()
	end := time.Now().Add(upPatience)
	for {
		link, err := findLink(name)
		if err != nil || link.OperState == netlink.OperUp {
			return err
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		timeout := unix.NsecToTimeval(left.Nanoseconds())
		if err := events.SetReceiveTimeout(&timeout); err != nil {
			return fmt.Errorf("watch links: %w", err)
		}
		// Whatever has changed, the link itself says what it has come to.
		if _, _, err := events.Receive(); err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("watch links: %w", err)
		}
	}
}
