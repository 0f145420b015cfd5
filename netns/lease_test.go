package netns

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// container is what a lease knows of one: an ID, a directory, a ledger.
type container struct {
	t     testing.TB
	store *Store
	id    string
	open  *steps.Ledger
	tell  func(steps.Record)
}

func newContainer(t testing.TB, s *Store) *container {
	t.Helper()
	c := &container{t: t, store: s, id: newID()}
	if err := os.MkdirAll(c.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *container) dir() string { return filepath.Join(c.store.place.Root, "containers", c.id) }

func (c *container) ledger() *steps.Ledger {
	if c.open == nil {
		var err error
		dir := filepath.Join(c.store.place.Root, "containers-ledgers")
		c.open, err = steps.Open(steps.Paths{Boot: filepath.Join(dir, c.id+".boot"), Kept: filepath.Join(dir, c.id+".kept")}, c.tell)
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return c.open
}

func (c *container) lease(n Network, wanted string) (netip.Addr, error) {
	var a netip.Addr
	if wanted != "" {
		a = ip(wanted)
	}
	return c.store.Lease(c.ledger(), n, c.id, a)
}

func (c *container) mustLease(n Network) netip.Addr {
	c.t.Helper()
	a, err := c.lease(n, "")
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// remove removes the container as its owner does: by its ledger.
func (c *container) remove() {
	c.t.Helper()
	if err := errors.Join(c.ledger().Undo(Undos(), steps.Kept), c.ledger().Remove(), os.RemoveAll(c.dir())); err != nil {
		c.t.Error(err)
	}
	c.open = nil
}

func TestEveryAddressOfANetworkIsGivenOnceAndThenNoMore(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "full", Subnet: prefix("10.1.2.0/24")})
	var all []*container
	for i := range 253 {
		c := newContainer(t, s)
		want := netip.AddrFrom4([4]byte{10, 1, 2, byte(i + 2)})
		if got := c.mustLease(n); got != want {
			t.Fatalf("the address %d is %s, want %s", i, got, want)
		}
		all = append(all, c)
	}
	c := newContainer(t, s)
	_, err := c.lease(n, "")
	fault(t, err, "no available IPv4 addresses on this network's address pools: full ("+n.ID+")", "minidock rm")
	if steps.CodeOf(err, 1) != 125 {
		t.Errorf("exit status %d", steps.CodeOf(err, 1))
	}
	all[100].remove()
	if got := c.mustLease(n); got != ip("10.1.2.102") {
		t.Errorf("what was given back is not given again, but %s", got)
	}
	leases, err := s.Leases("full")
	if err != nil || len(leases) != 253 || leases[0] != (Lease{ip("10.1.2.2"), all[0].id}) || leases[100].Container != c.id {
		t.Errorf("%d leases, %v", len(leases), err)
	}
}

func TestRangeBoundsWhatIsGivenButNotWhatIsWanted(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "x", Subnet: prefix("10.1.0.0/16"), IPRange: prefix("10.1.255.252/30"), Gateway: ip("10.1.255.253")})
	if a, b := newContainer(t, s).mustLease(n), newContainer(t, s).mustLease(n); a != ip("10.1.255.252") || b != ip("10.1.255.254") {
		t.Errorf("got %s, %s", a, b)
	}
	c := newContainer(t, s)
	if _, err := c.lease(n, ""); err == nil {
		t.Error("broadcast was given")
	}
	if a, err := c.lease(n, "10.1.7.7"); err != nil || a != ip("10.1.7.7") {
		t.Errorf("%s, %v", a, err)
	}
	for wanted, msg := range map[string]string{
		"10.1.7.7": "Address already in use", "10.1.255.253": "Address already in use", "10.1.0.0": "Address already in use", "10.1.255.255": "Address already in use",
		"10.2.0.1": "no configured subnet or ip-range contain the IP address 10.2.0.1", "::1": "no configured subnet or ip-range contain the IP address ::1",
	} {
		_, err := newContainer(t, s).lease(n, wanted)
		fault(t, err, msg, "")
	}
	_, err := newContainer(t, s).lease(n, "10.1.7.7")
	fault(t, err, "Address already in use", short(c.id))
	def, err := s.Need(Default, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newContainer(t, s).lease(def, "172.17.0.9")
	fault(t, err, "user specified IP address is supported on user defined networks only", "")
	host, _ := s.Find(Host)
	if _, err := newContainer(t, s).lease(host, ""); err == nil {
		t.Error("the host's network gives addresses")
	}
}

func TestNetworkInUseIsNotRemoved(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "web"})
	c := newContainer(t, s)
	c.mustLease(n)
	_, err := s.Remove("web", nil)
	fault(t, err, "error while removing network: network web id "+n.ID+" has active endpoints", short(c.id))
	if _, err := s.Find("web"); err != nil {
		t.Error(err)
	}
	c.remove()
	if _, err := s.Remove("web", nil); err != nil {
		t.Error(err)
	}
	_, err = newContainer(t, s).lease(n, "")
	fault(t, err, "network web not found", "")
}

// An address that is taken while the network is being removed is no container's, or
// keeps the network.
func TestLeaseAndRemovalSeeEachOther(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	s := newStore(t)
	for range 200 {
		n := s.mustCreate(t, CreateOptions{Name: "web"})
		c := newContainer(t, s)
		var leaseErr, removeErr error
		var both sync.WaitGroup
		both.Go(func() { _, leaseErr = c.lease(n, "") })
		both.Go(func() { _, removeErr = s.Remove("web", nil) })
		both.Wait()
		if leaseErr == nil && removeErr == nil {
			t.Fatal("a container has an address on a network that is gone")
		}
		if _, err := s.Find("web"); (err == nil) != (removeErr != nil) {
			t.Fatalf("removed: %v; found: %v", removeErr, err)
		}
		c.remove()
		if removeErr != nil {
			if _, err := s.Remove("web", nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLeaseOfAContainerThatIsGoneIsFoundAgain(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "tiny", Subnet: prefix("10.1.2.0/30")})
	lost := newContainer(t, s)
	lost.mustLease(n)
	if err := os.RemoveAll(lost.dir()); err != nil {
		t.Fatal(err)
	}
	dry, err := s.Cleanup(true)
	if err != nil || len(dry) != 1 || dry[0].Kind != KindLease || dry[0].Undo != "rm "+s.leasePath("tiny", ip("10.1.2.2")) {
		t.Errorf("would undo %v, %v", dry, err)
	}
	// It is given to whoever needs it, whether there was a clean-up or not.
	c := newContainer(t, s)
	if a := c.mustLease(n); a != ip("10.1.2.2") {
		t.Errorf("got %s", a)
	}
	if err := os.RemoveAll(c.dir()); err != nil {
		t.Fatal(err)
	}
	d := newContainer(t, s)
	if _, err := d.lease(n, "10.1.2.2"); err != nil {
		t.Error(err)
	}
	// The undos of those that had it before leave it alone.
	lost.remove()
	c.remove()
	if all, err := s.Leases("tiny"); err != nil || len(all) != 1 || all[0].Container != d.id {
		t.Errorf("%v, %v", all, err)
	}
	if err := os.RemoveAll(d.dir()); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Cleanup(false); err != nil || len(done) != 1 {
		t.Errorf("%v, %v", done, err)
	}
	if all, err := s.Leases("tiny"); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// A lease is taken again by whoever goes on with a killed command's work.
func TestLeaseThatWasTakenBeforeIsKept(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "web"})
	c := newContainer(t, s)
	a := c.mustLease(n)
	if b, err := c.lease(n, a.String()); err != nil || b != a {
		t.Errorf("%s, %v", b, err)
	}
	for range 2 {
		if err := s.Release(c.ledger(), "web", c.id, a); err != nil {
			t.Error(err)
		}
	}
	if all, err := s.Leases("web"); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestManyAtOnceGetDifferentAddresses(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "web", Subnet: prefix("10.1.2.0/26")})
	var group sync.WaitGroup
	got := make([]netip.Addr, 50)
	for i := range got {
		c := newContainer(t, s)
		group.Go(func() {
			a, err := c.lease(n, "")
			if err != nil {
				t.Error(err)
			}
			got[i] = a
		})
	}
	group.Wait()
	slices.SortFunc(got, netip.Addr.Compare)
	for i, a := range got {
		if want := netip.AddrFrom4([4]byte{10, 1, 2, byte(i + 2)}); a != want {
			t.Errorf("the address %d is %s, want %s", i, a, want)
		}
	}
}

// leaseFor names the store in which this process, started by the test below, is to
// take an address.
const leaseFor = "MINIDOCK_TEST_LEASE_ROOT"

func TestManyProcessesGetDifferentAddresses(t *testing.T) {
	if dir := os.Getenv(leaseFor); dir != "" {
		s := Open(Place{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run")})
		n, err := s.Find("web")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("got", newContainer(t, s).mustLease(n))
		return
	}
	s := newStore(t)
	s.mustCreate(t, CreateOptions{Name: "web", Subnet: prefix("10.1.2.0/26")})
	seen := map[string]bool{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestManyProcessesGetDifferentAddresses$")
			cmd.Env = append(os.Environ(), leaseFor+"="+filepath.Dir(s.place.Root))
			out, err := cmd.Output()
			_, rest, _ := strings.Cut(string(out), "got ")
			a, _, _ := strings.Cut(rest, "\n")
			mu.Lock()
			defer mu.Unlock()
			if err != nil || a == "" || seen[a] {
				t.Errorf("%q, %v: %s", a, err, out)
			}
			seen[a] = true
		})
	}
	group.Wait()
	if all, err := s.Leases("web"); err != nil || len(all) != 50 || len(seen) != 50 {
		t.Errorf("%d leases, %d seen, %v", len(all), len(seen), err)
	}
}

// Whatever containers do, and whichever of them vanish: no address is given twice,
// none that is not the network's to give, and always the lowest.
func TestLeasesAreWhatAModelSays(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	rapid.Check(t, func(r *rapid.T) {
		s := newStore(t)
		bits := rapid.IntRange(26, 30).Draw(r, "bits")
		o := CreateOptions{Name: "web", Subnet: netip.PrefixFrom(ip("10.1.2.0"), bits)}
		if rapid.Bool().Draw(r, "with a range") {
			o.IPRange = netip.PrefixFrom(o.Subnet.Addr(), rapid.IntRange(bits, 30).Draw(r, "range"))
		}
		n, err := s.Create(o, nil)
		if err != nil {
			r.Fatal(err)
		}
		m := &model{n: n, held: map[netip.Addr]*container{}}
		r.Repeat(map[string]func(*rapid.T){
			"lease": func(r *rapid.T) {
				c := newContainer(t, s)
				want, found := m.lowest()
				got, err := c.lease(n, "")
				if found != (err == nil) || found && got != want {
					r.Fatalf("leased %s, %v; want %s, %v", got, err, want, found)
				}
				if found {
					m.held[got] = c
				}
			},
			"want": func(r *rapid.T) {
				a := o.Subnet.Addr()
				for range rapid.IntRange(0, 1<<(32-bits)).Draw(r, "which") {
					a = a.Next()
				}
				c := newContainer(t, s)
				_, err := c.lease(n, a.String())
				if m.free(a) != (err == nil) {
					r.Fatalf("wanted %s: %v", a, err)
				}
				if err == nil {
					m.held[a] = c
				}
			},
			"remove": func(r *rapid.T) {
				if a, ok := m.any(r); ok {
					m.held[a].remove()
					delete(m.held, a)
				}
			},
			"vanish": func(r *rapid.T) {
				if a, ok := m.any(r); ok {
					if err := os.RemoveAll(m.held[a].dir()); err != nil {
						r.Fatal(err)
					}
					if _, err := s.Cleanup(false); err != nil {
						r.Fatal(err)
					}
					delete(m.held, a)
				}
			},
			"": func(r *rapid.T) {
				all, err := s.Leases("web")
				if err != nil || len(all) != len(m.held) {
					r.Fatalf("%v, %v; want %v", all, err, m.held)
				}
				for _, l := range all {
					if m.held[l.Address] == nil || m.held[l.Address].id != l.Container {
						r.Fatalf("%v is not held by whom it should", l)
					}
				}
			},
		})
	})
}

// model knows the addresses of a network, and counts them one by one.
type model struct {
	n    Network
	held map[netip.Addr]*container
}

func (m *model) free(a netip.Addr) bool {
	first, last := m.n.Subnet.Addr(), m.n.Subnet.Addr()
	for m.n.Subnet.Contains(last.Next()) {
		last = last.Next()
	}
	return m.n.Subnet.Contains(a) && a != first && a != last && a != m.n.Gateway && m.held[a] == nil
}

func (m *model) lowest() (netip.Addr, bool) {
	for a := m.n.Subnet.Addr(); m.n.Subnet.Contains(a); a = a.Next() {
		if m.free(a) && (!m.n.IPRange.IsValid() || m.n.IPRange.Contains(a)) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (m *model) any(r *rapid.T) (netip.Addr, bool) {
	if len(m.held) == 0 {
		return netip.Addr{}, false
	}
	return rapid.SampledFrom(slices.SortedFunc(maps.Keys(m.held), netip.Addr.Compare)).Draw(r, "held"), true
}
