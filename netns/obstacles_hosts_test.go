package netns

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

func TestObstaclesAndTheirFix(t *testing.T) {
	firewalld := "table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept; " +
		"ct state established,related accept; iifname net0 accept; ct state invalid drop; reject with icmpx admin-prohibited; }; }"
	for name, c := range map[string]struct{ rules, chain, owner, tool string }{
		"firewalld": {firewalld, "inet firewalld filter_FORWARD", "firewalld", "firewall-cmd"},
		"last":      {"table ip last { chain through { type filter hook forward priority 10; iifname net9 accept; counter drop; }; }", "ip last through", "", "nft"},
		"nft":       {"table inet wall { chain through { type filter hook forward priority 10; policy drop; }; }", "inet wall through", "", "nft"},
		"plain":     {"table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }", "ip filter FORWARD", "iptables", "iptables"},
		"Docker":    {"table ip filter { chain DOCKER-USER { }; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }; }", "ip filter FORWARD", "Docker", "iptables"},
		"ufw":       {"table ip filter { chain ufw-before-forward { }; chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }; }", "ip filter FORWARD", "ufw", "ufw"},
	} {
		t.Run(name, func(t *testing.T) {
			needsHosts(t)
			if c.tool == "iptables" {
				require.Layers(t, "the lab VM has no iptables", "native")
				require.Needs(t, require.Iptables)
			}
			w := newWorld(t)
			w.up(netA())
			a1 := w.container("a1", 2, netA())
			w.publish("tcp 8080 172.18.0.2 80")
			w.outside.Serve("tcp", "203.0.113.9:80")
			if found := w.obstacles(); len(found) != 0 {
				t.Errorf("obstacles without any: %+v", found)
			}
			w.host.Run("nft '" + c.rules + "'")
			found := w.obstacles()
			if len(found) != 1 || found[0].Chain != c.chain || found[0].Owner != c.owner {
				t.Fatalf("found %+v, want %s of %q", found, c.chain, c.owner)
			}
			blocked(t, a1, "tcp", "203.0.113.9:80")
			if c.owner != "firewalld" {
				blocked(t, w.outside, "tcp", hostAddress+":8080")
			}
			if slices.ContainsFunc(found[0].Fix, func(line string) bool { return !strings.HasPrefix(line, c.tool) }) {
				t.Errorf("the fix is not by %s: %q", c.tool, found[0].Fix)
			}
			if c.tool == "ufw" || c.tool == "firewall-cmd" {
				return // It is known and named; the fix needs the program.
			}
			w.host.Run(strings.Join(found[0].Fix, "\n"))
			reaches(t, a1, "tcp", "203.0.113.9:80", "outside")
			reaches(t, w.outside, "tcp", hostAddress+":8080", "a1")
			if left := w.obstacles(); len(left) != 0 {
				t.Errorf("after the fix: %+v", left)
			}
		})
	}
}

// A bridge that has a name of its own is in the fix, too; and rules that somebody has
// written otherwise are understood.
func TestTheFixOfAnObstacleCoversEveryBridge(t *testing.T) {
	w := newWorld(t)
	own := netA()
	own.Options = map[string]string{BridgeNameOption: "ours"}
	own, b := w.stored(own), w.stored(netB())
	a1 := w.container("a1", 2, own)
	w.outside.Serve("tcp", "203.0.113.9:80")
	w.host.Run("nft 'table inet wall { chain through { type filter hook forward priority 10; policy drop; }; }'")
	found := w.obstacles()
	if len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	w.host.Run(strings.Join(found[0].Fix, "\n"))
	reaches(t, a1, "tcp", "203.0.113.9:80", "outside")
	if left := w.obstacles(); len(left) != 0 {
		t.Errorf("after the fix: %+v", left)
	}
	bridgeB := BridgeName(w.store.place.Instance, b)
	for rules, open := range map[string]bool{
		`iifname { "ours", "md-*" } accept; oifname { "ours", "md-*" } accept;`: true,
		`iifname { "ours", "` + bridgeB + `" } counter accept; jump more;`:      true,
		`iifname { "ours", "md-*" } accept;`:                                    false,
		`iifname "ours" accept; oifname "ours" accept;`:                         false,
		`iifname != "x" accept; oifname != "x" accept;`:                         false,
		`accept;`: true,
		`iifname "ours" jump more; oifname "o*" accept; iifname "md-*" accept; oifname "md-*" accept; iifname "ours" accept;`: true,
		`iifname "x" oifname { "ours", "md-*" } accept; oifname "x" iifname { "ours", "md-*" } accept;`:                       false,
		`iifname . oifname { "ours" . "x", "` + bridgeB + `" . "x" } accept; jump more;`:                                      false,
		`iifname "ours" drop; iifname { "ours", "md-*" } accept; jump more;`:                                                  false,
		`tcp dport 80 jump more; iifname { "ours", "md-*" } accept;`:                                                          false,
		`return; iifname { "ours", "md-*" } accept; jump more;`:                                                               false,
		`goto more; iifname { "ours", "md-*" } accept;`:                                                                       false,
		`iifname { "ours", "md-*" } tcp dport 80 accept; jump more;`:                                                          false,
	} {
		w.host.Run("nft 'flush chain inet wall through; add chain inet wall more; flush chain inet wall more; " +
			`add rule inet wall more oifname "ours" accept; add rule inet wall more oifname "md*" accept'`)
		for rule := range strings.SplitSeq(strings.TrimSuffix(rules, ";"), ";") {
			w.host.Run("nft 'add rule inet wall through " + rule + "'")
		}
		if left := w.obstacles(); (len(left) == 0) != open {
			t.Errorf("%s: %+v", rules, left)
		}
	}
}

// The older iptables keeps its rules beside nf_tables.
func TestALegacyObstacleAndItsFix(t *testing.T) {
	require.Layers(t, "the lab VM has no iptables", "native")
	require.Needs(t, require.Iptables)
	for _, c := range []struct{ rules, owner string }{
		{"iptables-legacy -P FORWARD DROP", "iptables"},
		{"iptables-legacy -N DOCKER-USER; iptables-legacy -A FORWARD -j DOCKER-USER; iptables-legacy -P FORWARD DROP", "Docker"},
	} {
		w := newWorld(t)
		w.up(netA())
		a1 := w.container("a1", 2, netA())
		w.outside.Serve("tcp", "203.0.113.9:80")
		if w.host.Run("iptables-legacy -P FORWARD ACCEPT 2>&1 || echo none") != "" {
			require.Lacks(t, "the kernel has no ip_tables")
		}
		if found := w.obstacles(); len(found) != 0 {
			t.Errorf("obstacles without any: %+v", found)
		}
		w.host.Run(c.rules)
		found := w.obstacles()
		if len(found) != 1 || found[0].Chain != "iptables-legacy filter FORWARD" || found[0].Owner != c.owner {
			t.Fatalf("found %+v", found)
		}
		blocked(t, a1, "tcp", "203.0.113.9:80")
		w.host.Run(strings.Join(found[0].Fix, "\n"))
		reaches(t, a1, "tcp", "203.0.113.9:80", "outside")
	}
}

func (w *world) obstacles() (found []Obstacle) {
	w.t.Helper()
	w.host.Must(func() (err error) {
		found, err = w.store.Obstacles()
		return err
	})
	return found
}

func TestFlushedRulesetIsMended(t *testing.T) {
	w := newWorld(t)
	w.up(netA(), netB())
	a1, b1 := w.container("a1", 2, netA()), w.container("b1", 2, netB())
	w.publish("tcp 8080 172.18.0.2 80")
	all := []Network{netA(), netB(), secret()}
	unprotected := func() (names []string) {
		w.host.Must(func() error {
			bare, err := w.store.Unprotected(all)
			for _, n := range bare {
				names = append(names, n.Name)
			}
			return err
		})
		return names
	}
	if got := unprotected(); len(got) != 0 {
		t.Errorf("without rules: %s", got)
	}
	w.host.Run("nft flush ruleset")
	if got := unprotected(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("without rules: %s", got)
	}
	reaches(t, a1, "tcp", "172.19.0.2:80", "b1") // As bad as it looks.
	w.up(netA(), netB())
	w.publish("tcp 8080 172.18.0.2 80")
	w.dropped(b1, "tcp", "172.18.0.2:80", "walls between networks")
	reaches(t, w.outside, "tcp", hostAddress+":8080", "a1")
	if got := unprotected(); len(got) != 0 {
		t.Errorf("without rules: %s", got)
	}
}

// Whoever makes the table again tells it of all that is in use: other networks' walls,
// and the ports of who runs. When they go, nothing of it stays.
func TestAFlushedRulesetIsPutBackForAll(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	a, b := w.stored(netA()), w.stored(netB())
	a1, b1 := w.container("a1", 2, a), w.container("b1", 2, b)
	w.publish("tcp 8080 172.18.0.2 80")
	w.publish("udp 127.0.0.1:8080 172.18.0.2 80")
	w.outside.Serve("tcp", "203.0.113.9:80")
	const rules = "nft -s list ruleset | sed '/chain turned_forwarding_on/,/}/d' | grep ."
	whole := w.host.Run(rules)
	w.host.Run("nft flush ruleset")
	w.store.WithPublished(func() []Publication {
		return []Publication{publication("tcp 8080 172.18.0.2 80"), publication("udp 127.0.0.1:8080 172.18.0.2 80")}
	})
	w.up(secret())
	w.host.Must(func() error { return w.store.Down(secret()) })
	if now := w.host.Run(rules); now != whole {
		t.Errorf("the ruleset was\n%s\nand is\n%s", whole, now)
	}
	w.dropped(b1, "tcp", "172.18.0.2:80", "walls between networks")
	reaches(t, w.outside, "tcp", hostAddress+":8080", "a1")
	reaches(t, w.host, "udp", "127.0.0.1:8080", "a1")
	reaches(t, a1, "tcp", "203.0.113.9:80", "outside")
	w.takeBack()
	w.host.Must(func() error { return errors.Join(w.store.Down(a), w.store.Down(b)) })
	w.host.Run("sysctl -qw net.ipv4.ip_forward=0") // The note that it was off went with the ruleset.
	if after := w.state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// stored puts a network on the disk, too, and makes it on the host.
func (w *world) stored(n Network) Network {
	w.t.Helper()
	text, err := encode(n)
	if err := errors.Join(err, os.MkdirAll(w.store.dir(n.Name), 0o700), os.WriteFile(w.store.file(n.Name), text, 0o600)); err != nil {
		w.t.Fatal(err)
	}
	w.up(n)
	return n
}
