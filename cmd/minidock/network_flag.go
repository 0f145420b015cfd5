package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// networkFlags are the flags of run and create that say on which networks a
// container is, and as whom: --network, which can be repeated, and --network-alias,
// --ip and --mac-address, which are about the first.
type networkFlags struct {
	networks, aliases []string
	ip, mac           string
}

// sharedNamespace begins the name of a network that is another container's.
const sharedNamespace = "container:"

// read returns a place for each network, in order; without any, the default
// network's. Its errors are Docker's, with exit status 125.
func (f networkFlags) read() ([]netns.Endpoint, error) {
	networks := f.networks
	if len(networks) == 0 {
		networks = []string{netns.Default}
	}
	var all []netns.Endpoint
	for _, value := range networks {
		e, err := readNetwork(value)
		if err != nil {
			return nil, invalidArgument("--network", value, err, "As in --network web, or --network name=web,alias=db,ip=10.20.0.7.")
		}
		if e.Network == sharedNamespace {
			return nil, networkFault("invalid network mode: invalid container format container:<name|id>", "As in --network container:web.")
		}
		if slices.ContainsFunc(all, func(other netns.Endpoint) bool { return other.Network == e.Network }) {
			return nil, networkFault(fmt.Sprintf("network %q is specified multiple times", e.Network), "Name it once.")
		}
		all = append(all, e)
	}
	if err := f.addToFirst(&all[0]); err != nil {
		return nil, err
	}
	return all, checkTogether(all)
}

func networkFault(msg, hint string) error { return &steps.Fault{Msg: msg, Hint: hint, Code: 125} }

// readNetwork reads one --network value: a name, host, none, container:NAME, or
// name=…,alias=…,ip=…,mac-address=….
func readNetwork(value string) (e netns.Endpoint, err error) {
	if !strings.Contains(value, "=") {
		value = "name=" + value
	}
	for field := range strings.SplitSeq(value, ",") {
		name, text, ok := strings.Cut(field, "=")
		if !ok || name == "" {
			return e, fmt.Errorf("invalid field %s", field)
		}
		text = strings.TrimSpace(text)
		switch name = strings.TrimSpace(name); name {
		case "name":
			e.Network = text
		case "alias":
			e.Aliases = append(e.Aliases, text)
		case "ip":
			e.Address, err = readIPv4(text)
		case "mac-address":
			e.MAC, err = readMAC(text)
		default:
			err = fmt.Errorf("invalid field key %s", name)
		}
		if err != nil {
			return e, err
		}
	}
	switch e.Network {
	case "":
		return e, errors.New("network name/id is not specified")
	case "default":
		e.Network = netns.Default
	}
	return e, nil
}

func readIPv4(text string) (netip.Addr, error) {
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("invalid IPv4 address: %s", text)
	}
	return a, nil
}

// readMAC refuses what no link can have: the addresses of groups (IEEE 802-2014, 8.2:
// the lowest bit of the first byte), and that of nobody.
func readMAC(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || bytes.Equal(mac, make([]byte, 6)) {
		return "", fmt.Errorf("%s is not a valid mac address", text)
	}
	return mac.String(), nil
}

// addToFirst gives the first network what the flags say that name none.
func (f networkFlags) addToFirst(e *netns.Endpoint) (err error) {
	switch {
	case len(f.aliases) > 0 && len(e.Aliases) > 0:
		return networkFault("conflicting options: cannot specify both --network-alias and per-network alias", "Leave --network-alias out.")
	case f.ip != "" && e.Address.IsValid():
		return networkFault("conflicting options: cannot specify both --ip and per-network IPv4 address", "Leave --ip out.")
	case f.mac != "" && e.MAC != "":
		return networkFault("conflicting options: cannot specify both --mac-address and per-network MAC address", "Leave --mac-address out.")
	}
	e.Aliases = append(e.Aliases, f.aliases...)
	if f.ip != "" {
		if e.Address, err = readIPv4(f.ip); err != nil {
			return networkFault(err.Error(), "As in --ip 10.20.0.7.")
		}
	}
	if f.mac != "" {
		if e.MAC, err = readMAC(f.mac); err != nil {
			return networkFault(err.Error(), "As in --mac-address 02:11:22:33:44:55; the first number is even.")
		}
	}
	return nil
}

// bridged says whether a container on this network has a link and an address there.
func bridged(network string) bool {
	return network != netns.Host && network != netns.None && !strings.HasPrefix(network, sharedNamespace)
}

// checkTogether refuses what only a network with links has for one that has none.
func checkTogether(all []netns.Endpoint) error {
	for _, e := range all {
		switch {
		case bridged(e.Network):
		case len(all) > 1:
			return networkFault("conflicting options: cannot attach both user-defined and non-user-defined network-modes",
				fmt.Sprintf("With --network %s there can be no other.", e.Network))
		case len(e.Aliases) > 0:
			return networkFault("network-scoped aliases are only supported for user-defined networks", fmt.Sprintf("Nobody looks names up on %s; leave the aliases out.", e.Network))
		case e.Address.IsValid():
			return networkFault("user specified IP address is supported on user defined networks only", fmt.Sprintf("On %s there are no addresses to choose; leave the address out.", e.Network))
		case e.MAC != "":
			return networkFault("conflicting options: mac-address and the network mode", fmt.Sprintf("On %s the container has no link of its own; leave the MAC address out.", e.Network))
		}
	}
	return nil
}
