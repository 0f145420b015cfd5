package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/minidock/minidock/netns"
)

// follow tells the way of the probe as the kernel decides it, link by link.
func (t *tracer) follow() error {
	t.see("ip route get " + t.Address.String())
	defer t.tellRules() // Where the probe gets no further than here.
	switch w := t.way; {
	case w.None != "":
		t.say("route", "none to "+t.Address.String(), "the kernel: "+w.None)
		return nil
	case w.Local && (!t.onHost() || t.published(t.Address) == nil):
		t.say("route", w.Link+": "+t.Address.String()+" is its own address", "it never leaves "+t.From)
		return nil
	case t.onHost():
		return t.followFromHost()
	case w.Via.IsValid():
		t.say("route", fmt.Sprintf("%s by way of %s, from %s", w.Link, w.Via, w.Source), "to no network of "+t.From+", so to its gateway")
	default:
		t.say("route", fmt.Sprintf("%s, from %s", w.Link, w.Source), "the address is on a network of "+t.From)
	}
	port, bridge, err := netns.FollowCable(t.namespace, t.way.Link)
	if errors.Is(err, netns.ErrNoCable) {
		return t.followFromHost() // In the host's namespace, or a link of somebody else's.
	}
	if err != nil {
		return err
	}
	t.say("veth", t.way.Link+" ── "+port.Name, "the cable from "+t.From+" to the host")
	if !t.plugged(port, bridge) {
		t.say("bridge", port.Name+" is in no bridge", "so nobody passes on what comes out of it")
		return nil
	}
	t.say("bridge", port.Name+" → "+bridge, t.portNote(port, bridge))
	t.See = append(t.See, "bridge link show dev "+port.Name)
	if t.way.Via.IsValid() {
		return t.crossHost(bridge)
	}
	if t.routed = netns.FiltersBridges(); t.routed {
		t.say("host", "the firewall is shown what the bridge passes on", "br_netfilter's bridge-nf-call-iptables is 1")
	}
	w, err := netns.WayTo("", t.Address)
	switch {
	case err != nil || !w.Local:
		return t.arrive()
	case t.published(t.Address) != nil:
		return t.crossHost(bridge) // By way of the host, although it is a neighbour.
	}
	t.say("host", t.Address.String()+" is the host's own address on this network", "")
	return nil
}

// plugged says whether a container's cable ends in a bridge, and notes what is wrong
// with its port.
func (t *tracer) plugged(port netns.BridgePort, bridge string) bool {
	switch {
	case t.broken != "":
	case bridge == "":
		t.broken = fmt.Sprintf("%s has to be in its network's bridge: minidock network explain shows which, then ip link set %s master BRIDGE", port.Name, port.Name)
	case port.Passing == "disabled":
		t.broken = fmt.Sprintf("Bring both up, the bridge and its port: ip link set %s up; ip link set %s up", bridge, port.Name)
	}
	return bridge != ""
}

func (t *tracer) portNote(port netns.BridgePort, bridge string) string {
	return fmt.Sprintf("a %s port of %s", port.Passing, cmp.Or(t.networkOf(bridge), "a bridge"))
}

// onHost says that the probe begins in the host's own network namespace.
func (t *tracer) onHost() bool {
	return t.from == nil || t.from.Config.Network.Mode == netns.Host
}

// networkOf says which network has a bridge.
func (t *tracer) networkOf(bridge string) string {
	all, _ := t.layout.Networks().List() // What can't be read has no name to tell.
	for _, n := range all {
		if n.Subnet.IsValid() && netns.BridgeName(t.layout.Instance, n) == bridge {
			return "the switch of network " + n.Name
		}
	}
	return ""
}

// followFromHost tells the way of what the host itself sends.
func (t *tracer) followFromHost() error {
	if p := t.published(t.Address); p != nil && t.way.Local {
		t.readdress(*p)
		way, err := netns.WayTo("", p.Address)
		if err != nil {
			return err
		}
		// The rule comes after the choice of an address, which stays what it was unless it
		// is one that nobody could answer: those the last chain hides.
		if !t.way.Source.IsLoopback() && !t.onNetwork(t.way.Source) {
			way.Source = t.way.Source
		}
		t.way = way
	}
	t.say("route", fmt.Sprintf("%s, from %s", t.way.Link, t.way.Source), t.networkOf(t.way.Link))
	if t.way.Via.IsValid() {
		t.say("host", "on to the router "+t.way.Via.String(), "from there on it is not for this host to see")
		return nil
	}
	return t.arrive()
}

// onNetwork says whether a network of minidock's has an address.
func (t *tracer) onNetwork(a netip.Addr) bool {
	all, _ := t.layout.Networks().List() // What can't be read has no address to tell.
	return slices.ContainsFunc(all, func(n netns.Network) bool { return n.Subnet.IsValid() && n.Subnet.Contains(a) })
}

// published is where the host leads the port that is called at an address; nil
// for nowhere.
func (t *tracer) published(at netip.Addr) *netns.Publication {
	all, err := t.layout.Networks().Counters()
	if err != nil {
		return nil // Without the table nothing is published.
	}
	for _, c := range all {
		p, ok := c.Publication()
		if ok && p.Proto == t.target.Proto && p.Host == t.target.Port && (p.HostIP.IsUnspecified() || p.HostIP == at) {
			return &p
		}
	}
	return nil
}

// readdress tells that a published port is led to its container.
func (t *tracer) readdress(p netns.Publication) {
	t.reached, t.led = t.holderOf(p.Address), &p
	t.say("port", fmt.Sprintf("the host's port %d/%s leads to %s:%d", p.Host, p.Proto, p.Address, p.Container), "published: the rule gives the packet a new address (DNAT)")
}

// crossHost tells what the host decides on a packet that came in by a bridge.
func (t *tracer) crossHost(bridge string) error {
	t.routed = true
	to, source := t.Address, t.way.Source
	way, err := netns.WayThrough("", to, source, bridge)
	if err != nil {
		return err
	}
	if way.Local {
		p := t.published(to)
		if p == nil {
			t.say("host", to.String()+" is an address of the host itself", "to whichever program of the host's listens there")
			return nil
		}
		t.readdress(*p)
		if way, err = netns.WayThrough("", p.Address, source, bridge); err != nil {
			return err
		}
	}
	switch {
	case way.None != "" && !netns.Forwards():
		t.say("host", "it passes nothing on", "net.ipv4.ip_forward is 0")
		t.broken = "The host is to pass on what is not for itself: sysctl -w net.ipv4.ip_forward=1"
		return nil
	case way.None != "":
		t.say("host", "no way from here to "+to.String(), "the host's kernel: "+way.None)
		return nil
	case way.Via.IsValid():
		t.say("host", fmt.Sprintf("on by %s to the router %s", way.Link, way.Via), "the host's routing decision; the firewall is asked on the way")
		return nil
	}
	note := "the host's routing decision; the firewall is asked on the way"
	if network := t.networkOf(way.Link); network != "" {
		note = network + "; the firewall is asked on the way"
	}
	t.say("host", "on by "+way.Link, note)
	t.See = append(t.See, fmt.Sprintf("ip route get %s from %s iif %s", to, source, bridge))
	return t.arrive()
}

// arrive tells the last part of the way, into a container, if the rules let the
// probe get there.
func (t *tracer) arrive() error {
	t.tellRules()
	c := t.reached
	if verdict, _ := t.findings().verdict(); c == nil || verdict == Dropped {
		return nil
	}
	for _, e := range c.Config.Network.Endpoints {
		if e.Address != t.finalAddress() {
			continue
		}
		namespace, inner := t.layout.NetworkNamespace(c.Config.ID), netns.ContainerLink(e.Index)
		port, bridge, err := netns.FollowCable(namespace, inner)
		if err != nil {
			return err
		}
		if !t.plugged(port, bridge) {
			t.say("bridge", port.Name+" is in no bridge", "so nothing comes to it")
			return nil
		}
		t.say("bridge", bridge+" → "+port.Name, t.portNote(port, bridge))
		t.say("veth", port.Name+" ── "+inner, "the cable from the host to "+c.Config.Name)
	}
	return nil
}

// finalAddress is the address that the probe has when it arrives.
func (t *tracer) finalAddress() netip.Addr {
	if t.led != nil {
		return t.led.Address
	}
	return t.Address
}

// finalPort is the port that is called there.
func (t *tracer) finalPort() uint16 {
	if t.led != nil {
		return t.led.Container
	}
	return t.target.Port
}
