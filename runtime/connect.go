package runtime

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// Connect puts a container on one more network; a running one at once. Of the
// endpoint only what the user asks for is set: aliases, address, hardware address.
func Connect(l Layout, ref string, e netns.Endpoint, tell func(steps.Record)) error {
	network, err := l.Networks().Find(e.Network)
	if err != nil {
		return err
	}
	e.Network = network.Name
	return onNetworks(l, ref, request{Op: opConnect, Endpoint: &e}, tell)
}

// Disconnect takes a container off a network; a running one at once.
func Disconnect(l Layout, ref, network string, tell func(steps.Record)) error {
	found, err := l.Networks().Find(network)
	if err != nil {
		return err
	}
	return onNetworks(l, ref, request{Op: opDisconnect, Endpoint: &netns.Endpoint{Network: found.Name}}, tell)
}

// onNetworks asks a container's monitor for a change of its networks, or makes the
// change where there is none.
func onNetworks(l Layout, ref string, r request, tell func(steps.Record)) error {
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	return c.change(r, tell, func(d *draft) error {
		return (&monitor{layout: l, container: d.container, ledger: d.ledger}).changeNetworks(r)
	})
}

// changeNetworks does it, in an order in which the configuration never has an address
// that nobody has leased. What a killed command has leased and not written down,
// [Container.releaseStray] finds.
func (m *monitor) changeNetworks(r request) error {
	return m.changed(func() error {
		if err := m.container.releaseStray(m.ledger); err != nil {
			return err
		}
		if r.Op == opConnect {
			return m.connect(*r.Endpoint)
		}
		return m.disconnect(r.Endpoint.Network)
	})
}

// stray lists the addresses that the container has leased and that its configuration
// knows nothing of: whoever changed it was killed in between.
func (c *Container) stray(ledger *steps.Ledger) []steps.Record {
	return slices.DeleteFunc(ledger.Pending(netns.Undos(), steps.Kept), func(r steps.Record) bool {
		return r.Kind != netns.KindLease || slices.ContainsFunc(c.Config.Network.Endpoints, func(e netns.Endpoint) bool {
			return r.Target == c.layout.Networks().LeaseTarget(e.Network, c.Config.ID, e.Address)
		})
	})
}

// releaseStray gives them back; the caller holds the container's lock.
func (c *Container) releaseStray(ledger *steps.Ledger) error {
	var errs []error
	for _, r := range c.stray(ledger) {
		errs = append(errs, ledger.TakeBack(netns.Undos(), r.Kind, r.Target))
	}
	return errors.Join(errs...)
}

func (m *monitor) connect(e netns.Endpoint) error {
	c := m.container
	if err := c.mayConnect(e.Network); err != nil {
		return err
	}
	e.Index = c.Config.Network.freeIndex()
	if e.MAC == "" {
		e.MAC = netns.RandomMAC().String()
	}
	e.Asked = e.Address
	if err := c.lease(m.ledger, &e, nil); err != nil {
		return err
	}
	c.Config.Network.Endpoints = append(c.Config.Network.Endpoints, e)
	err := m.plugIn(e)
	if err == nil {
		err = m.introduce(e)
	}
	if err != nil {
		return errors.Join(err, m.disconnect(e.Network))
	}
	return nil
}

// plugIn connects a running container's namespace; it gives the way out, and with it
// the way to the published ports, if there is none yet.
func (m *monitor) plugIn(e netns.Endpoint) error {
	c := m.container
	if !c.Running() {
		return nil
	}
	network, err := m.layout.Networks().Find(e.Network)
	if err != nil {
		return err
	}
	plug := netns.Plug{
		Namespace: c.layout.NetworkNamespace(c.Config.ID), Container: c.Config.ID, Endpoint: e,
		Default: !network.Internal && m.wayOut() == e.Network,
	}
	if err := m.layout.Networks().Attach(m.ledger, network, plug); err != nil {
		return err
	}
	c.emitNetwork("connect", network)
	if err := m.announce(e); err != nil || !plug.Default {
		return err
	}
	return m.publishAgain()
}

// introduce writes down that the container is on one network more, for itself, for
// its C library and for the resolvers.
func (m *monitor) introduce(e netns.Endpoint) error {
	c := m.container
	if err := c.saveConfig(); err != nil {
		return err
	}
	names := netns.Names{Hostname: c.Config.Hostname, Domainname: c.Config.Network.Domainname, Addresses: []netip.Addr{e.Address}}
	if err := names.AddHostsLines(m.ledger, c.dir()); err != nil || !c.Running() {
		return err
	}
	if err := c.introduceOn(m.ledger, e); err != nil || m.resolver == nil {
		return err // Where the monitor died the resolver has gone with it.
	}
	return m.resolver.follow(c)
}

// wayOut names the network that the default route leads to; "" where there is none.
func (m *monitor) wayOut() string {
	for _, e := range m.container.Config.Network.Endpoints {
		if network, err := m.layout.Networks().Find(e.Network); err == nil && !network.Internal {
			return network.Name
		}
	}
	return ""
}

func (m *monitor) disconnect(name string) error {
	c := m.container
	if name == netns.None && c.Config.Network.Mode == netns.None {
		return m.leaveNone()
	}
	at := slices.IndexFunc(c.Config.Network.Endpoints, func(e netns.Endpoint) bool { return e.Network == name })
	if at < 0 {
		return c.notConnected(name)
	}
	before, wayOut := c.Config.Network.Endpoints, m.wayOut()
	gone := before[at]
	c.Config.Network.Endpoints = slices.Delete(slices.Clone(before), at, at+1)
	if err := c.saveConfig(); err != nil {
		c.Config.Network.Endpoints = before
		return err
	}
	if err := errors.Join(netns.RemoveHostsLines(m.ledger, c.dir(), gone.Address), m.unplug(gone)); err != nil {
		return err
	}
	err := m.layout.Networks().Release(m.ledger, name, c.Config.ID, gone.Address)
	if wayOut == name && c.Running() {
		err = errors.Join(err, m.unpublish(), m.leadOver(m.wayOut()))
	}
	return err
}

// leaveNone makes of a container without a network one that is on none at present, and
// can be connected, as in Docker.
func (m *monitor) leaveNone() error {
	c := m.container
	c.Config.Network.Mode = netns.Default
	if err := errors.Join(c.saveConfig(), c.writeNames(m.ledger)); err != nil || !c.Running() {
		return err
	}
	file := c.layout.NetworkNamespace(c.Config.ID)
	if err := netns.NameNamespace(m.ledger, fmt.Sprintf("/proc/%d/ns/net", c.Live.Pid), file); err != nil || m.standsIn() {
		return err // A resolver needs a monitor that stays.
	}
	resolver, err := startResolver(c, m.ledger, file)
	if err == nil {
		m.resolver = resolver
	}
	return err
}

// notConnected says in Docker's words why there is nothing to disconnect.
func (c *Container) notConnected(name string) error {
	if name == netns.Host && c.Config.Network.Mode == netns.Host {
		return &steps.Fault{Msg: "container cannot be disconnected from host network or connected to host network", Hint: "Make one without --network host."}
	}
	return &steps.Fault{Msg: fmt.Sprintf("container %s is not connected to network %s", c.Config.ID, name), Hint: "See `minidock inspect " + c.Config.Name + "`."}
}

// unplug takes the links of a network from a running container.
func (m *monitor) unplug(e netns.Endpoint) error {
	c := m.container
	if !c.Running() {
		return nil
	}
	network, err := m.layout.Networks().Find(e.Network)
	if err != nil {
		return err
	}
	if err := netns.WithdrawResident(m.ledger, c.layout.place(), network.Name, c.Config.ID); err != nil {
		return err
	}
	if m.resolver != nil {
		if err := m.resolver.follow(c); err != nil {
			return err
		}
	}
	if err := m.layout.Networks().Detach(m.ledger, network, c.Config.ID, e.Index); err != nil {
		return err
	}
	c.emitNetwork("disconnect", network)
	return nil
}

// leadOver makes another network the way out, and the way to the published ports; ""
// is none.
func (m *monitor) leadOver(name string) error {
	if name == "" {
		return nil
	}
	network, err := m.layout.Networks().Find(name)
	if err != nil {
		return err
	}
	if err := netns.LeadOut(m.ledger, m.layout.NetworkNamespace(m.container.Config.ID), network); err != nil {
		return err
	}
	return m.publishAgain()
}

// freeIndex is the lowest number that no interface has.
func (n NetworkConfig) freeIndex() int {
	for i := 0; ; i++ {
		if !slices.ContainsFunc(n.Endpoints, func(e netns.Endpoint) bool { return e.Index == i }) {
			return i
		}
	}
}

// mayConnect refuses in Docker's words what can't be.
func (c *Container) mayConnect(name string) error {
	n := c.Config.Network
	_, shares := n.shares()
	switch {
	case name == netns.Host:
		return &steps.Fault{Msg: "cannot connect container to host network - container must be created in host network mode", Hint: "minidock run --network host …"}
	case name == netns.None:
		return &steps.Fault{Msg: "container cannot be connected to multiple networks with one of the networks in private (none) mode", Hint: "Disconnect it from its networks instead."}
	case n.Mode == netns.None && len(n.Endpoints) == 0:
		return &steps.Fault{Msg: "container cannot be connected to multiple networks with one of the networks in private (none) mode", Hint: "Take it off none first: minidock network disconnect none " + c.Config.Name}
	case n.Mode == netns.Host || shares:
		return &steps.Fault{Msg: "container sharing network namespace with another container or host cannot be connected to any other network", Hint: "Make one with --network " + name + "."}
	case slices.ContainsFunc(n.Endpoints, func(e netns.Endpoint) bool { return e.Network == name }):
		return &steps.Fault{Msg: fmt.Sprintf("endpoint with name %s already exists in network %s", c.Config.Name, name), Hint: "See `minidock inspect " + c.Config.Name + "`."}
	}
	return nil
}

// emitNetwork is Docker's event of a network that a container comes to or leaves.
func (c *Container) emitNetwork(action string, network netns.Network) {
	emitNetwork(c.layout, action, network, map[string]string{"container": c.Config.ID})
}
