package runtime

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// NetworkConfig is what a container is on the network: as it is asked for in
// [Options], and as create has decided it in [Config].
type NetworkConfig struct {
	// Mode is the first network asked for, as in Docker's HostConfig: a network's
	// name, "host", "none" or "container:ID". Empty means [netns.Default].
	Mode string
	// Endpoints are the networks that the container is on; the first that has a way
	// out gives the default route. Create decides on what is zero in one.
	Endpoints  []netns.Endpoint `json:",omitempty"`
	Domainname string           `json:",omitempty"`
	// DNS are the name servers that questions go on to, instead of the host's.
	DNS                   []netip.Addr      `json:",omitempty"`
	DNSSearch, DNSOptions []string          `json:",omitempty"`
	ExtraHosts            []netns.ExtraHost `json:",omitempty"`
	// Ports are published on the host.
	Ports []netns.Port `json:",omitempty"`
	// Exposed are ports, published or not, that the image or the user names, as "80/tcp"; they are
	// published with PublishAll only, each on any free port.
	Exposed    []string `json:",omitempty"`
	PublishAll bool     `json:",omitempty"`
}

// sharedWith begins the mode of a container that has another's network.
const sharedWith = "container:"

// shares says whose network the container has; it is the ID of another container.
func (n NetworkConfig) shares() (id string, ok bool) { return strings.CutPrefix(n.Mode, sharedWith) }

// bridged says whether the container has, or can get, links to networks.
func (n NetworkConfig) bridged() bool {
	_, shares := n.shares()
	return !shares && n.Mode != netns.Host && n.Mode != netns.None
}

// Names lists the networks, as `ps` shows them.
func (n NetworkConfig) Names() []string {
	var names []string
	for _, e := range n.Endpoints {
		names = append(names, e.Network)
	}
	if len(names) == 0 && !n.bridged() {
		names = []string{n.Mode}
	}
	return names
}

// namesOf is the container whose hostname, hosts and resolv.conf this one sees.
func (c *Config) namesOf() string {
	if id, ok := c.Network.shares(); ok {
		return id
	}
	return c.ID
}

// decideNetwork settles what can be settled before anything is made.
func (c *Config) decideNetwork(l Layout, asked NetworkConfig, image v1.Config) error {
	c.Network = asked
	n := &c.Network
	n.Mode = firstOf(n.Mode, netns.Default)
	for port := range image.ExposedPorts {
		if !strings.Contains(port, "/") {
			port += "/tcp" // OCI image specification, config.md, ExposedPorts
		}
		if !slices.Contains(n.Exposed, port) {
			n.Exposed = append(n.Exposed, port)
		}
	}
	for _, p := range n.Ports {
		if port := fmt.Sprintf("%d/%s", p.Container, p.Proto); !slices.Contains(n.Exposed, port) {
			n.Exposed = append(n.Exposed, port)
		}
	}
	slices.Sort(n.Exposed)
	if ref, ok := n.shares(); ok {
		return c.shareNetwork(l, ref, asked)
	}
	switch n.Mode {
	case netns.Host:
		return c.takeHostNetwork()
	case netns.None:
		n.Endpoints = nil
		return nil
	}
	if len(n.Endpoints) == 0 {
		n.Endpoints = []netns.Endpoint{{Network: n.Mode}}
	}
	return n.settleEndpoints(l)
}

// settleEndpoints finds each network, so that it is known by its name from now on.
func (n *NetworkConfig) settleEndpoints(l Layout) error {
	for i := range n.Endpoints {
		e := &n.Endpoints[i]
		network, err := l.Networks().Find(e.Network)
		if err != nil {
			return notMade(err)
		}
		if slices.ContainsFunc(n.Endpoints[:i], func(other netns.Endpoint) bool { return other.Network == network.Name }) {
			return &steps.Fault{Msg: "network " + network.Name + " is given twice", Hint: "Name each network once.", Code: 125}
		}
		if network.Name == netns.Host || network.Name == netns.None {
			return &steps.Fault{Msg: fmt.Sprintf("conflicting options: cannot attach both user-defined and non-user-defined network-modes: %s", network.Name), Hint: "The networks host and none stand alone.", Code: 125}
		}
		e.Network, e.Index, e.Asked = network.Name, i, e.Address
		if e.MAC == "" {
			e.MAC = netns.RandomMAC().String()
		}
	}
	n.Mode = n.Endpoints[0].Network
	return nil
}

// shareNetwork makes the container a tenant of another's network namespace, which
// then decides on names and ports. Ports that its image exposes do no harm.
func (c *Config) shareNetwork(l Layout, ref string, n NetworkConfig) error {
	other, err := Find(l, ref)
	if err != nil {
		return notMade(err)
	}
	if id, guest := other.Config.Network.shares(); guest {
		return c.shareNetwork(l, id, n) // Whose network it is has the files about names, too.
	}
	for _, conflict := range []struct {
		given bool
		what  string
	}{
		{c.Hostname != "", "hostname and the network mode"},
		{len(n.DNS)+len(n.DNSSearch)+len(n.DNSOptions) > 0, "dns and the network mode"},
		{len(n.ExtraHosts) > 0, "custom host-to-IP mapping and the network mode"},
		{len(n.Ports) > 0 || n.PublishAll, "port publishing and the container type network mode"},
		{len(n.Exposed) > 0, "port exposing and the container type network mode"},
	} {
		if conflict.given {
			return &steps.Fault{Msg: "conflicting options: " + conflict.what, Hint: "Give it to " + other.Config.Name + ", whose network this is.", Code: 125}
		}
	}
	c.Network.Mode, c.Network.Endpoints = sharedWith+other.Config.ID, nil
	c.Hostname = other.Config.Hostname
	return nil
}

// takeHostNetwork: the host's name comes along with its network, as in Docker.
func (c *Config) takeHostNetwork() (err error) {
	c.Network.Endpoints = nil
	if c.Hostname == "" {
		if c.Hostname, err = os.Hostname(); err != nil {
			return fmt.Errorf("read hostname: %w", err)
		}
	}
	return nil
}

// joinNetworks leases the container's addresses, and writes the files through which
// a C library learns its names.
func (d *draft) joinNetworks() error {
	c := d.container
	for i := range c.Config.Network.Endpoints {
		if err := c.lease(d.ledger, &c.Config.Network.Endpoints[i], d.tell); err != nil {
			return notMade(err)
		}
	}
	if _, shared := c.Config.Network.shares(); shared {
		return nil
	}
	return c.writeNames(d.ledger)
}

// lease gets the container an address on a network, which is made where it is the
// default one and not there yet.
func (c *Container) lease(ledger *steps.Ledger, e *netns.Endpoint, tell func(steps.Record)) error {
	networks := c.layout.Networks()
	network, err := networks.Need(e.Network, tell)
	if err != nil {
		return err
	}
	e.Address, err = networks.Lease(ledger, network, c.Config.ID, e.Asked)
	return err
}

// writeNames writes /etc/hostname, /etc/hosts and /etc/resolv.conf as the container
// sees them.
func (c *Container) writeNames(ledger *steps.Ledger) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	files, err := c.nameFiles(names)
	if err != nil {
		return notMade(err)
	}
	return files.Write(ledger, c.dir())
}

func (c *Container) nameFiles(names netns.Names) (netns.NameFiles, error) {
	switch {
	case c.Config.Network.Mode == netns.Host:
		return names.Host()
	case !c.Config.Network.bridged():
		return names.Alone()
	}
	return names.Bridged()
}

// names gathers what the name files are made from.
func (c *Container) names() (netns.Names, error) {
	n := c.Config.Network
	names := netns.Names{
		Hostname: c.Config.Hostname, Domainname: n.Domainname, Extra: n.ExtraHosts,
		Servers: n.DNS, Search: n.DNSSearch, Options: n.DNSOptions,
	}
	for _, e := range n.Endpoints {
		names.Addresses = append(names.Addresses, e.Address)
	}
	if len(n.Endpoints) > 0 {
		network, err := c.layout.Networks().Find(n.Endpoints[0].Network)
		if err != nil {
			return names, err
		}
		names.Gateway = network.Gateway
	}
	return names, names.ReadHost()
}

// notMade gives an error the exit status of a container that could not be made or started.
func notMade(err error) error {
	if err == nil {
		return nil
	}
	return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: steps.CodeOf(err, 125), Err: err}
}

// makeNamespace makes the container's network namespace, which has its loopback link
// only, and returns its file: "" leaves making one to libcontainer.
func (m *monitor) makeNamespace() (file string, err error) {
	c := m.container
	if id, shared := c.Config.Network.shares(); shared {
		return namespaceOf(c.layout, id)
	}
	if !c.Config.Network.bridged() {
		return "", nil
	}
	file = c.layout.NetworkNamespace(c.Config.ID)
	return file, netns.MakeNamespace(m.ledger, file)
}

// connectNetworks connects the container's network namespace to its networks, has
// names resolved and ports answered there, and makes it known to its neighbours.
func (m *monitor) connectNetworks() (err error) {
	c := m.container
	if !c.Config.Network.bridged() {
		return nil
	}
	file := c.layout.NetworkNamespace(c.Config.ID)
	if err := m.connectAll(file); err != nil {
		return err
	}
	if m.resolver, err = startResolver(c, m.ledger, file); err != nil {
		return err
	}
	if m.ports, m.published, err = publishPorts(c, m.ledger); err != nil {
		return err
	}
	return m.announce(c.Config.Network.Endpoints...)
}

// connectAll plugs the container into its networks, in the order of its interfaces.
func (m *monitor) connectAll(file string) error {
	hasWayOut := false
	for _, e := range m.container.Config.Network.Endpoints {
		network, err := m.layout.Networks().Find(e.Network)
		if err != nil {
			return err
		}
		plug := netns.Plug{Namespace: file, Container: m.container.Config.ID, Endpoint: e, Default: !hasWayOut && !network.Internal}
		if err := m.layout.Networks().Attach(m.ledger, network, plug); err != nil {
			return err
		}
		hasWayOut = hasWayOut || plug.Default
		m.container.emitNetwork("connect", network)
	}
	return nil
}

// announce makes the container's addresses known to its neighbours, who may remember
// those that had them before. It comes late: until the bridge has got used to the
// container's links, nobody would hear.
func (m *monitor) announce(endpoints ...netns.Endpoint) error {
	c := m.container
	for _, e := range endpoints {
		network, err := m.layout.Networks().Find(e.Network)
		if err != nil {
			return err
		}
		plug := netns.Plug{Namespace: c.layout.NetworkNamespace(c.Config.ID), Container: c.Config.ID, Endpoint: e}
		if err := m.layout.Networks().Announce(m.ledger, network, plug); err != nil {
			return err
		}
	}
	return nil
}

// namespaceOf finds the network namespace of a running container.
func namespaceOf(l Layout, id string) (string, error) {
	other, err := load(l, id)
	if err != nil {
		return "", notMade(orNoContainer(err, id))
	}
	if !other.Running() {
		return "", &steps.Fault{
			Msg:  "cannot join network of a non running container: " + id,
			Hint: "Start it first: minidock start " + other.Config.Name, Code: 125,
		}
	}
	return fmt.Sprintf("/proc/%d/ns/net", other.Live.Pid), nil
}

// tellDisconnected is Docker's event of each network that a container leaves at its
// end.
func (c *Container) tellDisconnected() {
	for _, e := range c.Config.Network.Endpoints {
		if network, err := c.layout.Networks().Find(e.Network); err == nil {
			c.emitNetwork("disconnect", network)
		}
	}
}

// leaveNetwork ends what the monitor itself does for the network; the ledger knows
// the rest.
func (m *monitor) leaveNetwork() error {
	err := errors.Join(m.resolver.close(), m.ports.close())
	m.resolver, m.ports = nil, nil
	return err
}
