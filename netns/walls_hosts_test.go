package netns

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/hosts"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

func TestWhoReachesWhom(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	w.up(netA(), netB(), secret())
	a1, b1 := w.container("a1", 2, netA()), w.container("b1", 2, netB())
	w.container("a2", 3, netA())
	s1, s2 := w.container("s1", 2, secret()), w.container("s2", 3, secret())
	w.outside.Serve("tcp", "203.0.113.9:80")
	w.outside.Serve("udp", "203.0.113.9:80")
	w.host.Serve("tcp", "0.0.0.0:9000")

	for _, proto := range []string{"tcp", "udp"} {
		t.Run(proto, func(t *testing.T) {
			w.t = t
			if saw := reaches(t, a1, proto, "172.18.0.3:80", "a2"); saw != "172.18.0.2" {
				t.Errorf("within a network the caller was seen as %s", saw)
			}
			reaches(t, s1, proto, "172.20.0.3:80", "s2")
			reaches(t, w.host, proto, "172.18.0.3:80", "a2")
			reaches(t, w.host, proto, "172.20.0.3:80", "s2")
			if saw := reaches(t, a1, proto, "203.0.113.9:80", "outside"); saw != hostAddress {
				t.Errorf("outside the container was seen as %s, want the host", saw)
			}
			w.dropped(a1, proto, "172.19.0.2:80", "walls between networks")
			w.dropped(b1, proto, "172.18.0.3:80", "walls between networks")
			w.dropped(w.outside, proto, "172.18.0.3:80", "not published")
			w.dropped(w.router, proto, "172.18.0.3:80", "not published")
			w.dropped(w.outside, proto, "172.20.0.2:80", "no way into an internal network")
			w.dropped(a1, proto, "172.20.0.2:80", "no way into an internal network")
			blocked(t, s1, proto, "203.0.113.9:80")
			// One that gives itself a route, as a privileged container could.
			s2.Run("ip route replace default via 172.20.0.1")
			w.dropped(s2, proto, "203.0.113.9:80", "no way out of an internal network")
			w.dropped(s2, proto, "172.18.0.2:80", "no way out of an internal network")
		})
	}
	w.t = t
	reaches(t, a1, "tcp", "172.18.0.1:9000", "host")
	if saw := reaches(t, w.host, "tcp", "172.18.0.1:9000", "host"); saw != "172.18.0.1" {
		t.Errorf("the host sees itself as %s", saw)
	}
	w.takeBack()
	if after := w.state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// With br_netfilter the kernel shows the firewall what is switched within a bridge,
// too, and readdresses it there.
func TestPublishedPorts(t *testing.T) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+filtered, func(t *testing.T) {
			needsHosts(t)
			if filtered == "1" {
				require.Layers(t, "the lab VM's br_netfilter is not loaded", "native")
				require.Needs(t, require.BridgeNetfilter)
			}
			w := newWorld(t)
			w.host.Run("[ ! -d /proc/sys/net/bridge ] || sysctl -qw net.bridge.bridge-nf-call-iptables=" + filtered)
			publishedPorts(t, w)
		})
	}
}

func publishedPorts(t *testing.T, w *world) {
	w.up(netA(), netB())
	a1, a2 := w.container("a1", 2, netA()), w.bare("a2", 3, netA())
	b1 := w.bare("b1", 2, netB())
	for _, proto := range []string{"tcp", "udp"} {
		t.Run(proto, func(t *testing.T) {
			w.t = t
			blocked(t, w.outside, proto, hostAddress+":8080")
			w.publish(proto + " 8080 172.18.0.2 80")
			w.publish(proto + " 127.0.0.1:8081 172.18.0.2 80")
			w.publish(proto + " " + hostAddress + ":8082 172.18.0.2 80")

			if saw := reaches(t, w.outside, proto, hostAddress+":8080", "a1"); saw != "203.0.113.9" {
				t.Errorf("a caller from outside was seen as %s", saw)
			}
			reaches(t, w.host, proto, hostAddress+":8080", "a1")
			reaches(t, w.host, proto, "127.0.0.1:8080", "a1")
			reaches(t, w.host, proto, "172.18.0.1:8080", "a1")
			reaches(t, b1, proto, hostAddress+":8080", "a1")
			reaches(t, b1, proto, "172.19.0.1:8080", "a1")
			reaches(t, a2, proto, hostAddress+":8080", "a1")
			reaches(t, a1, proto, hostAddress+":8080", "a1")

			reaches(t, w.host, proto, "127.0.0.1:8081", "a1")
			blocked(t, w.outside, proto, hostAddress+":8081")
			blocked(t, b1, proto, hostAddress+":8081")
			blocked(t, w.host, proto, hostAddress+":8081")

			reaches(t, w.outside, proto, hostAddress+":8082", "a1")
			blocked(t, w.host, proto, "127.0.0.1:8082")

			// The inner side is still behind its wall.
			w.dropped(b1, proto, "172.18.0.2:80", "walls between networks")
			w.dropped(w.outside, proto, "172.18.0.2:80", "not published")
			if n := w.packets(proto + " . 8080 : 172.18.0.2 . 80"); n == 0 {
				t.Error("the port's own counter counted nothing")
			}
		})
	}
}

// Who sends a frame for 127.0.0.1 over the cable must not get at the host's own
// servers, although the bridges may lead such addresses.
func TestMartiansAreDropped(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	a1 := w.bare("a1", 2, netA())
	w.host.Serve("tcp", "127.0.0.1:7000")
	w.host.Serve("udp", "127.0.0.1:7000")
	a1.Run(`sysctl -qw net.ipv4.conf.eth0.route_localnet=1
		ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local
		ip route add 127.0.0.1 via 172.18.0.1 src 172.18.0.2`)
	w.dropped(a1, "udp", "127.0.0.1:7000", "127.0.0.0/8 is for the host itself")
	w.dropped(a1, "tcp", "127.0.0.1:7000", "127.0.0.0/8 is for the host itself")

	w.host.Serve("udp", "172.18.0.1:7001")
	a2 := w.bare("a2", 3, netA())
	a2.Run("sysctl -qw net.ipv4.conf.eth0.route_localnet=1")
	reaches(t, a2, "udp", "172.18.0.1:7001", "host") // Now it knows the hardware address.
	before := w.packets("127.0.0.0/8 comes from the host itself")
	if answer, err := a2.CallFrom("udp", "127.0.0.1:5000", "172.18.0.1:7001", silence); err == nil {
		t.Errorf("the host answers 127.0.0.1 of the container: %s", answer)
	}
	if w.packets("127.0.0.0/8 comes from the host itself") == before {
		t.Error("the rule did not count it")
	}
}

func TestContainerInTwoNetworksIsNoRouter(t *testing.T) {
	w := newWorld(t)
	w.up(netA(), netB())
	both := w.container("both", 2, netA(), netB())
	a2, b2 := w.container("a2", 3, netA()), w.container("b2", 3, netB())
	reaches(t, both, "tcp", "172.18.0.3:80", "a2")
	reaches(t, both, "tcp", "172.19.0.3:80", "b2")
	a2.Run("ip route add 172.19.0.0/24 via 172.18.0.2")
	b2.Run("ip route add 172.18.0.0/24 via 172.19.0.2")
	blocked(t, a2, "tcp", "172.19.0.3:80")
	blocked(t, a2, "udp", "172.19.0.3:80")
	if got := both.Run("cat /proc/sys/net/ipv4/ip_forward"); got != "0" {
		t.Errorf("ip_forward is %s in the container", got)
	}
	if routes := both.Run("ip route"); routes == "" {
		t.Error("no routes")
	}
}

// An address that is given to another container changes its hardware address; who
// has the old one in mind is told.
func TestAddressChangesHands(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	w.container("a1", 2, netA())
	a2 := w.bare("a2", 3, netA())
	reaches(t, a2, "tcp", "172.18.0.2:80", "a1")
	reaches(t, w.host, "tcp", "172.18.0.2:80", "a1")
	w.host.Must(func() error { return w.store.Detach(w.ledger, netA(), fmt.Sprintf("%012x", 1), 0) })
	w.container("a3", 2, netA())
	// Without word of it they would go on for half a minute (arp(7), base_reachable_time).
	for _, from := range []*hosts.Host{a2, w.host} {
		if answer, err := from.Call("tcp", "172.18.0.2:80", 8*time.Second); !strings.HasPrefix(answer, "a3 ") {
			t.Errorf("%s got %q, %v", from.Name, answer, err)
		}
	}
}

// A running container changes networks, and with them its way out.
func TestWayOutAfterDisconnect(t *testing.T) {
	w := newWorld(t)
	w.up(netA(), netB())
	w.outside.Serve("tcp", "203.0.113.9:80")
	c := w.bare("c", 2, netA(), netB())
	reaches(t, c, "tcp", "203.0.113.9:80", "outside")
	w.host.Must(func() error { return w.store.Detach(w.ledger, netA(), fmt.Sprintf("%012x", 1), 0) })
	blocked(t, c, "tcp", "203.0.113.9:80")
	w.host.Must(func() error { return LeadOut(w.ledger, c.File, netB()) })
	reaches(t, c, "tcp", "203.0.113.9:80", "outside")
}

func TestForeignLinkIsNoBridgeOfOurs(t *testing.T) {
	w := newWorld(t)
	w.host.Run("ip link add theirs type bridge")
	before := w.state()
	for _, name := range []string{"net0", "lo", "theirs", "a name too long", `quo"te`} {
		n := netA()
		n.Options = map[string]string{BridgeNameOption: name}
		err := w.host.Do(func() error { return w.store.Up(w.ledger, n) })
		if err == nil || steps.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.takeBack()
	ours := netA()
	ours.Options = map[string]string{BridgeNameOption: "ours"}
	w.up(ours, ours)
	w.host.Run("nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0")
	w.up(ours)
	w.host.Must(func() error { return w.store.Down(ours) })
	if after := w.state(); after != before {
		t.Errorf("changed:\n%s\nbefore:\n%s", after, before)
	}
}

// Who goes on sending from one port is led to whom the port leads now.
func TestLongFlowsFollowThePort(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	w.container("a1", 2, netA())
	w.container("a2", 3, netA())
	if _, err := w.reserve("0.0.0.0", "udp", 8080); err != nil {
		t.Fatal(err)
	}
	call := func(patience time.Duration) string {
		answer, _ := w.outside.CallFrom("udp", "203.0.113.9:5000", hostAddress+":8080", patience)
		name, _, _ := strings.Cut(answer, " ")
		return name
	}
	if got := call(silence); got != "" {
		t.Fatalf("an unpublished port answers: %s", got)
	}
	for i, who := range []string{"a1", "a2"} {
		port := fmt.Sprintf("udp 8080 172.18.0.%d 80", 2+i)
		w.publish(port)
		if got := call(patience); got != who {
			t.Errorf("published to %s, answered by %q", who, got)
		}
		w.host.Must(func() error { return w.store.Unpublish(w.ledger, publication(port)) })
		if got := call(silence); got != "" {
			t.Errorf("taken back, and still answered by %s", got)
		}
	}
	// What is told names the flow, and no other to the same port.
	want := "conntrack -D -p udp --orig-src 203.0.113.9 --orig-dst " + hostAddress + " --orig-port-src 5000 --orig-port-dst 8080"
	for _, r := range w.ledger.Records() {
		if r.Kind == KindFlows && !slices.Equal(r.Shell, []string{want}) {
			t.Errorf("told %q\nwant %q", r.Shell, want)
		}
	}
	if !slices.ContainsFunc(w.ledger.Records(), func(r steps.Record) bool { return r.Kind == KindFlows }) {
		t.Error("nothing was told of flows, so this test has shown nothing")
	}
}
