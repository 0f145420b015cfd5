package netns

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/minidock/minidock/internal/require"
)

// needsNamespaces skips where no namespace and no rule can be made.
func needsNamespaces(t *testing.T) {
	t.Helper()
	require.Needs(t, require.Root, require.Namespaces)
	for _, tool := range []string{"nft", "nsenter", "unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			require.Lacks(t, tool+" is not installed")
		}
	}
}

// namespace makes one by hand, with its loopback link up, for as long as the test runs.
func namespace(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shell(t, "unshare --net="+file+" ip link set lo up")
	t.Cleanup(func() { shell(t, "umount "+file) })
	return file
}

func shell(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// asksInside asks from within a namespace.
func asksInside(t *testing.T, file, network, at, name string) (*dns.Msg, error) {
	t.Helper()
	var conn net.Conn
	if err := Inside(file, func() (err error) {
		conn, err = net.DialTimeout(network, at, patient)
		return err
	}); err != nil {
		return nil, err
	}
	defer conn.Close()
	m, _, err := (&dns.Client{Net: network, Timeout: patient}).ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), &dns.Conn{Conn: conn})
	return m, err
}

// resolving starts a resolver for a namespace.
func resolving(t *testing.T, file string, forward *Forwarder) {
	t.Helper()
	sockets, err := ListenDNS(newLedger(t), file)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(sockets.Packets, sockets.Streams, twoNetworks(), forward)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

const atPort53 = ResolverAddress + ":53"

func TestAContainerFindsItsResolverAtPort53(t *testing.T) {
	needsNamespaces(t)
	file := namespace(t)
	// The upstream is in the test's namespace; the container has no way there.
	up := upstream(t, replies, replies)
	resolving(t, file, quickForwarder(up))
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]string{"web": "172.18.0.2", "far.test": "192.0.2.1"} {
			m, err := asksInside(t, file, network, atPort53, name)
			if err != nil {
				t.Fatalf("%s %s: %v", network, name, err)
			}
			if got := given(m); len(got) != 1 || got[0] != want {
				t.Errorf("%s %s: %v", network, name, m)
			}
		}
	}
	if _, err := asksInside(t, file, "tcp", up.String(), "far.test"); err == nil {
		t.Error("the container reaches the upstream by itself")
	}
	if conn, err := net.DialTimeout("tcp", atPort53, time.Second); err == nil {
		conn.Close()
		t.Error("the resolver is outside of the container, too")
	}
}

// A name server in the container may listen at every address' port 53: the resolver's
// questions still reach the resolver, and all others the name server.
func TestAContainerMayRunANameServerOfItsOwn(t *testing.T) {
	needsNamespaces(t)
	file := namespace(t)
	resolving(t, file, quickForwarder())
	var packets net.PacketConn
	var streams net.Listener
	if err := Inside(file, func() (err error) {
		if packets, err = net.ListenPacket("udp4", "0.0.0.0:53"); err == nil {
			streams, err = net.Listen("tcp4", "0.0.0.0:53")
		}
		return err
	}); err != nil {
		t.Fatalf("listen at port 53: %v", err)
	}
	for _, s := range []*dns.Server{{PacketConn: packets, Handler: dns.HandlerFunc(replies)}, {Listener: streams, Handler: dns.HandlerFunc(replies)}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		defer func() { _ = s.Shutdown() }()
	}
	for _, network := range []string{"udp", "tcp"} {
		for at, want := range map[string]string{atPort53: "172.18.0.2", "127.0.0.1:53": "192.0.2.1"} {
			m, err := asksInside(t, file, network, at, "web")
			if err != nil {
				t.Fatalf("%s %s: %v", network, at, err)
			}
			if got := given(m); len(got) != 1 || got[0] != want {
				t.Errorf("%s %s: %v", network, at, m)
			}
		}
	}
}

// askAtPort53 asks over both protocols.
func askAtPort53(t *testing.T, file string) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		m, err := asksInside(t, file, network, atPort53, "web")
		if err != nil || len(given(m)) != 1 {
			t.Errorf("%s: %v, %v", network, m, err)
		}
	}
}

// Tracking would make every packet of the container dearer, not only its questions.
func TestTheResolversRulesHaveNoConnectionTracked(t *testing.T) {
	needsNamespaces(t)
	file := namespace(t)
	resolving(t, file, quickForwarder())
	askAtPort53(t, file)
	// The file is there, in each namespace, as soon as anybody on this machine tracks.
	tracked := shell(t, "nsenter --net="+file+" sh -c 'cat /proc/sys/net/netfilter/nf_conntrack_count 2>/dev/null || echo 0'")
	if strings.TrimSpace(tracked) != "0" {
		t.Errorf("%s connections are tracked", tracked)
	}
}

// A container may have rules that track connections, and drop what belongs to none.
func TestTheResolverIsHeardWhereAContainerTracksConnections(t *testing.T) {
	needsNamespaces(t)
	file := namespace(t)
	resolving(t, file, quickForwarder())
	for _, rule := range []string{
		"table ip own", "chain ip own input { type filter hook input priority 0 ; }", "chain ip own output { type filter hook output priority 0 ; }",
		"chain ip own nat { type nat hook postrouting priority 100 ; }", "rule ip own nat oifname eth0 masquerade",
		"rule ip own input ct state invalid counter drop", "rule ip own output ct state invalid counter drop",
	} {
		shell(t, "nsenter --net="+file+" nft 'add "+rule+"'")
	}
	askAtPort53(t, file)
	if rules := shell(t, "nsenter --net="+file+" nft list table ip own"); strings.Count(rules, "packets 0 bytes 0 drop") != 2 {
		t.Errorf("something was dropped: %s", rules)
	}
	if tracked := shell(t, "nsenter --net="+file+" cat /proc/sys/net/netfilter/nf_conntrack_count"); strings.TrimSpace(tracked) == "0" {
		t.Error("nothing was tracked, so this test has shown nothing")
	}
}

// The told shell lines, in another namespace, make the same rules.
func TestShellLeadsPort53ToTheSamePlace(t *testing.T) {
	needsNamespaces(t)
	file, byHand := namespace(t), namespace(t)
	ledger := newLedger(t)
	sockets, err := ListenDNS(ledger, file)
	if err != nil {
		t.Fatal(err)
	}
	defer sockets.Close()
	records := ledger.Records()
	if len(records) != 2 || records[0].Kind != KindResolver || records[1].Kind != KindResolverRule {
		t.Fatalf("told: %v", records)
	}
	for _, command := range records[1].Shell {
		shell(t, strings.ReplaceAll(command, file, byHand))
	}
	list := func(ns string) string { return shell(t, "nsenter --net="+ns+" nft -s list ruleset") }
	if diff := cmp.Diff(list(byHand), list(file)); diff != "" {
		t.Errorf("(-shell +netlink):\n%s", diff)
	}
	rules := list(file)
	for _, want := range []string{"udp dport 53 counter udp dport set ", "tcp dport 53 counter tcp dport set ", "ip daddr != 127.0.0.11 accept", `hook ingress device "lo"`, "udp sport set 53 ", "tcp sport set 53 ", resolverComment} {
		if !strings.Contains(rules, want) {
			t.Errorf("%q is not in %s", want, rules)
		}
	}
	for _, r := range records {
		shell(t, r.See)
	}
	shell(t, records[1].Undo)
	if rules := list(file); rules != "" {
		t.Errorf("after the undo: %s", rules)
	}
	if out := shell(t, "nft list tables"); strings.Contains(out, "minidock") {
		t.Errorf("outside: %s", out)
	}
}

func TestListeningInNoNamespaceIsAnError(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{plain, plain + "-missing"} {
		if _, err := ListenDNS(newLedger(t), file); err == nil || !strings.Contains(err.Error(), "namespace") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// From a container that comes to its name in another's resolver: all parts together.
func TestANewContainerIsResolvedWithin100Milliseconds(t *testing.T) {
	place := Place{Run: t.TempDir()}
	publish(t, newLedger(t), place, "n", resident("own", "10.0.0.2"))
	s, at := served(t, NewTable(), quickForwarder())
	s.Consult(FollowResidents(place, View{Network: "n"}).Table)
	best := time.Hour
	for range 5 {
		ledger := newLedger(t)
		start := time.Now()
		publish(t, ledger, place, "n", resident("web", "10.0.0.3"))
		for deadline := start.Add(patient); len(given(exchange(t, "udp", at, "web"))) == 0; {
			if time.Now().After(deadline) {
				t.Fatal("never seen")
			}
		}
		best = min(best, time.Since(start))
		if err := undoResident(ledger.Records()[0].Target); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patient); len(given(exchange(t, "udp", at, "web"))) != 0; {
			if time.Now().After(deadline) {
				t.Fatal("never gone")
			}
		}
	}
	t.Logf("resolved after %v", best)
	if best > seen() {
		t.Errorf("resolved after %v", best)
	}
}
