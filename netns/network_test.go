package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/minidock/minidock/steps"
)

// newStore is a store in a directory of its own, on a host that routes this, and of
// which it makes nothing.
func newStore(t testing.TB, routes ...Claim) *Store {
	t.Helper()
	dir := t.TempDir()
	s := Open(Place{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Instance: "minidock-test"})
	s.routes = func() ([]Claim, error) { return routes, nil }
	// Its files alone: links and rules have tests of their own.
	s.makes, s.takesBack = func(*steps.Ledger, Network) error { return nil }, func(Network) error { return nil }
	return s
}

func (s *Store) mustCreate(t testing.TB, o CreateOptions) Network {
	t.Helper()
	n, err := s.Create(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// files lists all that is in the store, but for the directories that stay.
func (s *Store) files(t testing.TB) (names []string) {
	t.Helper()
	for _, dir := range []string{s.place.Root, s.place.Run} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			rel, _ := filepath.Rel(filepath.Dir(s.place.Root), path)
			if !slices.Contains([]string{"root", "run", "root/networks", "root/ledgers", "run/networks", "run/networks.lock", "run/ledgers"}, rel) && !strings.Contains(rel, "containers") {
				names = append(names, rel)
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return names
}

// fault wants an error of these words, with a hint that has these.
func fault(t testing.TB, err error, msg, hint string) {
	t.Helper()
	var f *steps.Fault
	if !errors.As(err, &f) || !strings.Contains(err.Error(), msg) || !strings.Contains(steps.HintOf(err), hint) || steps.HintOf(err) == "" {
		t.Errorf("error %v, hint %q; want %q, hint %q", err, steps.HintOf(err), msg, hint)
	}
}

func TestNetworkIsWhatWasAskedForAndIsFoundAgain(t *testing.T) {
	s := newStore(t)
	made := s.mustCreate(t, CreateOptions{
		Name: "web", Driver: "bridge", Subnet: prefix("10.20.0.0/16"), IPRange: prefix("10.20.1.0/24"), Internal: true,
		Labels: map[string]string{"a": "b"}, Options: map[string]string{BridgeNameOption: "web0", "com.docker.network.driver.mtu": "1400"},
	})
	want := Network{
		Name: "web", Driver: "bridge", Subnet: prefix("10.20.0.0/16"), IPRange: prefix("10.20.1.0/24"), Gateway: ip("10.20.1.0"), Internal: true,
		Labels: map[string]string{"a": "b"}, Options: map[string]string{BridgeNameOption: "web0", "com.docker.network.driver.mtu": "1400"},
	}
	same := cmp.Options{cmpopts.IgnoreFields(Network{}, "ID", "Created"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, made, same); diff != "" || len(made.ID) != 64 || made.Created.IsZero() {
		t.Errorf("made %+v; (-want +made)\n%s", made, diff)
	}
	for _, ref := range []string{"web", made.ID, made.ID[:12], made.ID[:4]} {
		found, err := s.Find(ref)
		if err != nil || !cmp.Equal(made, found, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })) {
			t.Errorf("find %s: %+v, %v", ref, found, err)
		}
	}
	list, err := s.List()
	var names []string
	for _, n := range list {
		names = append(names, n.Name+" "+n.Driver)
	}
	if got := strings.Join(names, ", "); err != nil || got != "bridge bridge, host host, none null, web bridge" {
		t.Errorf("listed %s, %v", got, err)
	}
}

func TestNetworkIsRefusedInDockersWords(t *testing.T) {
	s := newStore(t, Claim{prefix("10.0.0.0/24"), "the host's route by eth0"})
	s.mustCreate(t, CreateOptions{Name: "there", Subnet: prefix("10.9.0.0/24"), Options: map[string]string{BridgeNameOption: "there0"}})
	before := s.files(t)
	subnet := func(s string) CreateOptions { return CreateOptions{Name: "x", Subnet: prefix(s)} }
	with := func(o CreateOptions, change func(*CreateOptions)) CreateOptions { change(&o); return o }
	for _, c := range []struct {
		o         CreateOptions
		msg, hint string
	}{
		{CreateOptions{}, "invalid name: name is empty", ""},
		{CreateOptions{Name: " "}, "invalid name: name is empty", ""},
		{CreateOptions{Name: "a/b"}, "invalid network name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed", ""},
		{CreateOptions{Name: ".."}, "invalid network name", ""},
		{CreateOptions{Name: strings.Repeat("x", 256)}, "invalid network name", ""},
		{CreateOptions{Name: "bridge"}, "operation is not permitted on predefined bridge network", ""},
		{CreateOptions{Name: "host"}, "operation is not permitted on predefined host network", ""},
		{CreateOptions{Name: "none"}, "operation is not permitted on predefined none network", ""},
		{CreateOptions{Name: "default"}, "operation is not permitted on predefined default network", ""},
		{CreateOptions{Name: "there"}, "network with name there already exists", ""},
		{CreateOptions{Name: "x", Driver: "host"}, `only one instance of "host" network is allowed`, ""},
		{CreateOptions{Name: "x", Driver: "null"}, `only one instance of "null" network is allowed`, ""},
		{CreateOptions{Name: "x", Driver: "overlay"}, `plugin "overlay" not found`, "bridge"},
		{CreateOptions{Name: "x", Options: map[string]string{"foo": "bar"}}, `unsupported option "foo"`, BridgeNameOption},
		{CreateOptions{Name: "x", Options: map[string]string{"com.docker.network.driver.mtu": "67"}}, "invalid value for MTU: 67", "65535"},
		{CreateOptions{Name: "x", Options: map[string]string{"com.docker.network.bridge.enable_ip_masquerade": "maybe"}}, "invalid value for masquerading: maybe", ""},
		{CreateOptions{Name: "x", Options: map[string]string{BridgeNameOption: "sixteencharacter"}}, "invalid bridge name", "15"},
		{CreateOptions{Name: "x", Options: map[string]string{BridgeNameOption: "a/b"}}, "invalid bridge name", ""},
		{CreateOptions{Name: "x", Options: map[string]string{BridgeNameOption: "a;b"}}, "invalid bridge name", "letters"},
		{CreateOptions{Name: "x", Options: map[string]string{BridgeNameOption: "all"}}, "invalid bridge name", "settings"},
		{CreateOptions{Name: "x", Options: map[string]string{BridgeNameOption: "there0"}}, "networks have same bridge name", "network there"},
		{CreateOptions{Name: "x", Gateway: ip("10.1.0.1")}, "every ip-range or gateway must have a corresponding subnet", ""},
		{subnet("10.9.0.0/16"), "invalid pool request: Pool overlaps with other one on this address space", "network there"},
		{subnet("10.9.0.128/25"), "invalid pool request: Pool overlaps with other one on this address space", "network there"},
		{subnet("10.0.0.0/16"), "invalid pool request: Pool overlaps with other one on this address space", "eth0"},
		{subnet("10.8.0.5/24"), "invalid subnet 10.8.0.5/24: it should be 10.8.0.0/24", ""},
		{subnet("127.0.0.0/8"), "invalid subnet 127.0.0.0/8", ""},
		{subnet("120.0.0.0/5"), "invalid subnet 120.0.0.0/5", ""},
		{subnet("224.0.0.0/24"), "invalid subnet 224.0.0.0/24", ""},
		{subnet("0.0.0.0/0"), "invalid subnet 0.0.0.0/0", ""},
		{subnet("fd00::/64"), "minidock has no IPv6 yet", ""},
		{subnet("10.8.0.0/31"), "failed to allocate gateway (): No available addresses on this pool", "/30"},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.Gateway = ip("10.8.1.1") }), "parent subnet 10.8.0.0/24 doesn't contain this address", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.Gateway = ip("::1") }), "invalid gateway ::1", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.Gateway = ip("10.8.0.0") }), "failed to allocate gateway (10.8.0.0): Address already in use", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.Gateway = ip("10.8.0.255") }), "failed to allocate gateway (10.8.0.255): Address already in use", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.IPRange = prefix("10.8.1.0/25") }), "parent subnet 10.8.0.0/24 doesn't contain ip-range", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.IPRange = prefix("10.8.0.0/16") }), "CIDR block is bigger than its parent subnet", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.IPRange = prefix("10.8.0.3/25") }), "it should be 10.8.0.0/25", ""},
		{with(subnet("10.8.0.0/24"), func(o *CreateOptions) { o.IPRange = prefix("fd00::/96") }), "parent subnet is an IPv4 block", ""},
	} {
		_, err := s.Create(c.o, nil)
		fault(t, err, c.msg, c.hint)
	}
	if diff := cmp.Diff(before, s.files(t)); diff != "" {
		t.Errorf("a refused network left something (-before +after)\n%s", diff)
	}
}

func TestRemovedNetworkLeavesNothing(t *testing.T) {
	s := newStore(t)
	made := s.mustCreate(t, CreateOptions{Name: "web"})
	var told []string
	removed, err := s.Remove(made.ID[:12], func(r steps.Record) { told = append(told, string(r.State)+" "+string(r.Kind)) })
	if err != nil || removed.Name != "web" {
		t.Fatal(removed, err)
	}
	if left := s.files(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if got := strings.Join(told, ", "); got != "undone network" {
		t.Errorf("told %s", got)
	}
	for _, ref := range []string{"web", made.ID} {
		_, err = s.Remove(ref, nil)
		fault(t, err, "network "+ref+" not found", "network ls")
		if !errors.Is(err, ErrNoNetwork) {
			t.Errorf("%v is not ErrNoNetwork", err)
		}
	}
	s.mustCreate(t, CreateOptions{Name: "web"})
}

func TestPredefinedNetworksStay(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"bridge", "host", "none"} {
		n, err := s.Find(name)
		if err != nil || n.Subnet.IsValid() || len(n.ID) != 64 {
			t.Errorf("find %s: %+v, %v", name, n, err)
		}
		_, err = s.Remove(n.ID, nil)
		fault(t, err, name+" is a pre-defined network and cannot be removed", "")
	}
	if left := s.files(t); len(left) > 0 {
		t.Errorf("looking makes %q", left)
	}
}

func TestDefaultIsMadeWhenItIsNeeded(t *testing.T) {
	s := newStore(t)
	before, _ := s.Find(Default)
	other := s.mustCreate(t, CreateOptions{Name: "web"})
	steps1 := 0
	n, err := s.Need(Default, func(steps.Record) { steps1++ })
	if err != nil || n.Subnet != prefix("172.17.0.0/16") || n.Gateway != ip("172.17.0.1") || n.ID != before.ID || steps1 == 0 {
		t.Errorf("%+v, %v, %d steps; ID before %s", n, err, steps1, before.ID)
	}
	if other.Subnet != prefix("172.18.0.0/16") {
		t.Errorf("the first of the user's networks has %s", other.Subnet)
	}
	again, err := s.Need(n.ID[:10], func(r steps.Record) { t.Errorf("told %s again", r.Kind) })
	if err != nil || again.Created != n.Created {
		t.Errorf("needed again: %+v, %v", again, err)
	}
	if host, err := s.Need(Host, nil); err != nil || host.Driver != "host" {
		t.Errorf("%+v, %v", host, err)
	}
}

// Killed before any step, or in it, a create leaves nothing that a clean-up does not
// find, nor anything that keeps the name.
func TestHalfMadeNetworkIsTakenBack(t *testing.T) {
	for kill := range 3 {
		s := newStore(t)
		if err := s.halfMake("web", kill); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find("web"); !errors.Is(err, ErrNoNetwork) {
			t.Errorf("killed at %d: found, %v", kill, err)
		}
		dry, err := s.Cleanup(true)
		if err != nil || len(dry) == 0 && kill > 0 {
			t.Errorf("killed at %d: would undo %v, %v", kill, dry, err)
		}
		if _, err := s.Cleanup(false); err != nil {
			t.Error(err)
		}
		if left := s.files(t); len(left) > 0 {
			t.Errorf("killed at %d: left %q", kill, left)
		}
		if again, err := s.Cleanup(true); len(again) > 0 || err != nil {
			t.Errorf("killed at %d: still %v, %v", kill, again, err)
		}
		if err := s.halfMake("web", kill); err != nil {
			t.Fatal(err)
		}
		s.mustCreate(t, CreateOptions{Name: "web"}) // Without a clean-up, too.
	}
}

// halfMake does what a create did that was killed after so many acts.
func (s *Store) halfMake(name string, acts int) error {
	ledger, err := steps.Open(s.Ledger(name), nil)
	if err != nil {
		return err
	}
	killed := errors.New("killed")
	err = ledger.Do(steps.Step{Kind: KindNetwork, Target: s.dir(name), Lifetime: steps.Kept}, func() error {
		if acts > 0 {
			_ = os.MkdirAll(s.dir(name), 0o700)
		}
		if acts > 1 {
			_ = os.Mkdir(s.leases(name), 0o700)
			_ = os.WriteFile(s.file(name)+steps.PartSuffix, []byte("{"), 0o600)
		}
		return killed
	})
	if !errors.Is(err, killed) {
		return err
	}
	// A killed process does not write down how its act went.
	text, err := os.ReadFile(s.Ledger(name).Kept)
	begun, _, _ := strings.Cut(string(text), "\n")
	return errors.Join(err, os.WriteFile(s.Ledger(name).Kept, []byte(begun+"\n"), 0o600), ledger.Close())
}

func TestHalfRemovedNetworkGoesOrComesBack(t *testing.T) {
	for _, leased := range []bool{false, true} {
		s := newStore(t)
		n := s.mustCreate(t, CreateOptions{Name: "web"})
		if leased {
			c := newContainer(t, s)
			c.mustLease(n)
		}
		// Killed when network.json had been taken away.
		if err := os.Rename(s.file("web"), s.file("web")+leaving); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Cleanup(false); err != nil {
			t.Error(err)
		}
		_, err := s.Find("web")
		if leased && err != nil || !leased && !errors.Is(err, ErrNoNetwork) {
			t.Errorf("leased %v: %v", leased, err)
		}
		if left := s.files(t); !leased && len(left) > 0 {
			t.Errorf("left %q", left)
		}
	}
}

// A power cut may take the ledger, which is not synced.
func TestNetworkGoesWithoutItsLedger(t *testing.T) {
	s := newStore(t)
	s.mustCreate(t, CreateOptions{Name: "web"})
	if err := os.Remove(s.Ledger("web").Kept); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove("web", nil); err != nil {
		t.Error(err)
	}
	if left := s.files(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if err := s.halfMake("web", 2); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Ledger("web").Kept); err != nil {
		t.Fatal(err)
	}
	if dry, err := s.Cleanup(true); err != nil || len(dry) != 1 {
		t.Errorf("would undo %v, %v", dry, err)
	}
	if _, err := s.Cleanup(false); err != nil {
		t.Error(err)
	}
	if left := s.files(t); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestStateCutShortIsAnErrorThatNamesTheFile(t *testing.T) {
	s := newStore(t)
	n := s.mustCreate(t, CreateOptions{Name: "web"})
	text, err := os.ReadFile(s.file("web"))
	if err != nil {
		t.Fatal(err)
	}
	for length := range len(text) - 1 {
		if err := os.WriteFile(s.file("web"), text[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Find("web")
		fault(t, err, s.file("web"), "")
		if _, err := s.Find(n.ID[:12]); err == nil {
			t.Errorf("cut at %d: found by ID", length)
		}
		if list, err := s.List(); err == nil || len(list) != 3 {
			t.Errorf("cut at %d: listed %d, %v", length, len(list), err)
		}
		if t.Failed() {
			return
		}
	}
	for _, edited := range []string{"{}", `{"Name":"other"}`, strings.Replace(string(text), `"172.18.0.0/16"`, `"::/0"`, 1), strings.Replace(string(text), `"172.18.0.1"`, `""`, 1), strings.Replace(string(text), `"Gateway"`, `"IPRange": "0.0.0.0/0", "Gateway"`, 1)} {
		if err := os.WriteFile(s.file("web"), []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Find("web")
		fault(t, err, "it does not describe network web", "")
	}
}

func TestPruneLeavesWhatIsInUseOrNotWanted(t *testing.T) {
	s := newStore(t)
	if _, err := s.Need(Default, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"free", "kept", "used"} {
		s.mustCreate(t, CreateOptions{Name: name})
	}
	used, _ := s.Find("used")
	newContainer(t, s).mustLease(used)
	removed, err := s.Prune(func(n Network) bool { return n.Name != "kept" })
	if err != nil || !slices.Equal(removed, []string{"free"}) {
		t.Errorf("removed %q, %v", removed, err)
	}
	if list, _ := s.List(); len(list) != 5 {
		t.Errorf("left %v", list)
	}
}

func TestAmbiguousIDIsRefused(t *testing.T) {
	s := newStore(t)
	for range 17 { // More than there are hex digits: two begin with the same.
		s.mustCreate(t, CreateOptions{Name: "n" + newID()[:8], Subnet: s.freeTestSubnet(t)})
	}
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	first := map[byte]int{}
	for _, n := range list {
		first[n.ID[0]]++
	}
	for digit, count := range first {
		found, err := s.Find(string(digit))
		if count == 1 {
			if err != nil || found.ID[0] != digit {
				t.Errorf("%c: %v, %v", digit, found.ID, err)
			}
			continue
		}
		fault(t, err, "is ambiguous (", "")
	}
}

// freeTestSubnet is one that none of the test's networks has.
func (s *Store) freeTestSubnet(t *testing.T) netip.Prefix {
	t.Helper()
	all, err := s.stored()
	if err != nil {
		t.Fatal(err)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(len(all)), 0, 0}), 24)
}

// The shell lines of a story build the same files as the story's calls did.
func TestShellLinesMakeTheSameNetwork(t *testing.T) {
	s := newStore(t)
	var lines []string
	tell := func(r steps.Record) {
		if r.State == steps.Begun {
			lines = append(lines, r.Shell...)
		}
	}
	n, err := s.Create(CreateOptions{Name: "web", Labels: map[string]string{"it's": "50% \\ \n"}}, tell)
	if err != nil {
		t.Fatal(err)
	}
	c := newContainer(t, s)
	c.tell = tell
	c.mustLease(n)
	if err := PublishResident(c.ledger(), s.place, "web", Resident{ID: c.id, Name: "c", Address: ip("172.18.0.2")}); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "by-hand")
	if err := errors.Join(os.MkdirAll(filepath.Join(other, "root", "networks"), 0o700), os.MkdirAll(filepath.Join(other, "run", "networks", "web"), 0o700)); err != nil {
		t.Fatal(err)
	}
	base := filepath.Dir(s.place.Root)
	script := strings.ReplaceAll(strings.Join(lines, "\n"), base, other)
	if out, err := exec.Command("sh", "-e", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script)
	}
	for _, dir := range []string{"root/networks", "run/networks"} {
		if out, err := exec.Command("diff", "-r", "--no-dereference", filepath.Join(base, dir), filepath.Join(other, dir)).CombinedOutput(); err != nil {
			t.Errorf("%s\n%s", script, out)
		}
	}
}

func TestResidentsComeAndGo(t *testing.T) {
	s := newStore(t)
	s.mustCreate(t, CreateOptions{Name: "web"})
	c := newContainer(t, s)
	in := Resident{ID: c.id, Name: "c", Hostname: "h", Aliases: []string{"a"}, Address: ip("172.18.0.2"), MAC: "02:00:00:00:00:01"}
	ledger := c.ledger()
	if err := PublishResident(ledger, s.place, "web", in); err != nil {
		t.Fatal(err)
	}
	got, err := s.Residents("web")
	if err != nil || len(got) != 1 || !cmp.Equal(got[0], in, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		if err := WithdrawResident(ledger, s.place, "web", c.id); err != nil {
			t.Error(err)
		}
	}
	if got, err := s.Residents("web"); err != nil || len(got) > 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Residents("nowhere"); err != nil {
		t.Error(err)
	}
}

func FuzzNetworkFile(f *testing.F) {
	f.Add([]byte(`{"Name":"web","ID":"` + strings.Repeat("0", 64) + `","Driver":"bridge","Subnet":"10.0.0.0/24","IPRange":"10.0.0.0/25","Gateway":"10.0.0.1"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newStore(t)
		if err := errors.Join(os.MkdirAll(s.leases("web"), 0o700), os.WriteFile(s.file("web"), text, 0o600)); err != nil {
			t.Fatal(err)
		}
		n, err := s.Find("web")
		if err != nil {
			return
		}
		if a, found := lowestFree(n, nil); found && !usable(n.Subnet, a) {
			t.Errorf("%s: the lowest free address of %+v is %s", text, n, a)
		}
	})
}

func TestManyAtOnceMakeOneNetworkOfAName(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	var group sync.WaitGroup
	made := map[netip.Prefix]string{}
	count := map[string]int{}
	for i := range 40 {
		group.Go(func() {
			name := fmt.Sprintf("n%d", i%20)
			n, err := s.Create(CreateOptions{Name: name}, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fault(t, err, "network with name "+name+" already exists", "")
				return
			}
			if other, twice := made[n.Subnet]; twice {
				t.Errorf("%s and %s have %s", other, name, n.Subnet)
			}
			made[n.Subnet] = name
			count[name]++
		})
	}
	group.Wait()
	for name, n := range count {
		if n != 1 {
			t.Errorf("%s was made %d times", name, n)
		}
	}
	if len(count) != 20 {
		t.Errorf("%d networks were made", len(count))
	}
}
