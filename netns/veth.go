package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Plug is how a container is connected to one network.
type Plug struct {
	// Namespace is the file that names the container's network namespace.
	Namespace string
	// Container is the container's ID, 64 hex digits.
	Container string
	Endpoint
	// Default says that this network leads to everywhere else; at most one of a
	// container's does. An internal network never does.
	Default bool
}

// Attach connects a container to a network: it makes what the host lacks of the
// network, a pair of links, and inside the address and the route.
func (s *Store) Attach(ledger *steps.Ledger, n Network, p Plug) error {
	v, err := s.vethOf(n, p)
	if err != nil {
		return err
	}
	err = lockedFirewall(s.place.Instance, func(f firewall) error {
		if err := s.up(f, ledger, n, n.held()); err != nil {
			return err
		}
		return v.make(ledger, n.vethKind())
	})
	if err != nil {
		return err
	}
	return Inside(p.Namespace, func() error { return configure(ledger, n, p) })
}

// Detach disconnects a container from a network before the end of its run.
func (s *Store) Detach(ledger *steps.Ledger, n Network, containerID string, index int) error {
	v := veth{name: HostLink(containerID, index), on: s.traceOf(n)}
	return ledger.TakeBack(Undos(), n.vethKind(), v.String())
}

// veth is a pair of links: one is a port of a bridge, the other in a container.
type veth struct {
	name string
	on   trace

	peer, namespace string
	mac             net.HardwareAddr
	mtu             int
}

// vethEnd joins the host's end and the network in the target of a step.
const vethEnd = " -> "

// String is the target of the step that makes the pair: "v0123456789ab.0 ->
// minidock0 172.17.0.0/16 of minidock".
func (v veth) String() string { return v.name + vethEnd + v.on.String() }

func (s *Store) vethOf(n Network, p Plug) (v veth, err error) {
	v = veth{name: HostLink(p.Container, p.Index), on: s.traceOf(n), peer: ContainerLink(p.Index), namespace: p.Namespace}
	if len(v.name) > maxLinkName {
		return v, &steps.Fault{Msg: fmt.Sprintf("connect to network %s: a container has at most 36 networks", n.Name), Hint: "Disconnect it from one that it does not need.", Code: 125}
	}
	if v.mac, err = net.ParseMAC(p.MAC); err != nil {
		return v, fmt.Errorf("read hardware address: %w", err)
	}
	v.mtu, err = n.mtu()
	return v, err
}

// vethKind says whether the pair's undo is to look after the bridge, too.
func (n Network) vethKind() steps.Kind {
	if n.held() == shared {
		return KindSharedVeth
	}
	return KindVeth
}

func (v veth) make(ledger *steps.Ledger, kind steps.Kind) error {
	step := steps.Step{
		Kind: kind, Target: v.String(),
		Why: fmt.Sprintf("Lay a cable: a pair of links, of which one is plugged into the bridge and the other is %s in the container. What goes in at one end comes out at the other.", v.peer),
		Call: []string{fmt.Sprintf(
			"sendto(netlink, RTM_NEWLINK {IFF_UP, IFLA_IFNAME=%q, IFLA_MASTER=if_nametoindex(%q), %sIFLA_INFO_KIND=\"veth\", VETH_INFO_PEER={IFLA_IFNAME=%q, IFLA_ADDRESS=%s, %sIFLA_NET_NS_FD=%q}})",
			v.name, v.on.bridge, mtuCall(v.mtu), v.peer, v.mac, mtuCall(v.mtu), v.namespace)},
		Shell: []string{"ip link add name " + v.name + " up master " + v.on.bridge + mtuShell(v.mtu) +
			" type veth peer name " + v.peer + " address " + v.mac.String() + mtuShell(v.mtu) + " netns " + steps.ShellQuote(v.namespace)},
		Undo: "ip link delete " + v.name,
		See:  "bridge link show dev " + v.name, Man: "veth(4), ip-link(8)",
	}
	err := ledger.Do(step, v.create)
	if errors.Is(err, unix.EXFULL) {
		return &steps.Fault{
			Msg:  "no port left on bridge " + v.on.bridge,
			Hint: "The kernel plugs at most 1023 links into one bridge (net/bridge, BR_MAX_PORTS): make another network.", Code: 125, Err: err,
		}
	}
	if err != nil {
		return err
	}
	// Where the kernel shows bridged frames to the firewall, it readdresses them
	// before they leave the bridge.
	if !FiltersBridges() {
		return nil
	}
	return v.hairpin(ledger)
}

// create makes the pair. A link of that name is left of an earlier run: whoever
// makes a container's links holds its lock.
func (v veth) create() error {
	err := v.send()
	if errors.Is(err, unix.EEXIST) {
		err = errors.Join(deleteLink(v.name), v.send())
	}
	return err
}

func (v veth) send() error {
	bridge, err := findLink(v.on.bridge)
	if err != nil {
		return err
	}
	namespace, err := unix.Open(v.namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", v.namespace, err)
	}
	defer unix.Close(namespace)
	attributes := append([]*nl.RtAttr{linkName(v.name), nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge.Index)))}, linkMTU(v.mtu)...)
	return newLink(unix.IFF_UP, append(attributes, v.describe(namespace))...)
}

// describe says what kind of link it is, and what its other end is like.
func (v veth) describe(namespace int) *nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddChild(linkName(v.peer))
	peer.AddRtAttr(unix.IFLA_ADDRESS, v.mac)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(namespace)))
	for _, a := range linkMTU(v.mtu) {
		peer.AddChild(a)
	}
	return info
}

func (v veth) hairpin(ledger *steps.Ledger) error {
	step := steps.Step{
		Kind: KindHairpin, Target: v.name,
		Why:   "Let the bridge send a frame back out of the port that it came from: br_netfilter is on here, and so a container that calls its own published port is led back to itself within the bridge.",
		Call:  []string{fmt.Sprintf("sendto(netlink, RTM_SETLINK {ifi_index=if_nametoindex(%q), IFLA_BRPORT_MODE=1})", v.name)},
		Shell: []string{"bridge link set dev " + v.name + " hairpin on"},
		See:   "bridge -d link show dev " + v.name, Man: "bridge(8), kernel Documentation/networking/ip-sysctl.rst",
	}
	return ledger.Do(step, func() error {
		link, err := findLink(v.name)
		if err != nil {
			return err
		}
		return netlink.LinkSetHairpin(&netlink.Device{LinkAttrs: *link}, true)
	})
}

// configure does what is to be done in the container's namespace, which the
// calling thread is in.
func configure(ledger *steps.Ledger, n Network, p Plug) error {
	inside := "nsenter --net=" + steps.ShellQuote(p.Namespace) + " "
	name, address := ContainerLink(p.Index), netip.PrefixFrom(p.Address, n.Subnet.Bits())
	step := addressStep(name, inside, address, fmt.Sprintf("Give %s the address that was leased for the container.", name))
	step.Call = append([]string{enterCall(p.Namespace)}, step.Call...)
	if err := ledger.Do(step, func() error { return addAddress(name, address) }); err != nil {
		return err
	}
	if err := ledger.Do(upStep(name, inside, "Switch the container's end of the cable on."), func() error { return setUp(name) }); err != nil {
		return err
	}
	if !p.Default || n.Internal {
		return nil
	}
	return ledger.Do(routeStep(inside, n.Gateway), func() error { return addDefaultRoute(n.Gateway) })
}

// LeadOut leads everything that is for no neighbour to a network's gateway: for a
// container whose default route went with another network.
func LeadOut(ledger *steps.Ledger, namespace string, n Network) error {
	step := routeStep("nsenter --net="+steps.ShellQuote(namespace)+" ", n.Gateway)
	step.Call = append([]string{enterCall(namespace)}, step.Call...)
	return Inside(namespace, func() error {
		return ledger.Do(step, func() error { return addDefaultRoute(n.Gateway) })
	})
}

func routeStep(inside string, gateway netip.Addr) steps.Step {
	return steps.Step{
		Kind: KindRoute, Target: "default via " + gateway.String(),
		Why:   "Lead everything that is not for a neighbour to the gateway, which is the host.",
		Call:  []string{fmt.Sprintf("sendto(netlink, RTM_NEWROUTE {rtm_dst_len=0, RTA_GATEWAY=%s})", gateway)},
		Shell: []string{inside + "ip route add default via " + gateway.String()},
		See:   inside + "ip route", Man: "rtnetlink(7), ip-route(8)",
	}
}

func undoVeth(target string) error {
	name, _, ok := strings.Cut(target, vethEnd)
	if !ok {
		return fmt.Errorf("undo veth: %q has no bridge", target)
	}
	return deleteLink(name)
}

// undoSharedVeth also takes the bridge when nobody else is on it.
func undoSharedVeth(target string) error {
	if err := undoVeth(target); err != nil {
		return err
	}
	_, network, _ := strings.Cut(target, vethEnd)
	if err := undoSharedNetwork(network); !errors.Is(err, steps.ErrStays) {
		return err
	}
	return nil
}
