package netns

import (
	"slices"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

func TestObstaclesAndTheirFix(t *testing.T) {
	for name, c := range map[string]struct{ rules, chain, owner, tool string }{
		"nft":    {"table inet wall { chain through { type filter hook forward priority 10; policy drop; }; }", "inet wall through", "", "nft"},
		"plain":  {"table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }", "ip filter FORWARD", "iptables", "iptables"},
		"Docker": {"table ip filter { chain DOCKER-USER { }; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }; }", "ip filter FORWARD", "Docker", "iptables"},
		"ufw":    {"table ip filter { chain ufw-before-forward { }; chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }; }", "ip filter FORWARD", "ufw", "ufw"},
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
			blocked(t, w.outside, "tcp", hostAddress+":8080")
			if slices.ContainsFunc(found[0].Fix, func(line string) bool { return !strings.HasPrefix(line, c.tool) }) {
				t.Errorf("the fix is not by %s: %q", c.tool, found[0].Fix)
			}
			if c.tool == "ufw" {
				return // It is known and named; a fix by ufw needs ufw's own rules.
			}
			w.host.Run(strings.Join(found[0].Fix, "\n"))
			reaches(t, a1, "tcp", "203.0.113.9:80", "outside")
			reaches(t, w.outside, "tcp", hostAddress+":8080", "a1")
		})
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
