package netns

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// RuleCounter is how often a rule was met, or a published port called.
type RuleCounter struct {
	// Chain is the rule's chain, or the map that has the port.
	Chain string
	// Comment is the rule's comment, or the map's entry as nft writes it.
	Comment string
	// Verdict is what becomes of the packets: accept, drop, dnat or masquerade; an
	// entry of a map has none.
	Verdict string `json:",omitempty"`
	// Packets and Bytes: of a connection that is led elsewhere, a rule of the
	// chains prerouting, output and postrouting meets the first packet only.
	Packets, Bytes uint64
}

// Counters reads the counters of every rule of this installation's table, chain by
// chain in the order of the rules, and those of the published ports. Without a
// table there are none.
func (s *Store) Counters() ([]RuleCounter, error) {
	f, err := openFirewall(s.place.Instance)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if there, err := f.exists(); err != nil || !there {
		return nil, err
	}
	var all []RuleCounter
	for _, c := range chains() {
		found, err := f.ruleCounters(c)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	for _, name := range []string{publishedAt, published} {
		found, err := f.elementCounters(name)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (f firewall) ruleCounters(c chain) ([]RuleCounter, error) {
	found, err := f.conn.GetRules(f.table(), &nftables.Chain{Name: c.name})
	if err != nil {
		return nil, fmt.Errorf("read chain %s: %w", c.name, err)
	}
	var all []RuleCounter
	for _, r := range found {
		comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
		one := RuleCounter{Chain: c.name, Comment: comment}
		for _, e := range r.Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				one.Packets, one.Bytes = counter.Packets, counter.Bytes
			}
			one.Verdict += verdictOf(e)
		}
		all = append(all, one)
	}
	return all, nil
}

func (f firewall) elementCounters(name string) ([]RuleCounter, error) {
	known, err := f.elements(name)
	if err != nil {
		return nil, err
	}
	var all []RuleCounter
	for text, e := range known {
		one := RuleCounter{Chain: name, Comment: text}
		if e.Counter != nil {
			one.Packets, one.Bytes = e.Counter.Packets, e.Counter.Bytes
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b RuleCounter) int {
		if a.Comment < b.Comment {
			return -1
		}
		return 1
	})
	return all, nil
}

// verdictOf is nft's word for what an expression does to a packet; most do nothing.
func verdictOf(e expr.Any) string {
	switch e := e.(type) {
	case *expr.Verdict:
		return map[expr.VerdictKind]string{expr.VerdictAccept: "accept", expr.VerdictDrop: "drop"}[e.Kind]
	case *expr.NAT:
		return "dnat"
	case *expr.Masq:
		return "masquerade"
	}
	return ""
}
