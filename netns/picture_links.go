package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Bridge is a network's bridge as the kernel has it.
type Bridge struct {
	Name  string
	There bool
	// State is the link's operational state (RFC 2863), as ip(8) writes it.
	State, MAC string
	MTU        int
	Addresses  []netip.Prefix
	// Filtered says that frames which the bridge passes from port to port are shown
	// to the host's IPv4 rules, too (br_netfilter, bridge-nf-call-iptables).
	Filtered bool
}

// BridgePort is a port of a bridge: a link that is plugged into it.
type BridgePort struct {
	Name  string
	Index int
	// State is the link's operational state, and Passing that of the bridge's port:
	// only a forwarding one takes part.
	State, Passing, MAC string
	// Peer is the number of the other end of a veth pair in its own namespace.
	Peer int
	// Hairpin says that frames may go back out of the port that they came from.
	Hairpin bool
}

// lookAtBridge asks for a bridge and its ports, in the order in which they were made.
func lookAtBridge(name string) (b Bridge, ports []Cable, err error) {
	b.Name = name
	link, err := netlink.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return b, nil, nil
	}
	if err != nil {
		return b, nil, fmt.Errorf("find link %s: %w", name, err)
	}
	at := link.Attrs()
	b.There, b.State, b.MAC, b.MTU = true, at.OperState.String(), at.HardwareAddr.String(), at.MTU
	b.Filtered = FiltersBridges()
	if b.Addresses, err = addresses(at); err != nil {
		return b, nil, err
	}
	plugged, err := portsOf(at.Index)
	for _, port := range plugged {
		ports = append(ports, Cable{BridgePort: port})
	}
	return b, ports, err
}

// portsOf lists the links that have a bridge as their master.
func portsOf(bridge int) ([]BridgePort, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(bridge))))
	found, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		return portsOf(bridge) // Links have come or gone meanwhile.
	}
	if err != nil {
		return nil, fmt.Errorf("list ports: %w", err)
	}
	var all []BridgePort
	for _, message := range found {
		s := BridgePort{Index: int(nl.DeserializeIfInfomsg(message).Index)}
		attributes, err := nl.ParseRouteAttrAsMap(message[unix.SizeofIfInfomsg:])
		if err != nil {
			return nil, fmt.Errorf("read link: %w", err)
		}
		s.read(attributes)
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b BridgePort) int { return a.Index - b.Index })
	return all, nil
}

// The attributes of a bridge's port (linux/if_link.h, IFLA_BRPORT_*).
const brportState, brportMode = 1, 4

func (s *BridgePort) read(attributes map[uint16]syscall.NetlinkRouteAttr) {
	text := func(kind uint16) string { return strings.TrimRight(string(attributes[kind].Value), "\x00") }
	s.Name, s.MAC = text(unix.IFLA_IFNAME), net.HardwareAddr(attributes[unix.IFLA_ADDRESS].Value).String()
	if peer := attributes[unix.IFLA_LINK].Value; len(peer) == 4 {
		s.Peer = int(binary.NativeEndian.Uint32(peer))
	}
	if state := attributes[unix.IFLA_OPERSTATE].Value; len(state) == 1 {
		s.State = netlink.LinkOperState(state[0]).String()
	}
	info, _ := nl.ParseRouteAttrAsMap(attributes[unix.IFLA_LINKINFO].Value)
	port, _ := nl.ParseRouteAttrAsMap(info[nl.IFLA_INFO_SLAVE_DATA].Value)
	// As bridge(8) writes the states of linux/if_bridge.h, BR_STATE_*.
	states := []string{"disabled", "listening", "learning", "forwarding", "blocking"}
	if state := port[brportState].Value; len(state) == 1 && int(state[0]) < len(states) {
		s.Passing = states[state[0]]
	}
	mode := port[brportMode].Value
	s.Hairpin = len(mode) == 1 && mode[0] == 1
}

// lookAtInlet looks at the link with a number inside a namespace; a namespace or
// link that is not there is [fs.ErrNotExist].
func lookAtInlet(file string, index int) (*Inlet, error) {
	i := &Inlet{Namespace: file}
	return i, Inside(file, func() error {
		link, err := netlink.LinkByIndex(index)
		if err != nil {
			return fmt.Errorf("find link %d in %s: %w", index, file, errors.Join(fs.ErrNotExist, err))
		}
		at := link.Attrs()
		i.Link, i.MAC, i.Up = at.Name, at.HardwareAddr.String(), at.Flags&net.FlagUp != 0
		if i.Addresses, err = addresses(at); err != nil {
			return err
		}
		routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
		for _, r := range routes {
			if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
				i.Default, _ = netip.AddrFromSlice(r.Gw.To4())
			}
		}
		return err
	})
}
