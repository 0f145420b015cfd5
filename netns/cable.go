package netns

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrNoCable says that a link is no end of a veth pair whose other end is here.
var ErrNoCable = errors.New("no veth pair")

// FollowCable finds the other end of a veth pair whose one end is a link inside a
// network namespace: in the calling process' namespace, where it may be in a bridge.
func FollowCable(namespace, link string) (port BridgePort, bridge string, err error) {
	inside, peer := 0, 0
	err = Inside(namespace, func() error {
		inner, err := netlink.LinkByName(link)
		if err != nil {
			return fmt.Errorf("find link %s in %s: %w", link, namespace, err)
		}
		if inner.Type() != "veth" {
			return fmt.Errorf("follow %s: %w", link, ErrNoCable)
		}
		inside, peer = inner.Attrs().Index, inner.Attrs().ParentIndex
		return nil
	})
	if err != nil {
		return port, "", err
	}
	message, err := linkMessage(peer)
	if err != nil {
		return port, "", fmt.Errorf("follow %s: %w", link, errors.Join(ErrNoCable, err))
	}
	attributes, err := nl.ParseRouteAttrAsMap(message[unix.SizeofIfInfomsg:])
	if err != nil {
		return port, "", fmt.Errorf("read link: %w", err)
	}
	port.Index = peer
	port.read(attributes)
	if port.Peer != inside { // The other end is elsewhere, where it has this number.
		return port, "", fmt.Errorf("follow %s: %w", link, ErrNoCable)
	}
	master := attributes[unix.IFLA_MASTER].Value
	if len(master) != 4 {
		return port, "", nil // Nobody has plugged it in.
	}
	switched, err := netlink.LinkByIndex(int(binary.NativeEndian.Uint32(master)))
	if err != nil {
		return port, "", fmt.Errorf("find bridge of %s: %w", port.Name, err)
	}
	return port, switched.Attrs().Name, nil
}

// linkMessage is what the kernel tells of the link with a number.
func linkMessage(index int) ([]byte, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(index)
	request.AddData(message)
	found, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err == nil && len(found) == 0 {
		err = unix.ENODEV
	}
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

// FiltersBridges says whether frames that a bridge passes from port to port are
// shown to the host's IPv4 rules (br_netfilter, bridge-nf-call-iptables).
func FiltersBridges() bool { return sysctl("net.bridge.bridge-nf-call-iptables") == "1" }
