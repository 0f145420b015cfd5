package runtime

import (
	"errors"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// resolver answers the container's questions for names: of containers on the same
// networks by itself, for all others it asks on. It is part of the monitor.
type resolver struct{ server *netns.Server }

// startResolver begins to answer for a container, and tells the other containers'
// resolvers of it.
func startResolver(c *Container, ledger *steps.Ledger, file string) (*resolver, error) {
	names, err := c.names()
	if err != nil {
		return nil, err
	}
	sockets, err := netns.ListenDNS(ledger, file)
	if err != nil {
		return nil, err
	}
	forward := netns.NewForwarder(names.KeepsSingle(), names.Upstreams()...)
	r := &resolver{server: netns.NewServer(sockets.Packets, sockets.Streams, netns.NewTable(), forward)}
	go func() { _ = r.server.Serve() }() // It ends with its sockets.
	if err := errors.Join(c.introduceEverywhere(ledger), r.follow(c)); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// follow has the resolver answer for the networks that the container is on now.
func (r *resolver) follow(c *Container) error {
	views, err := c.views()
	if err != nil {
		return err
	}
	r.server.Consult(netns.FollowResidents(c.layout.place(), views...).Table)
	return nil
}

// views are the networks that the container sees, without who is on them.
func (c *Container) views() ([]netns.View, error) {
	var views []netns.View
	for _, e := range c.Config.Network.Endpoints {
		network, err := c.layout.Networks().Find(e.Network)
		if err != nil {
			return nil, err
		}
		views = append(views, netns.View{Network: network.Name, Subnet: network.Subnet, Internal: network.Internal})
	}
	return views, nil
}

// introduceEverywhere tells of the container on each of its networks.
func (c *Container) introduceEverywhere(ledger *steps.Ledger) error {
	for _, e := range c.Config.Network.Endpoints {
		if err := c.introduceOn(ledger, e); err != nil {
			return err
		}
	}
	return nil
}

// introduceOn tells the other containers' resolvers of the container's names.
func (c *Container) introduceOn(ledger *steps.Ledger, e netns.Endpoint) error {
	return netns.PublishResident(ledger, c.layout.place(), e.Network, netns.Resident{
		ID: c.Config.ID, Name: c.Config.Name, Hostname: c.Config.Hostname,
		Aliases: e.Aliases, Address: e.Address, MAC: e.MAC,
	})
}

// close ends it; one that was never there is no error.
func (r *resolver) close() error {
	if r == nil {
		return nil
	}
	return r.server.Close()
}
