package main

import (
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

func inspectNetworkCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "Display detailed information on one or more networks", ArgsUsage: "NETWORK [NETWORK...]",
		Flags: append(inspectFlags(),
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "Verbose output for diagnostics (of swarm's networks; there are none)", DisableDefaultText: true}),
		Action: func(c *cli.Context) error { return inspectObjects(c, networkObject) },
	}
}

// networkInspect has the fields of Docker's network inspect, in its order.
type networkInspect struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       networkIPAM
	Internal   bool
	Attachable bool
	Ingress    bool
	ConfigFrom struct{ Network string }
	ConfigOnly bool
	Containers map[string]networkContainer
	Options    map[string]string
	Labels     map[string]string
}

type networkIPAM struct {
	Driver  string
	Options map[string]string
	Config  []networkRange
}

type networkRange struct {
	Subnet  netip.Prefix `json:",omitzero"`
	IPRange netip.Prefix `json:",omitzero"`
	Gateway netip.Addr   `json:",omitzero"`
}

type networkContainer struct {
	Name        string
	EndpointID  string
	MacAddress  string
	IPv4Address string
	IPv6Address string
}

func networkObject(l runtime.Layout, ref string, _ bool) (any, error) {
	store := l.Networks()
	n, err := store.Find(ref)
	if err != nil {
		return nil, err
	}
	residents, err := store.Residents(n.Name)
	if err != nil {
		return nil, err
	}
	shown := &networkInspect{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: localScope, Driver: n.Driver, EnableIPv4: true,
		IPAM:     networkIPAM{Driver: "default", Options: map[string]string{}, Config: []networkRange{}},
		Internal: n.Internal, Containers: map[string]networkContainer{}, Options: orEmpty(n.Options), Labels: orEmpty(n.Labels),
	}
	if n.Subnet.IsValid() {
		shown.IPAM.Config = append(shown.IPAM.Config, networkRange{n.Subnet, n.IPRange, n.Gateway})
	}
	for _, r := range residents {
		shown.Containers[r.ID] = containerOn(n, r)
	}
	return shown, nil
}

func containerOn(n netns.Network, r netns.Resident) networkContainer {
	c := networkContainer{Name: r.Name, EndpointID: runtime.EndpointID(r.ID, n.ID), MacAddress: r.MAC}
	if r.Address.IsValid() {
		c.IPv4Address = netip.PrefixFrom(r.Address, n.Subnet.Bits()).String()
	}
	return c
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
