package netns

import (
	"crypto/rand"
	"net"
	"strconv"

	"github.com/minidock/minidock/steps"
)

// The kinds of this package's steps on links.
const (
	// KindVeth is a pair of links, and KindSharedVeth one on a bridge that goes
	// with its last container. The undo removes the host's end by its name, and
	// with it the other; of the shared one, the bridge too when it was the last.
	KindVeth       steps.Kind = "veth"
	KindSharedVeth steps.Kind = "shared-veth"
	// KindBridge, KindSharedBridge and KindLastingBridge are a network's bridge.
	// The first is taken back by its undo, the second when no container is on it,
	// the third stays until [Store.Down].
	KindBridge        steps.Kind = "bridge"
	KindSharedBridge  steps.Kind = "shared-bridge"
	KindLastingBridge steps.Kind = "lasting-bridge"
	// KindAddress gives a link an address, KindRoute is a route and KindHairpin a
	// port's setting; they go with the link.
	KindAddress steps.Kind = "address"
	KindRoute   steps.Kind = "route"
	KindHairpin steps.Kind = "hairpin"
)

// Docker's names for what a network's bridge can be told (docker network create
// --opt), those that are understood here.
const (
	optionMTU        = "com.docker.network.driver.mtu"
	optionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
)

// maxLinkName is the longest name of a link, in bytes (Linux, IFNAMSIZ-1).
const maxLinkName = 15

// shownDigits is how much of an ID stands for it.
const shownDigits = 12

// BridgeName is the name of a network's bridge: "minidock0" for the default
// network of the default installation, else "md-" and 12 digits of the network's
// ID, unless an option gives another.
func BridgeName(instance string, n Network) string {
	switch name := n.Options[BridgeNameOption]; {
	case name != "":
		return name
	case n.Name == Default && instance == "minidock":
		return "minidock0"
	}
	return "md-" + n.ID[:min(shownDigits, len(n.ID))]
}

// HostLink is the name of the host's end of a container's veth pair: "v", 12
// digits of the container's ID, a dot, and the interface's number in base 36,
// where a link's name has room for one digit.
func HostLink(containerID string, index int) string {
	return "v" + containerID[:min(shownDigits, len(containerID))] + "." + strconv.FormatInt(int64(index), 36)
}

// ContainerLink is the name of the container's end: eth0, eth1, …
func ContainerLink(index int) string { return "eth" + strconv.Itoa(index) }

// RandomMAC makes a random address that is locally administered (the second bit
// of the first byte is set) and not a group's (the first is not): IEEE 802-2014,
// section 8.2.
func RandomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails since Go 1.24
	mac[0] = mac[0]&^1 | 2
	return mac
}

// mtu is the largest packet of a network, in bytes; 0 leaves it to the kernel.
func (n Network) mtu() (int, error) {
	text := n.Options[optionMTU]
	if text == "" {
		return 0, nil
	}
	return parseMTU(text)
}

// parseMTU reads a number of bytes that a link's packets may have: every one passes 68
// (RFC 791, 3.1), and a packet's length has 16 bits.
func parseMTU(text string) (int, error) {
	mtu, err := strconv.ParseUint(text, 10, 16)
	if err != nil || mtu < 68 {
		return 0, &steps.Fault{Msg: "invalid value for MTU: " + text, Hint: "Give a number of bytes from 68 to 65535."}
	}
	return int(mtu), nil
}

// masquerades says whether what leaves the network gets the host's address.
func (n Network) masquerades() bool {
	on, err := strconv.ParseBool(n.Options[optionMasquerade])
	return !n.Internal && (err != nil || on)
}
