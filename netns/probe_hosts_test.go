package netns

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/internal/hosts"
)

func outcome(t *testing.T, from *hosts.Host, proto, to string, port uint16) Outcome {
	t.Helper()
	p := Probe{Namespace: from.File, To: netip.MustParseAddr(to), Port: port, Proto: proto, Timeout: silence}
	e, err := p.Send()
	if err != nil {
		t.Fatal(err)
	}
	return e.Outcome
}

// A probe comes back as what really happened to it.
func TestProbes(t *testing.T) {
	w := newWorld(t)
	w.up(netA(), netB())
	w.container("a1", 2, netA())
	w.container("b1", 2, netB())
	a2, alone := w.bare("a2", 3, netA()), hosts.New(t, "alone")
	for _, c := range []struct {
		from      *hosts.Host
		proto, to string
		port      uint16
		want      Outcome
	}{
		{a2, "tcp", "172.18.0.2", 80, Answered},
		{a2, "udp", "172.18.0.2", 80, Answered},
		{a2, "icmp", "172.18.0.2", 0, Answered},
		{a2, "tcp", "172.18.0.2", 81, Refused},
		{a2, "udp", "172.18.0.2", 81, Refused},
		{a2, "tcp", "172.19.0.2", 80, Silent},
		{a2, "udp", "172.19.0.2", 80, Silent},
		{a2, "icmp", "172.19.0.2", 0, Silent},
		{a2, "icmp", "203.0.113.9", 0, Answered},
		{a2, "icmp", "192.0.2.1", 0, Unreachable}, // The router knows no way.
		{alone, "tcp", "172.18.0.2", 80, Unreachable},
		{alone, "udp", "172.18.0.2", 80, Unreachable},
		{alone, "icmp", "172.18.0.2", 0, Unreachable},
	} {
		if got := outcome(t, c.from, c.proto, c.to, c.port); got != c.want {
			t.Errorf("%s calls %s %s:%d: %s, not %s", c.from.Name, c.proto, c.to, c.port, got, c.want)
		}
	}
	if _, err := (Probe{To: netip.MustParseAddr("127.0.0.1"), Proto: "sctp"}).Send(); err == nil {
		t.Error("no error for a protocol that is not known")
	}
}

// The kernel's own decisions are told.
func TestWays(t *testing.T) {
	w := newWorld(t)
	w.up(netA(), netB())
	a, both := w.container("a1", 2, netA()), w.bare("both", 3, netA(), netB())
	bridgeA, bridgeB := BridgeName("minidock", netA()), BridgeName("minidock", netB())
	address := netip.MustParseAddr
	way := func(got Way, err error) Way {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for name, c := range map[string]struct{ got, want Way }{
		"at hand":      {way(WayTo(a.File, address("172.18.0.3"))), Way{Link: "eth0", Source: address("172.18.0.2")}},
		"by a router":  {way(WayTo(a.File, address("172.19.0.3"))), Way{Link: "eth0", Via: address("172.18.0.1"), Source: address("172.18.0.2")}},
		"second link":  {way(WayTo(both.File, address("172.19.0.9"))), Way{Link: "eth1", Source: address("172.19.0.3")}},
		"itself":       {way(WayTo(a.File, address("172.18.0.2"))), Way{Link: "lo", Source: address("172.18.0.2"), Local: true}},
		"the host":     {way(WayTo(w.host.File, address("172.18.0.2"))), Way{Link: bridgeA, Source: address("172.18.0.1")}},
		"through":      {way(WayThrough(w.host.File, address("172.19.0.3"), address("172.18.0.2"), bridgeA)), Way{Link: bridgeB}},
		"through, out": {way(WayThrough(w.host.File, address("192.0.2.1"), address("172.18.0.2"), bridgeA)), Way{Link: "net0", Via: address("198.51.100.1")}},
	} {
		c.got.Source = sourceIf(c.want, c.got)
		if c.got != c.want {
			t.Errorf("%s: %+v, not %+v", name, c.got, c.want)
		}
	}
	if got := way(WayTo(hosts.New(t, "alone").File, address("192.0.2.1"))); got.None == "" {
		t.Errorf("%+v where there is no way", got)
	}
	w.host.Must(func() error {
		port, bridge, err := FollowCable(both.File, "eth1")
		if err == nil && (bridge != bridgeB || port.Passing != "forwarding" || !strings.HasSuffix(port.Name, ".1")) {
			t.Errorf("eth1 leads to %+v of %s", port, bridge)
		}
		if _, _, err := FollowCable(both.File, "lo"); err == nil {
			t.Error("lo has another end")
		}
		return err
	})
}

// sourceIf leaves out a source that is not asked about.
func sourceIf(want, got Way) netip.Addr {
	if !want.Source.IsValid() {
		return netip.Addr{}
	}
	return got.Source
}

func TestNobodyHasTheAddress(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	a := w.container("a1", 2, netA())
	outcome(t, a, "icmp", "172.18.0.77", 0)
	unheard, err := Unheard(a.File, "eth0", netip.MustParseAddr("172.18.0.77"))
	if err != nil || !unheard {
		t.Errorf("of nobody: %v, %v", unheard, err)
	}
	outcome(t, a, "icmp", "172.18.0.1", 0)
	unheard, err = Unheard(a.File, "eth0", netip.MustParseAddr("172.18.0.1"))
	if err != nil || unheard {
		t.Errorf("of the gateway: %v, %v", unheard, err)
	}
}

// lookedAt is a network with a container that has a resolver, and how it is looked at.
func lookedAt(t *testing.T) (w *world, look func() Picture) {
	t.Helper()
	w = newWorld(t)
	w.up(netA())
	a := w.container("a1", 2, netA())
	id := w.plug(a.File, 1, netA(), 0, 2).Container
	resident := Resident{ID: id, Name: "web", Hostname: "web", Address: netip.MustParseAddr("172.18.0.2")}
	resident.MAC = lastField(a.Run("ip -o link show eth0 | grep -o 'ether [0-9a-f:]*'"))
	if err := PublishResident(w.ledger, w.store.place, "a", resident); err != nil {
		t.Fatal(err)
	}
	leases := w.store.leases("a")
	if err := os.MkdirAll(leases, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../containers/"+id, leases+"/172.18.0.2"); err != nil {
		t.Fatal(err)
	}
	sockets, err := ListenDNS(w.ledger, a.File)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(sockets.Packets, sockets.Streams, NewTable(View{Network: "a", Residents: []Resident{resident}}), NewForwarder(true))
	go func() { _ = server.Serve() }() // It ends with its sockets.
	t.Cleanup(func() { _ = server.Close() })
	return w, func() (p Picture) {
		t.Helper()
		w.host.Must(func() (err error) {
			p, err = w.store.Look(netA(), func(string) string { return a.File })
			return err
		})
		p.Forwarding = true // That of the test's own namespace is read.
		return p
	}
}

func lastField(text string) string {
	fields := strings.Fields(text)
	return fields[len(fields)-1]
}

func TestPictureIsWhatTheKernelHas(t *testing.T) {
	w, look := lookedAt(t)
	p := look()
	if all := p.Differences(); len(all) > 0 {
		t.Errorf("differences: %q", all)
	}
	if len(p.Cables) != 1 || p.Cables[0].Inside == nil {
		t.Fatalf("%+v", p.Cables)
	}
	inside := p.Cables[0].Inside
	if inside.Link != "eth0" || inside.Default.String() != "172.18.0.1" || inside.Heard["web"].Words() != "172.18.0.2" {
		t.Errorf("%+v", inside)
	}
	bridge := BridgeName("minidock", netA())
	for _, c := range []struct{ spoil, mend, want string }{
		{"ip link set " + bridge + " down", "ip link set " + bridge + " up", "bridge " + bridge + " is down"},
		{"nft delete element ip minidock bridges { " + bridge + " }", "nft add element ip minidock bridges { " + bridge + " }", "set bridges does not have the network"},
		{"nft add element ip minidock internal { " + bridge + " }", "nft delete element ip minidock internal { " + bridge + " }", "set internal has the network"},
		{"ip address delete 172.18.0.1/24 dev " + bridge, "ip address add 172.18.0.1/24 brd + dev " + bridge, "lacks the gateway's address"},
		{"ip link add s0 type veth peer name s1; ip link set s0 master " + bridge, "ip link delete s0", "s0 is plugged into the bridge"},
		{"ip link set " + p.Cables[0].Name + " nomaster", "ip link set " + p.Cables[0].Name + " master " + bridge, "the bridge has no cable of it"},
	} {
		w.host.Run(c.spoil)
		if all := strings.Join(look().Differences(), "\n"); !strings.Contains(all, c.want) {
			t.Errorf("after %s: %q", c.spoil, all)
		}
		w.host.Run(c.mend)
	}
	a := hosts.Open(t, "a1", inside.Namespace)
	a.Run("ip address flush dev eth0; ip address add 172.18.0.9/24 dev eth0")
	if all := look().Differences(); len(all) != 1 || !strings.Contains(all[0], "the file says 172.18.0.2/24, and eth0 has [172.18.0.9/24]") {
		t.Errorf("%q", all)
	}
	w.host.Run("ip link delete " + bridge + "; nft delete table ip minidock")
	all := look().Differences()
	want := []string{
		"the kernel has no link " + bridge + ": the network's next container makes the bridge again",
		"web: a file says that it runs here, and the bridge has no cable of it",
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}

func TestAskTellsWhyThereIsNoAnswer(t *testing.T) {
	needsHosts(t)
	alone := hosts.New(t, "alone")
	ask := func(server string) Answer {
		t.Helper()
		a, err := Ask(alone.File, netip.MustParseAddrPort(server), "web", 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask("127.0.0.1:53"); a.Words() != "connection refused" {
		t.Errorf("nobody listens: %q", a.Words())
	}
	if a := ask("192.0.2.1:53"); a.Words() != "network is unreachable" {
		t.Errorf("no way: %q", a.Words())
	}
	alone.Run("ip link add d0 type veth peer name d1; ip address add 192.0.2.2/24 dev d0; ip link set d0 up; ip link set d1 up")
	if a := ask("192.0.2.1:53"); a.Words() != "no answer in time" {
		t.Errorf("nobody there: %q", a.Words())
	}
	for _, name := range []string{strings.Repeat("long", 16), strings.Repeat("long.", 60), "a..b", ".a"} {
		if a, err := Ask(alone.File, netip.MustParseAddrPort("127.0.0.1:53"), name, time.Second); err != nil || a.Words() != NoQuestion {
			t.Errorf("%s: %q, %v", name, a.Words(), err)
		}
	}
}

// What a probe finds at its end is seen from outside of the namespace.
func TestWhatListensAndWhatIsRead(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	a1, a2 := w.container("a1", 2, netA()), w.bare("a2", 3, netA())
	tenant := exec.Command("sleep", "300")
	a1.Must(tenant.Start)
	t.Cleanup(func() { _ = tenant.Process.Kill(); _ = tenant.Wait() })
	for _, proto := range []string{"tcp", "udp"} {
		all, err := Listening(tenant.Process.Pid, proto)
		if err != nil || len(all) != 1 || all[0].String() != "0.0.0.0:80" {
			t.Errorf("%s: %v, %v", proto, all, err)
		}
	}
	read := func() uint64 {
		n, err := DatagramsRead(tenant.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := read()
	outcome(t, a2, "udp", "172.18.0.2", 81)
	if now := read(); now != before {
		t.Errorf("%d datagrams were read at a port where nobody listens", now-before)
	}
	outcome(t, a2, "udp", "172.18.0.2", 80)
	if now := read(); now != before+1 {
		t.Errorf("%d datagrams were read, of one", now-before)
	}
}
