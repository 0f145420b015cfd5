package runtime

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// heldPorts are the sockets by which the monitor keeps the host's ports for its
// container: as long as they are open, nobody else gets them.
type heldPorts []io.Closer

// close lets go of them; none is no error.
func (h heldPorts) close() error {
	var errs []error
	for _, socket := range h {
		errs = append(errs, socket.Close())
	}
	return errors.Join(errs...)
}

// publishPorts takes each of the host's ports, and leads what comes to it to the
// container.
func publishPorts(c *Container, ledger *steps.Ledger) (held heldPorts, published []netns.Publication, err error) {
	address, err := c.publicAddress()
	if err != nil || !address.IsValid() {
		return nil, nil, err
	}
	for _, port := range c.Config.Network.publications() {
		reserved, err := c.reserve(ledger, port)
		if err != nil {
			err = publishedTwice(err, port, published)
			return nil, nil, errors.Join(notMade(err), c.takePortsBack(ledger, published), held.close())
		}
		held = append(held, reserved)
		p := netns.Publication{Proto: port.Proto, HostIP: port.HostIP, Host: reserved.Port, Address: address, Container: port.Container}
		if err := c.layout.Networks().Publish(ledger, p); err != nil {
			return nil, nil, errors.Join(notMade(err), c.takePortsBack(ledger, published), held.close())
		}
		published = append(published, p)
	}
	return held, published, nil
}

// publishedTwice says so of a port that the container itself has taken.
func publishedTwice(err error, wanted netns.Port, published []netns.Publication) error {
	own := slices.ContainsFunc(published, func(p netns.Publication) bool {
		return p.Proto == wanted.Proto && p.Host == wanted.Host && wanted.HostLast <= wanted.Host &&
			(p.HostIP == wanted.HostIP || p.HostIP.IsUnspecified() || wanted.HostIP.IsUnspecified())
	})
	if own && errors.Is(err, unix.EADDRINUSE) {
		return &steps.Fault{Msg: err.Error(), Hint: fmt.Sprintf("The container itself has port %d already: publish it once.", wanted.Host), Code: 125, Err: err}
	}
	return err
}

// reserve takes the port, or the first free one of a range.
func (c *Container) reserve(ledger *steps.Ledger, p netns.Port) (*netns.Reservation, error) {
	for port := p.Host; ; port++ {
		reserved, err := c.layout.Networks().ReservePort(ledger, p.HostIP, p.Proto, port)
		if err == nil {
			if err = c.mayTake(p, reserved.Port); err == nil {
				return reserved, nil
			}
			err = errors.Join(err, reserved.Close())
		}
		if port >= p.HostLast || !errors.Is(err, unix.EADDRINUSE) {
			return nil, err
		}
	}
}

// mayTake refuses a port of a container that runs on without its monitor, which was
// who held it.
func (c *Container) mayTake(p netns.Port, port uint16) error {
	led, err := c.layout.Networks().Published(p.HostIP, p.Proto, port)
	if err != nil || len(led) == 0 {
		return err
	}
	all, _ := List(c.layout) // One that can't be read is not known to run.
	for _, other := range all {
		if other.Running() && other.Config.ID != c.Config.ID && slices.ContainsFunc(other.Live.Ports, func(its netns.Publication) bool { return slices.Contains(led, its) }) {
			return netns.AllocatedPort(p.HostIP, port)
		}
	}
	return nil
}

// published lists the ports that lead to containers which run. It only reads: whoever
// asks may hold locks.
func (l Layout) published() (all []netns.Publication) {
	entries, _ := os.ReadDir(filepath.Dir(l.RunContainer("x"))) // Without it nobody runs.
	for _, e := range entries {
		// One that can't be read is not known to run.
		if c, err := load(l, e.Name()); err == nil && c.Running() {
			all = append(all, c.Live.Ports...)
		}
	}
	return all
}

// publishAgain leads the ports to where the container's way out goes now.
func (m *monitor) publishAgain() (err error) {
	m.ports, m.published, err = publishPorts(m.container, m.ledger)
	return errors.Join(err, m.change(func(live *Live) { live.Ports = m.published }))
}

// unpublish takes the container's ports back while it runs.
func (m *monitor) unpublish() error {
	err := errors.Join(m.container.takePortsBack(m.ledger, m.published), m.ports.close())
	m.ports, m.published = nil, nil
	return errors.Join(err, m.change(func(live *Live) { live.Ports = nil }))
}

// takePortsBack takes them out of the firewall, which would lead whoever has them next
// to this container.
func (c *Container) takePortsBack(ledger *steps.Ledger, published []netns.Publication) error {
	var errs []error
	for _, p := range published {
		errs = append(errs, c.layout.Networks().Unpublish(ledger, p))
	}
	return errors.Join(errs...)
}

// publicAddress is the container's on the network that gives the way out; the zero
// Addr where there is none, and so no way in either.
func (c *Container) publicAddress() (netip.Addr, error) {
	for _, e := range c.Config.Network.Endpoints {
		network, err := c.layout.Networks().Find(e.Network)
		if err != nil {
			return netip.Addr{}, err
		}
		if !network.Internal {
			return e.Address, nil
		}
	}
	return netip.Addr{}, nil
}

// publications are the ports asked for, and with PublishAll each exposed port of tcp or
// udp that is not among them.
func (n NetworkConfig) publications() []netns.Port {
	ports := n.Ports
	if !n.PublishAll {
		return ports
	}
	asked := map[string]bool{}
	for _, p := range ports {
		asked[strconv.Itoa(int(p.Container))+"/"+p.Proto] = true
	}
	for _, exposed := range n.Exposed {
		number, proto, _ := strings.Cut(exposed, "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err == nil && !asked[exposed] && (proto == "tcp" || proto == "udp") {
			ports = append(ports, netns.Port{Proto: proto, Container: uint16(port), HostIP: netip.IPv4Unspecified()})
		}
	}
	return ports
}
