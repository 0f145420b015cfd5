package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Up makes what the host has of a network, as far as it is missing: the firewall
// table of this installation, forwarding, the bridge, and the network's entries in
// the table. The ledger's undo takes the network's part back, and the rest when
// no other network needs it.
func (s *Store) Up(ledger *steps.Ledger, n Network) error {
	return lockedFirewall(s.place.Instance, func(f firewall) error { return s.up(f, ledger, n, owned) })
}

// Down takes back what the host has of a network, by its name alone; what is not
// there is no error.
func (s *Store) Down(n Network) error { return undoNetwork(s.traceOf(n).String()) }

// Ports lists the links that are plugged into a network's bridge; [HostLink] says
// whose they are. Without a bridge there are none.
func (s *Store) Ports(n Network) ([]string, error) {
	return ports(BridgeName(s.place.Instance, n))
}

// holding says who holds a bridge.
type holding string

const (
	owned   holding = ""         // whoever made it
	shared  holding = "shared-"  // the containers that are on it
	lasting holding = "lasting-" // the network, as long as there is one
)

// held says who holds a network's bridge when a container comes on it.
func (n Network) held() holding {
	if n.Name == Default {
		return shared
	}
	return lasting
}

func (h holding) kind(k steps.Kind) steps.Kind { return steps.Kind(h) + k }

// trace is what is needed to take a network back from the kernel.
type trace struct {
	bridge   string
	subnet   netip.Prefix
	instance string
}

func (s *Store) traceOf(n Network) trace {
	return trace{BridgeName(s.place.Instance, n), n.Subnet.Masked(), s.place.Instance}
}

// String is the target of the steps that make a network: "minidock0 172.17.0.0/16
// of minidock".
func (t trace) String() string { return t.bridge + " " + t.subnet.String() + " of " + t.instance }

func parseTrace(target string) (t trace, err error) {
	fields := strings.Fields(target)
	if len(fields) != 4 || fields[2] != "of" {
		return t, fmt.Errorf("undo network: %q is no bridge, subnet and table", target)
	}
	t.bridge, t.instance = fields[0], fields[3]
	if t.subnet, err = netip.ParsePrefix(fields[1]); err != nil {
		return t, fmt.Errorf("undo network: %w", err)
	}
	return t, nil
}

// up is [Store.Up] for a holder; the caller holds the lock. The rules are there
// before anybody can be on the bridge.
func (s *Store) up(f firewall, ledger *steps.Ledger, n Network, by holding) error {
	if err := f.refuseForeign(n); err != nil {
		return err
	}
	made, err := f.need(ledger)
	if err == nil && made {
		err = s.putBack(f, ledger, n)
	}
	if err != nil {
		return err
	}
	if err := f.needForwarding(ledger); err != nil {
		return err
	}
	if err := f.needNetwork(ledger, n, by, s.traceOf(n)); err != nil {
		return err
	}
	return s.needBridge(ledger, n, by)
}

// refuseForeign says no to a bridge name that was asked for and that another link
// has: we take back by name. The names that we choose nobody else chooses.
func (f firewall) refuseForeign(n Network) error {
	name := n.Options[BridgeNameOption]
	if name == "" {
		return nil
	}
	if err := checkLinkName(name); err != nil {
		// Somebody has edited network.json.
		return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 125, Err: err}
	}
	if ours, err := f.owns(name, n); err != nil || ours {
		return err
	}
	return &steps.Fault{Msg: fmt.Sprintf("bridge name %s is already in use by a link that minidock did not make", name), Hint: "Choose another with --opt " + BridgeNameOption + "=…, or leave it out."}
}

// owns says whether a name is free or ours: it is in the table, or, where somebody
// has flushed that, a bridge that is the network's gateway.
func (f firewall) owns(name string, n Network) (bool, error) {
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("find link %s: %w", name, err)
	}
	if there, err := f.exists(); err != nil {
		return false, err
	} else if there {
		known, err := f.elements("bridges")
		if _, ours := known[fmt.Sprintf("%q", name)]; err != nil || ours {
			return ours, err
		}
	}
	there, err := addresses(link.Attrs())
	return link.Type() == "bridge" && slices.Contains(there, n.gateway()), err
}

// gateway is the host's address on the network.
func (n Network) gateway() netip.Prefix { return netip.PrefixFrom(n.Gateway, n.Subnet.Bits()) }

// needBridge makes the bridge, or completes one whose maker was killed: it is
// brought up last.
func (s *Store) needBridge(ledger *steps.Ledger, n Network, by holding) error {
	t := s.traceOf(n)
	link, err := findLink(t.bridge)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeBridge(ledger, n, by, t); err != nil {
			return err
		}
		link, err = findLink(t.bridge)
	}
	if err != nil {
		return err
	}
	if link.Flags&net.FlagUp != 0 {
		return nil
	}
	if err := setUpBridge(ledger, t.bridge); err != nil {
		return err
	}
	gateway := n.gateway()
	if there, err := addresses(link); err != nil || !slices.Contains(there, gateway) {
		step := addressStep(t.bridge, "", gateway, "Give the bridge an address in the network: the host is the containers' gateway, and this is where they find it.")
		if err := errors.Join(err, ledger.Do(step, func() error { return addAddress(t.bridge, gateway) })); err != nil {
			return err
		}
	}
	return ledger.Do(upStep(t.bridge, "", "Switch the bridge on."), func() error { return setUp(t.bridge) })
}

// makeBridge gives the bridge a fixed hardware address: without one it takes the
// lowest of its ports', and the gateway's changes whenever a container comes or goes.
func makeBridge(ledger *steps.Ledger, n Network, by holding, t trace) error {
	mtu, err := n.mtu()
	if err != nil {
		return err
	}
	mac := RandomMAC()
	step := steps.Step{
		Kind: by.kind(KindBridge), Target: t.String(),
		Why:   fmt.Sprintf("Make the switch of network %s: a bridge passes frames between the links plugged into it, and the host has a port of its own, the bridge itself.", n.Name),
		Call:  []string{fmt.Sprintf("sendto(netlink, RTM_NEWLINK {IFLA_IFNAME=%q, IFLA_ADDRESS=%s, %sIFLA_INFO_KIND=\"bridge\"})", t.bridge, mac, mtuCall(mtu))},
		Shell: []string{"ip link add name " + t.bridge + " address " + mac.String() + mtuShell(mtu) + " type bridge"},
		Undo:  "ip link delete " + t.bridge,
		See:   "ip -d link show " + t.bridge + "; bridge link", Man: "ip-link(8), kernel Documentation/networking/bridge.rst",
	}
	return ledger.Do(step, func() error { return newBridge(t.bridge, mac, mtu) })
}

func newBridge(name string, mac net.HardwareAddr, mtu int) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
	attributes := append([]*nl.RtAttr{linkName(name), nl.NewRtAttr(unix.IFLA_ADDRESS, mac)}, linkMTU(mtu)...)
	return newLink(0, append(attributes, info)...)
}

func mtuCall(mtu int) string {
	if mtu == 0 {
		return ""
	}
	return fmt.Sprintf("IFLA_MTU=%d, ", mtu)
}

func mtuShell(mtu int) string {
	if mtu == 0 {
		return ""
	}
	return fmt.Sprintf(" mtu %d", mtu)
}

func setUpBridge(ledger *steps.Ledger, bridge string) error {
	err := writeSysctl(ledger, "", linkSysctl("ipv4", bridge, "route_localnet"), "1",
		"Let packets from 127.0.0.1 be led over this bridge: a published port is to answer there, too. What claims to come from or goes to 127.0.0.0/8 from outside, the table's chain martians drops.")
	if ipv6 := linkSysctl("ipv6", bridge, "disable_ipv6"); err == nil && exists(sysctlFile(ipv6)) {
		err = writeSysctl(ledger, "", ipv6, "1",
			"Do without IPv6 on the bridge: a container could talk the host into a route by a router advertisement, and reach it past every IPv4 rule.")
	}
	return err
}

// undoNetwork takes a network back, whoever is on it.
func undoNetwork(target string) error {
	t, err := parseTrace(target)
	if err != nil {
		return err
	}
	return lockedFirewall(t.instance, t.takeDown)
}

// undoSharedNetwork takes a network back when nobody is on it.
func undoSharedNetwork(target string) error {
	t, err := parseTrace(target)
	if err != nil {
		return err
	}
	return lockedFirewall(t.instance, t.takeDownUnused)
}

func (t trace) takeDownUnused(f firewall) error {
	used, err := ports(t.bridge)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return steps.ErrStays
	}
	return t.takeDown(f)
}

// takeDown switches the bridge off before its rules go: nobody is on a bridge without
// walls. It removes it last: while the kernel does that, it lets nobody else change a
// link, nor turn forwarding back.
func (t trace) takeDown(f firewall) error {
	if err := setDown(t.bridge); err != nil {
		return err
	}
	if err := f.forget(t); err != nil {
		return err
	}
	if err := f.dropUnused(); err != nil && !errors.Is(err, steps.ErrStays) {
		return err
	}
	return deleteLink(t.bridge)
}
