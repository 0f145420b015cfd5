package netns

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Differences says in plain words where the kernel does not have what the state
// files say, and the other way round. None is the normal case.
func (p Picture) Differences() (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	b, n := p.Bridge, p.Network
	if !n.Subnet.IsValid() {
		return nil // Nothing of it is on this host.
	}
	if !b.There {
		if len(p.Residents) > 0 || n.Name != Default {
			say("the kernel has no link %s: the network's next container makes the bridge again", b.Name)
		}
		return append(all, p.uncabled()...)
	}
	if b.State == "down" && len(p.Cables) > 0 {
		say("bridge %s is down, so nothing passes: ip link set %s up", b.Name, b.Name)
	}
	if !slices.Contains(b.Addresses, n.gateway()) {
		say("bridge %s lacks the gateway's address: ip address add %s brd + dev %s", b.Name, n.gateway(), b.Name)
	}
	if !p.Forwarding {
		say("the host forwards nothing, so only neighbours reach each other: sysctl -w net.ipv4.ip_forward=1")
	}
	all = append(all, p.unruled()...)
	for _, c := range p.Cables {
		all = append(all, p.miscabled(c)...)
	}
	return append(all, p.uncabled()...)
}

// unruled tells what the table should know of the network and does not.
func (p Picture) unruled() (all []string) {
	if !p.Table.There {
		return []string{fmt.Sprintf("there is no firewall table ip %s: no walls, no ports, no way out, for no network; whoever comes to a network next makes it again, for all: minidock restart CONTAINER", p.Table.Name)}
	}
	n := p.Network
	for _, set := range []struct {
		name   string
		wanted bool
	}{{"bridges", true}, {"same", true}, {"internal", n.Internal}, {"subnets", n.masquerades()}} {
		_, there := p.Table.Entries[set.name]
		switch {
		case there && !set.wanted:
			all = append(all, fmt.Sprintf("set %s has the network, and should not", set.name))
		case !there && set.wanted:
			all = append(all, fmt.Sprintf("set %s does not have the network, and should", set.name))
		}
	}
	return all
}

// miscabled tells what is wrong with one port of the bridge.
func (p Picture) miscabled(c Cable) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	at := slices.IndexFunc(p.Residents, func(r Resident) bool { return r.ID == c.Container })
	switch {
	case c.Container == "":
		say("%s is plugged into the bridge, and no container of minidock's: somebody else did it", c.Name)
		return all
	case at < 0:
		say("%s is plugged in, and no file says that container %s runs here", c.Name, short(c.Container))
		return all
	case c.Passing != "forwarding":
		say("port %s is %s: the bridge passes nothing through it", c.Name, c.Passing)
	}
	r := p.Residents[at]
	if c.Inside == nil {
		say("%s: the other end of %s is not in its namespace", r.Name, c.Name)
		return all
	}
	address := netip.PrefixFrom(r.Address, p.Network.Subnet.Bits())
	if !slices.Contains(c.Inside.Addresses, address) {
		say("%s: the file says %s, and %s has %v", r.Name, address, c.Inside.Link, c.Inside.Addresses)
	}
	if c.Inside.MAC != r.MAC {
		say("%s: the file says MAC %s, and %s has %s", r.Name, r.MAC, c.Inside.Link, c.Inside.MAC)
	}
	if !c.Inside.Up {
		say("%s: %s is down", r.Name, c.Inside.Link)
	}
	return append(all, p.unheard(c, r)...)
}

// unheard tells what a container's resolver says that the files don't.
func (p Picture) unheard(c Cable, asker Resident) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Inside.Heard)) {
		answer := c.Inside.Heard[name]
		if answer.Code == NoQuestion {
			continue // The picture says so.
		}
		if !answer.Replied {
			return append(all, fmt.Sprintf("%s: its resolver does not answer (%s): it went with the container's monitor", asker.Name, answer.Words()))
		}
		for _, r := range p.Residents {
			if slices.Contains(r.names(), name) && !slices.Contains(answer.Addresses, r.Address) && !p.elsewhere(answer) {
				all = append(all, fmt.Sprintf("%s asks for %s and hears %s, not %s", asker.Name, name, answer.Words(), r.Address))
			}
		}
	}
	return all
}

// elsewhere says that a name is known, and that the asker's first network has it.
func (p Picture) elsewhere(a Answer) bool {
	return len(a.Addresses) > 0 && !slices.ContainsFunc(a.Addresses, p.Network.Subnet.Contains)
}

// uncabled tells of containers that a file says are here, and that have no cable.
func (p Picture) uncabled() (all []string) {
	for _, r := range p.Residents {
		if !slices.ContainsFunc(p.Cables, func(c Cable) bool { return c.Container == r.ID }) {
			all = append(all, fmt.Sprintf("%s: a file says that it runs here, and the bridge has no cable of it", r.Name))
		}
		if !slices.ContainsFunc(p.Leases, func(l Lease) bool { return l.Container == r.ID && l.Address == r.Address }) {
			all = append(all, fmt.Sprintf("%s: it has %s without a lease, so another container may get it", r.Name, r.Address))
		}
	}
	return all
}
