package netns

import (
	"bytes"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// letsAllThrough says whether rules of a chain, or of those that it hands packets to,
// accept what comes in by every bridge, and what goes out by it: then the chain is no
// obstacle. Rules that ask for more than the link are not known to.
func letsAllThrough(conn *nftables.Conn, c *nftables.Chain, bridges []string) bool {
	var found passes
	found.collect(conn, c, map[string]bool{})
	return !slices.ContainsFunc(bridges, func(bridge string) bool {
		return !found.in.have(bridge) || !found.out.have(bridge)
	})
}

// passes are the links that are accepted.
type passes struct{ in, out linkRanges }

// collect reads a chain's rules, and those of the chains that it jumps to.
func (p *passes) collect(conn *nftables.Conn, c *nftables.Chain, seen map[string]bool) {
	if seen[c.Name] {
		return
	}
	seen[c.Name] = true
	rules, err := conn.GetRules(c.Table, c)
	if err != nil {
		return
	}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if v, ok := e.(*expr.Verdict); ok && v.Chain != "" {
				p.collect(conn, &nftables.Chain{Name: v.Chain, Table: c.Table}, seen)
			}
		}
		p.add(conn, c.Table, r.Exprs)
	}
}

// add reads a rule: iifname "md-*" counter accept.
func (p *passes) add(conn *nftables.Conn, table *nftables.Table, rule []expr.Any) {
	var into *linkRanges
	var links linkRanges
	for _, e := range rule {
		switch e := e.(type) {
		case *expr.Meta:
			into = map[expr.MetaKey]*linkRanges{expr.MetaKeyIIFNAME: &p.in, expr.MetaKeyOIFNAME: &p.out}[e.Key]
			if into == nil {
				return
			}
		case *expr.Cmp:
			if e.Op != expr.CmpOpEq {
				return
			}
			links = linkRanges{rangeOf(e.Data)}
		case *expr.Lookup:
			if e.Invert {
				return
			}
			links = setRanges(conn, table, e.SetName)
		case *expr.Counter:
		case *expr.Verdict:
			if e.Kind == expr.VerdictAccept && into != nil {
				*into = append(*into, links...)
			}
		default:
			return
		}
	}
}

// linkRanges are names of links, padded as the kernel compares them, from a first up to
// one that is not among them.
type linkRanges []linkRange

type linkRange struct{ first, behind []byte }

func (l linkRanges) have(link string) bool {
	name := paddedName(link)
	return slices.ContainsFunc(l, func(r linkRange) bool {
		return bytes.Compare(r.first, name) <= 0 && bytes.Compare(name, r.behind) < 0
	})
}

// rangeOf are the names that begin with some bytes: with the zero at its end, or at
// full length, it is one.
func rangeOf(prefix []byte) linkRange {
	first, behind := make([]byte, 16), make([]byte, 16)
	copy(first, prefix)
	copy(behind, prefix)
	for i := min(len(prefix), 16) - 1; i >= 0; i-- {
		if behind[i]++; behind[i] != 0 {
			break
		}
	}
	return linkRange{first, behind}
}

// setRanges reads a set of names; what can't be read has none.
func setRanges(conn *nftables.Conn, table *nftables.Table, name string) (all linkRanges) {
	found, _ := conn.GetSetElements(&nftables.Set{Table: table, Name: name})
	slices.SortFunc(found, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	for i, e := range found {
		switch {
		case e.IntervalEnd:
		case i+1 < len(found) && found[i+1].IntervalEnd:
			all = append(all, linkRange{e.Key, found[i+1].Key})
		default:
			all = append(all, rangeOf(e.Key))
		}
	}
	return all
}
