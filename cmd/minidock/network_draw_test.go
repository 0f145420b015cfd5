package main

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

func shown(lines []line) string {
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.paint(longLine, false))
	}
	return strings.Join(texts, "\n")
}

func contains(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func narrow(t *testing.T, text string, columns int) {
	t.Helper()
	for l := range strings.SplitSeq(text, "\n") {
		if n := utf8.RuneCountInString(l); n > columns {
			t.Errorf("%d columns: %s", n, l)
		}
	}
}

const webID = "aaaaaaaaaaaa0000000000000000000000000000000000000000000000000000"

// network172 is a network with one container, all in order.
func network172() netns.Picture {
	address := netip.MustParseAddr("172.18.0.2")
	n := netns.Network{Name: "front", ID: strings.Repeat("f", 64), Driver: "bridge", Subnet: netip.MustParsePrefix("172.18.0.0/16"), Gateway: netip.MustParseAddr("172.18.0.1")}
	return netns.Picture{
		Network: n, Forwarding: true, WayOut: netns.Way{Link: "up0", Source: netip.MustParseAddr("198.51.100.2")},
		Bridge: netns.Bridge{Name: "md-ffffffffffff", There: true, State: "up", MAC: "02:00:00:00:00:01", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("172.18.0.1/16")}},
		Cables: []netns.Cable{{
			BridgePort: netns.BridgePort{Name: "vaaaaaaaaaaaa.0", State: "up", Passing: "forwarding", Peer: 2},
			Container:  webID,
			Inside: &netns.Inlet{
				Namespace: "/run/minidock/netns/" + webID, Link: "eth0", MAC: "02:00:00:00:00:02", Up: true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("172.18.0.2/16")},
				Heard:     map[string]netns.Answer{"web": {Addresses: []netip.Addr{address}, Code: "NOERROR", Replied: true}},
			},
		}},
		Table: netns.Rules{
			Name: "minidock", There: true,
			Entries:   map[string]string{"bridges": `"md-ffffffffffff"`, "same": `"md-ffffffffffff" . "md-ffffffffffff"`, "subnets": "172.18.0.0/16"},
			Counters:  []netns.RuleCounter{{Chain: "forward", Comment: "walls between networks", Verdict: "drop", Packets: 3}},
			Published: []netns.RuleCounter{{Chain: "published", Comment: "tcp . 8080 : 172.18.0.2 . 80", Packets: 2}},
		},
		Residents: []netns.Resident{{ID: webID, Name: "web", Address: address, MAC: "02:00:00:00:00:02"}},
		Leases:    []netns.Lease{{Address: address, Container: webID}},
	}
}

func TestANetworkIsDrawn(t *testing.T) {
	text := shown(drawNetwork(network172(), sheetFor(200)))
	narrow(t, text, 100)
	contains(t, text,
		"Network front  driver bridge  172.18.0.0/16  id ffffffffffff",
		"│ └─ vaaaaaaaaaaaa.0  forwarding ────────────┼─ veth ─┤ eth0  172.18.0.2/16  02:00:00:00:00:02    │",
		"┌─ web ──", "way out: by up0, with the host's address 198.51.100.2",
		"0.0.0.0:8080/tcp         → 172.18.0.2:80, which is web; 2 connections",
		"web                                      → 172.18.0.2         so hear web",
		"walls between networks", "drop               3", `bridges { "md-ffffffffffff" }`,
		"What the kernel has and what minidock's files say is the same.")
}

// On a narrow terminal nothing wraps, and the box has all but the hardware address.
func TestANetworkIsDrawnFor80Columns(t *testing.T) {
	text := shown(drawNetwork(network172(), sheetFor(80)))
	narrow(t, text, 80)
	contains(t, text, "bridge md-ffffffffffff  up  mtu 1500 │", "─┼─ veth ─┤ eth0  172.18.0.2/16          │")
	hop := runtime.Hop{Stage: "bridge", Text: "vaaaaaaaaaaaa.0 → md-ffffffffffff", Note: "a forwarding port of the switch of network front"}
	narrow(t, shown(drawHop(hop, 80)), 80)
	contains(t, shown(drawHop(hop, 80)), hop.Text)
}

func TestADrawingSaysWhatIsNotThere(t *testing.T) {
	p := network172()
	p.Cables[0].Passing = "disabled"
	p.Cables[0].Inside = nil
	p.Cables = append(p.Cables, netns.Cable{BridgePort: netns.BridgePort{Name: "stranger0", Passing: "forwarding"}})
	p.Residents = append(p.Residents, netns.Resident{ID: strings.Repeat("b", 64), Name: strings.Repeat("long", 20), Address: netip.MustParseAddr("172.18.0.3")})
	p.Table.Entries = map[string]string{"bridges": "x", "internal": "x"}
	text := shown(drawNetwork(p, sheetFor(100)))
	narrow(t, text, 100)
	contains(t, text, "disabled", "the other end is not there", "stranger0", "not minidock's", "no cable", "no way out and none in",
		"The kernel and minidock's files differ", "set internal has the network, and should not", "set subnets does not have the network")
	p = network172()
	p.Cables[0].Inside.Heard["web"] = netns.Answer{Code: "connection refused"}
	contains(t, shown(drawNetwork(p, sheetFor(100))), "web: its resolver does not answer (connection refused)")
	p.Bridge.There, p.Cables = false, nil
	contains(t, shown(drawNetwork(p, sheetFor(100))), "not there at this moment", "the kernel has no link md-ffffffffffff")
	for name, want := range map[string]string{"host": "The host's own links", "none": "loopback link alone", "bridge": "first container"} {
		contains(t, shown(drawNetwork(netns.Picture{Network: netns.Network{Name: name, Driver: name}}, sheetFor(80))), want)
	}
}

func TestWayOutIsSaidAsItIs(t *testing.T) {
	p := network172()
	p.WayOut.None = "network is unreachable"
	contains(t, shown([]line{wayOutLine(p)}), "the host itself has none")
	p.Obstacles = []netns.Obstacle{{Chain: "ip filter FORWARD"}}
	contains(t, shown([]line{wayOutLine(p)}), "way out in doubt", "chain ip filter FORWARD drops")
	p = network172()
	delete(p.Table.Entries, "subnets")
	contains(t, shown([]line{wayOutLine(p)}), "no masquerade")
	p.Forwarding = false
	contains(t, shown([]line{wayOutLine(p)}), "ip_forward is 0")
}

func TestTargetsAreRead(t *testing.T) {
	for text, want := range map[string]runtime.TraceTarget{
		"web":            {Name: "web", Proto: "icmp"},
		"web:80":         {Name: "web", Port: 80, Proto: "tcp"},
		"web:53/udp":     {Name: "web", Port: 53, Proto: "udp"},
		"172.18.0.2:1":   {Name: "172.18.0.2", Port: 1, Proto: "tcp"},
		"example.com:99": {Name: "example.com", Port: 99, Proto: "tcp"},
	} {
		got, err := parseTarget(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if got.String() != text {
			t.Errorf("%s is written %s", text, got)
		}
	}
	for _, text := range []string{"", ":80", "web:", "web:0", "web:65536", "web:http", "web/udp", "web:53/sctp", "::1", "[::1]:80", "web:80:80", "224.0.0.1", "255.255.255.255:80", "0.0.0.0"} {
		if got, err := parseTarget(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestATraceIsDrawn(t *testing.T) {
	text := shown(drawTrace(runtime.Trace{
		From: "web", To: "db:80", Verdict: runtime.Dropped, Says: "dropped by a rule", Hint: strings.Repeat("Join them. ", 20),
		Hops: []runtime.Hop{{Stage: "route", Text: "eth0 by way of 172.18.0.1", Note: strings.Repeat("so to its gateway ", 5)}, {Stage: "answer", Text: "none"}},
	}, 120))
	narrow(t, text, 100)
	contains(t, text, "web → db:80", "  route   eth0 by way of 172.18.0.1  ", "✗ dropped by a rule", "  Join them.")
	contains(t, shown(drawTrace(runtime.Trace{Verdict: runtime.Delivered, Says: "delivered"}, 80)), "✓ delivered")
}
