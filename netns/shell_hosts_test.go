package netns

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/internal/hosts"
)

// The shell lines that are told, pasted into a root shell on another host, build
// the same bridges, pairs, addresses, routes, rules and settings.
func TestShellLinesBuildTheSame(t *testing.T) {
	w := newWorld(t)
	w.host.Run("sysctl -qw net.ipv4.conf.all.accept_redirects=0") // As on a hardened host: one step more.
	n := netA()
	n.Options = map[string]string{optionMTU: "1400", BridgeNameOption: "lab"}
	unmasked := netB()
	unmasked.Options = map[string]string{optionMasquerade: "false"}
	w.up(n, unmasked, secret())
	w.bare("both", 2, n, secret())
	w.bare("default", 3, defaultNetwork())
	w.publish("tcp 8080 172.18.0.2 80")
	w.publish("udp 198.51.100.2:53 172.18.0.2 5353")

	other := newWorld(t)
	other.host.Run("sysctl -qw net.ipv4.conf.all.accept_redirects=0")
	for _, r := range w.ledger.Records() {
		lines := strings.Join(r.Shell, "\n")
		if lines == "" {
			t.Errorf("step %d (%s %s) has no shell line", r.N, r.Kind, r.Target)
		}
		other.host.Run(strings.ReplaceAll(lines, w.dir, other.dir))
	}
	t.Cleanup(func() {
		for _, name := range []string{"both", "default"} {
			if err := undoNamespace(filepath.Join(other.dir, "netns", name)); err != nil {
				t.Error(err)
			}
		}
	})
	if diff := cmp.Diff(w.picture("both", "default"), other.picture("both", "default")); diff != "" {
		t.Errorf("(-told and done +pasted):\n%s", diff)
	}

	// By hand, too, everything can be taken back.
	records := w.ledger.Records()
	for i := len(records) - 1; i >= 0; i-- {
		other.host.Run(strings.ReplaceAll(records[i].Undo, w.dir, other.dir))
	}
	// ip remarks on names below /run/netns that lead nowhere; they are somebody else's.
	if left := other.host.Run("nft list ruleset; ip -o link 2>/dev/null | sed '/ lo:/d; / net0@/d'; ls " + other.dir + "/netns"); left != "" {
		t.Errorf("the undo lines leave:\n%s", left)
	}
}

func defaultNetwork() Network {
	n := networkOf(Default, "172.17.0.0/16")
	n.Gateway = netip.MustParseAddr("172.17.0.1")
	return n
}

// picture is what a host and its containers look like, without what the kernel
// chooses by itself: hardware addresses of the host's ends, clocks.
func (w *world) picture(containers ...string) []string {
	w.t.Helper()
	var all []string
	add := func(h *hosts.Host, command string) {
		link := ""
		for line := range strings.Lines(h.Run(command)) {
			if m := linkHead.FindStringSubmatch(line); m != nil {
				link = m[1]
			}
			line = normal(line)
			if strings.HasPrefix(link, "v") || strings.HasPrefix(link, "net") {
				line = anyMAC.ReplaceAllString(line, "link/ether MAC")
			}
			all = append(all, h.Name+": "+line)
		}
	}
	add(w.host, `nft -s list ruleset; ip -d link 2>/dev/null; bridge -d link; ip -4 address; ip route
		grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/route_localnet /proc/sys/net/ipv4/conf/all/accept_redirects
		if [ -d /proc/sys/net/ipv6 ]; then grep . /proc/sys/net/ipv6/conf/*/disable_ipv6; fi`)
	for _, name := range containers {
		c := hosts.Open(w.t, name, filepath.Join(w.dir, "netns", name))
		add(c, `ip -d link 2>/dev/null; ip -4 address; ip route; cat /proc/sys/net/ipv4/ip_forward
			if [ -d /proc/sys/net/ipv6 ]; then grep . /proc/sys/net/ipv6/conf/*/disable_ipv6; fi`)
	}
	return all
}

var (
	linkHead = regexp.MustCompile(`^[0-9]+: ([^:@]+)`)
	timers   = regexp.MustCompile(`(\w+_timer) +[0-9.]+`)
	anyMAC   = regexp.MustCompile(`link/ether [0-9a-f:]+`)
	cleared  = regexp.MustCompile(`state (UP|DOWN|LOWERLAYERDOWN|forwarding|disabled)|<[A-Z,_-]+>|qdisc \w+`)
)

// normal leaves out what changes by itself.
func normal(line string) string {
	line = timers.ReplaceAllString(strings.TrimRight(line, " \n"), "$1")
	up := strings.Contains(line, ",UP")
	line = cleared.ReplaceAllString(line, "")
	if up {
		line += " UP"
	}
	return line
}
