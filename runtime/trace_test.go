package runtime

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/netns"
)

func TestVerdictsComeFromWhatWasSeen(t *testing.T) {
	wall := []netns.RuleCounter{{Chain: "forward", Comment: "within one network", Verdict: "accept", Packets: 9}, {Chain: "forward", Comment: "walls between networks", Verdict: "drop", Packets: 1}}
	echo := func(o netns.Outcome) netns.Echo { return netns.Echo{Outcome: o} }
	for name, c := range map[string]struct {
		findings
		want Verdict
		by   string
	}{
		"an answer counts, whoever was dropped meanwhile": {findings{echo: echo(netns.Answered), routed: true, rules: wall}, Delivered, ""},
		"so does a refusal":                     {findings{echo: echo(netns.Refused), routed: true, rules: wall}, Refused, ""},
		"silence where a drop was counted":      {findings{echo: echo(netns.Silent), routed: true, rules: wall}, Dropped, "walls between networks"},
		"others' drops where no rule saw it":    {findings{echo: echo(netns.Silent), rules: wall}, Unanswered, ""},
		"silence without a drop":                {findings{echo: echo(netns.Silent), routed: true, rules: wall[:1]}, Unanswered, ""},
		"a datagram that was read":              {findings{echo: echo(netns.Silent), routed: true, read: true, rules: wall}, Delivered, ""},
		"no route at the beginning":             {findings{echo: echo(netns.Unreachable), noWay: true, rules: wall}, NoRoute, ""},
		"a router without a way":                {findings{echo: echo(netns.Unreachable), routed: true, rules: wall}, NoRoute, ""},
		"nobody who says the address is theirs": {findings{echo: echo(netns.Silent), unheard: true}, NoRoute, ""},
	} {
		got, by := c.verdict()
		comment := ""
		if by != nil {
			comment = by.Comment
		}
		if got != c.want || comment != c.by {
			t.Errorf("%s: %s by %q, not %s by %q", name, got, comment, c.want, c.by)
		}
	}
}

func TestCountersThatRoseAreFound(t *testing.T) {
	counter := func(chain, comment string, packets uint64) netns.RuleCounter {
		return netns.RuleCounter{Chain: chain, Comment: comment, Packets: packets, Bytes: 60 * packets}
	}
	before := []netns.RuleCounter{counter("forward", "a", 5), counter("forward", "b", 7), counter("output", "a", 1), counter("forward", "c", 9)}
	after := []netns.RuleCounter{counter("forward", "a", 5), counter("forward", "b", 10), counter("output", "a", 2), counter("forward", "c", 0), counter("published", "new", 1)}
	want := []netns.RuleCounter{counter("forward", "b", 3), counter("output", "a", 1), counter("published", "new", 1)}
	if diff := cmp.Diff(want, countedMeanwhile(before, after)); diff != "" {
		t.Error(diff)
	}
	var order []string
	for _, c := range inPacketsOrder(want) {
		order = append(order, c.Chain)
	}
	if got := strings.Join(order, " "); got != "output published forward" {
		t.Error(got)
	}
}

func TestOthersPacketsAreNotClaimed(t *testing.T) {
	for timeout, want := range map[time.Duration]uint64{500 * time.Millisecond: 1, time.Second: 2, 2 * time.Second: 2, 3 * time.Second: 3, 10 * time.Second: 4} {
		tcp := tracer{timeout: timeout, target: TraceTarget{Proto: "tcp"}}
		udp := tracer{timeout: timeout, target: TraceTarget{Proto: "udp"}}
		if tcp.mostSent() != want || udp.mostSent() != 1 {
			t.Errorf("%s: %d and %d", timeout, tcp.mostSent(), udp.mostSent())
		}
	}
	drop := netns.RuleCounter{Verdict: "drop", Packets: 2}
	if note := ruleNote(drop, 2); note != "drop, +2 packets" {
		t.Error(note)
	}
	if note := ruleNote(drop, 1); !strings.Contains(note, "at most 1 of ours") {
		t.Error(note)
	}
	if note := ruleNote(netns.RuleCounter{Chain: "published", Packets: 1}, 1); note != "+1 packet" {
		t.Error(note)
	}
}

func TestNamesAreLookedUpAsALibraryDoes(t *testing.T) {
	const hosts = "# 10.0.0.9 web\n::1 web\n127.0.0.1\tlocalhost\n10.0.0.1 other Web # web\n10.0.0.2 web\nnonsense web\n"
	if a, found := hostsEntry(hosts, "web"); !found || a != netip.MustParseAddr("10.0.0.1") {
		t.Error(a, found)
	}
	if a, found := hostsEntry(hosts, "gone"); found {
		t.Error(a)
	}
	s := nameSource{resolvConf: "# nameserver 1.1.1.1\nnameserver\nnameserver ::1\nnameserver 127.0.0.11\nnameserver 9.9.9.9\n"}
	if a, found := s.server(); !found || a.String() != "127.0.0.11:53" {
		t.Error(a, found)
	}
	if a, found := (nameSource{}).server(); found {
		t.Error(a)
	}
}
