package netns

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Picture is what there is of a network at one moment: what the kernel answers,
// and beside it what the state files say.
type Picture struct {
	Network Network
	Bridge  Bridge
	Cables  []Cable
	Table   Rules
	// Forwarding is whether the host passes packets on at all (ip_forward).
	Forwarding bool
	// WayOut is how the host itself gets to the world, and Obstacles are what stands in
	// the way of those that it forwards for.
	WayOut    Way
	Obstacles []Obstacle
	// Residents and Leases are from the state files.
	Residents []Resident
	Leases    []Lease
}

// Rules is what the firewall table has about a network.
type Rules struct {
	Name  string
	There bool
	// Entries has, for each set that knows the network, the entry.
	Entries map[string]string
	// Counters are of all networks together.
	Counters []RuleCounter
	// Published are the ports that lead to an address of the network.
	Published []RuleCounter
}

// Cable is a port of the bridge, and where it is a veth pair's end, the other end.
type Cable struct {
	BridgePort
	// Container is the ID of whose cable it is by its name; "" for a stranger's.
	Container string `json:",omitempty"`
	Inside    *Inlet `json:",omitempty"`
}

// Inlet is a container's end of a cable, and what its resolver answers.
type Inlet struct {
	Namespace, Link, MAC string
	Up                   bool
	Addresses            []netip.Prefix
	// Default is the router of the default route; the zero Addr for none.
	Default netip.Addr `json:",omitzero"`
	// Heard has what the container's resolver answered, by the name asked for.
	Heard map[string]Answer
}

// askPatience is what each resolver gets for each name: it is on this machine.
const askPatience = time.Second

// mostAskers is up to how many containers each is asked for everybody's names:
// the work grows with the square. Where there are more, each is asked for its own.
const mostAskers = 16

// Look draws the picture of a network. namespaces tells the file that names a
// container's network namespace.
func (s *Store) Look(n Network, namespaces func(id string) string) (p Picture, err error) {
	p.Network = n
	if p.Residents, err = s.Residents(n.Name); err != nil {
		return p, err
	}
	if p.Leases, err = s.Leases(n.Name); err != nil || !n.Subnet.IsValid() {
		return p, err
	}
	if p.Bridge, p.Cables, err = lookAtBridge(BridgeName(s.place.Instance, n)); err != nil {
		return p, err
	}
	if p.Table, err = s.Rules(n); err != nil {
		return p, err
	}
	p.Forwarding = Forwards()
	// What can't be read stands in nobody's way that we know of.
	p.Obstacles, _ = s.Obstacles()
	if p.WayOut, err = WayTo("", World()); err != nil {
		return p, err
	}
	return p, p.lookInside(namespaces)
}

// World is an address that no host has (RFC 5737: TEST-NET-1), and that is routed as
// any address far away is.
func World() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// Rules reads what the firewall table has about a network.
func (s *Store) Rules(n Network) (r Rules, err error) {
	r.Name, r.Entries = s.place.Instance, map[string]string{}
	f, err := openFirewall(s.place.Instance)
	if err != nil {
		return r, err
	}
	defer f.close()
	if r.There, err = f.exists(); err != nil || !r.There {
		return r, err
	}
	// Whatever network it is, it is looked for in every set.
	wanted := entries(Network{}, s.traceOf(n))
	wanted = append(wanted, element{"internal", wanted[0].text})
	for _, e := range wanted {
		known, err := f.elements(e.set)
		if err != nil {
			return r, err
		}
		first, _, _ := strings.Cut(e.text, "/")
		if _, there := known[first]; there {
			r.Entries[e.set] = e.text
		}
	}
	all, err := s.Counters()
	for _, c := range all {
		switch p, ok := c.Publication(); {
		case !ok:
			r.Counters = append(r.Counters, c)
		case n.Subnet.Contains(p.Address):
			r.Published = append(r.Published, c)
		}
	}
	return r, err
}

// Publication reads an entry of the maps of published ports; ok is false for the
// counter of a rule.
func (c RuleCounter) Publication() (p Publication, ok bool) {
	if c.Chain != published && c.Chain != publishedAt {
		return p, false
	}
	p, err := element{c.Chain, c.Comment}.publication()
	return p, err == nil
}

// lookInside looks at the other ends of the cables.
func (p *Picture) lookInside(namespaces func(id string) string) error {
	for i := range p.Cables {
		cable := &p.Cables[i]
		cable.Container = p.ownerOf(cable.Name)
		if cable.Container == "" {
			continue
		}
		file := namespaces(cable.Container)
		inlet, err := lookAtInlet(file, cable.Peer)
		if errors.Is(err, fs.ErrNotExist) {
			continue // It has just gone, or was taken away: Differences tells.
		}
		if err != nil {
			return err
		}
		cable.Inside = inlet
		if err := inlet.listen(p.questions(cable.Container)); err != nil {
			return err
		}
	}
	return nil
}

// ownerOf finds the container that a link's name speaks of.
func (p *Picture) ownerOf(link string) string {
	digits, _, found := strings.Cut(strings.TrimPrefix(link, "v"), ".")
	if !found || len(digits) != shownDigits || link[0] != 'v' {
		return ""
	}
	for _, r := range p.Residents {
		if strings.HasPrefix(r.ID, digits) {
			return r.ID
		}
	}
	for _, l := range p.Leases {
		if strings.HasPrefix(l.Container, digits) {
			return l.Container
		}
	}
	return ""
}

// questions are the names that a container's resolver is asked for.
func (p *Picture) questions(asker string) []string {
	var names []string
	for _, r := range p.Residents {
		if len(p.Residents) <= mostAskers || r.ID == asker {
			names = append(names, r.names()...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// listen asks the container's resolver for names.
func (i *Inlet) listen(names []string) error {
	i.Heard = map[string]Answer{}
	server := netip.AddrPortFrom(netip.MustParseAddr(ResolverAddress), dnsPort)
	for _, name := range names {
		answer, err := Ask(i.Namespace, server, name, askPatience)
		if err != nil {
			return err
		}
		i.Heard[name] = answer
		if !answer.Replied && answer.Code != NoQuestion {
			return nil // Who is silent once is not asked on and on.
		}
	}
	return nil
}
