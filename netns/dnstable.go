package netns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// View is what a container sees of one network that it is on.
type View struct {
	// Network is the network's name.
	Network string
	// Subnet holds the residents' addresses; one that lies outside is left out.
	// The zero Prefix holds all.
	Subnet netip.Prefix
	// Internal networks have no way out.
	Internal  bool
	Residents []Resident
}

// Table holds the names that one container can ask for, and never changes: a new
// one takes its place when somebody comes or goes.
type Table struct {
	// names has lower-case keys without the last dot.
	names    map[string][]netip.Addr
	pointers map[netip.Addr]string
	outside  bool
}

// NewTable draws up the table of a container that is on these networks. Where the
// same name is on several of them the first network's holders are the answer, as
// in Docker, so their order matters: that of the container's interfaces.
func NewTable(views ...View) *Table {
	t := &Table{names: map[string][]netip.Addr{}, pointers: map[netip.Addr]string{}}
	for _, v := range views {
		t.outside = t.outside || !v.Internal
		t.add(v.holders(""))
	}
	// Of web.a.b, web.a on network b comes before web on network a.b.
	fewestDots := slices.SortedStableFunc(slices.Values(views), func(a, b View) int {
		return cmp.Compare(strings.Count(a.Network, "."), strings.Count(b.Network, "."))
	})
	for _, v := range fewestDots {
		t.add(v.holders("." + v.Network))
	}
	for _, v := range views {
		t.addPointers(v)
	}
	return t
}

// add takes names over that the table does not have.
func (t *Table) add(holders map[string][]netip.Addr) {
	for name, addresses := range holders {
		if _, taken := t.names[name]; !taken {
			t.names[name] = addresses
		}
	}
}

func (t *Table) addPointers(v View) {
	for _, r := range v.Residents {
		if _, taken := t.pointers[r.Address]; !taken && v.has(r.Address) {
			t.pointers[r.Address] = r.Name + "." + v.Network + "."
		}
	}
}

// holders lists who has which name on the network; suffix is put behind each.
func (v View) holders(suffix string) map[string][]netip.Addr {
	holders := map[string][]netip.Addr{}
	for _, r := range v.Residents {
		if !v.has(r.Address) {
			continue
		}
		for _, name := range r.names() {
			key := lower(name + suffix)
			if !slices.Contains(holders[key], r.Address) {
				holders[key] = append(holders[key], r.Address)
			}
		}
	}
	return holders
}

func (v View) has(address netip.Addr) bool {
	return address.Is4() && (!v.Subnet.IsValid() || v.Subnet.Contains(address))
}

// shortID is how many hex digits of a container's ID are a name of it, as in Docker.
const shortID = 12

// names lists what a resident can be asked for by.
func (r Resident) names() []string {
	all := append([]string{r.Name, r.Hostname, r.ID[:min(shortID, len(r.ID))]}, r.Aliases...)
	return slices.DeleteFunc(all, func(name string) bool { return name == "" })
}

// Lookup returns all addresses of a name, in no order that means anything, and
// whether the name is known; capitals and a last dot make no difference (RFC 4343).
// The caller must not change what it gets.
func (t *Table) Lookup(name string) (addresses []netip.Addr, known bool) {
	addresses, known = t.names[lower(strings.TrimSuffix(name, "."))]
	return addresses, known
}

// Pointer returns "name.network." of the container that has the address on one of
// the networks.
func (t *Table) Pointer(address netip.Addr) (name string, known bool) {
	name, known = t.pointers[address]
	return name, known
}

// Forwards says whether one of the networks has a way out. Without one, unknown
// names must not find a way out either, by way of the host's resolver.
func (t *Table) Forwards() bool { return t.outside }

// lower knows ASCII letters only, as DNS does (RFC 4343, 3).
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
