package netns

import (
	"bytes"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// letsAllThrough says whether the rules of a chain accept what comes in by every
// bridge, and what goes out by it, whatever else it is: then the chain is no obstacle.
func letsAllThrough(conn *nftables.Conn, c *nftables.Chain, bridges []string) bool {
	return !slices.ContainsFunc(bridges, func(bridge string) bool {
		for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
			r := reader{conn: conn, table: c.Table, key: key, link: paddedName(bridge), seen: map[string]bool{}}
			if open, decided := r.judge(c.Name); !open || !decided {
				return true
			}
		}
		return false
	})
}

// reader goes through rules as a packet does of which nothing is known but the link that
// it comes in by, or goes out by.
type reader struct {
	conn  *nftables.Conn
	table *nftables.Table
	key   expr.MetaKey
	link  []byte
	// seen are the chains on the way, since rules can't go in a circle.
	seen map[string]bool
}

// judge says what a chain decides on the packet. Rules that ask for anything else are
// passed over: some packets they meet, and some not.
func (r reader) judge(chain string) (open, decided bool) {
	rules, err := r.conn.GetRules(r.table, &nftables.Chain{Name: chain, Table: r.table})
	if err != nil || r.seen[chain] {
		return false, false
	}
	r.seen[chain] = true
	defer delete(r.seen, chain)
	for _, rule := range rules {
		verdict := r.verdict(rule.Exprs)
		switch verdict.Kind {
		case expr.VerdictAccept:
			return true, true
		case expr.VerdictDrop:
			return false, true
		case expr.VerdictReturn:
			return false, false
		case expr.VerdictGoto:
			return r.judge(verdict.Chain)
		case expr.VerdictJump:
			if open, decided = r.judge(verdict.Chain); decided {
				return open, true
			}
		}
	}
	return false, false
}

// verdict is that of a rule which meets the packet for certain; else it is to go on.
func (r reader) verdict(rule []expr.Any) expr.Verdict {
	goOn := expr.Verdict{Kind: expr.VerdictContinue}
	asked := false
	for _, e := range rule {
		meets := true
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Meta:
			meets, asked = e.Key == r.key && !asked, true
		case *expr.Cmp:
			meets = e.Op == expr.CmpOpEq && rangeOf(e.Data).has(r.link)
		case *expr.Lookup:
			meets = !e.Invert && r.inSet(e.SetName)
		case *expr.Reject:
			return expr.Verdict{Kind: expr.VerdictDrop}
		case *expr.Verdict:
			return *e
		default:
			meets = false
		}
		if !meets {
			return goOn
		}
	}
	return goOn
}

// inSet says whether a set has the link's name; one that can't be read does not.
func (r reader) inSet(name string) bool {
	found, _ := r.conn.GetSetElements(&nftables.Set{Table: r.table, Name: name})
	slices.SortFunc(found, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	for i, e := range found {
		names := linkRange{first: e.Key}
		switch {
		case e.IntervalEnd || len(e.Key) != len(r.link): // A key of several parts.
			continue
		case i+1 < len(found) && found[i+1].IntervalEnd:
			names.behind = found[i+1].Key
		default:
			names = rangeOf(e.Key)
		}
		if names.has(r.link) {
			return true
		}
	}
	return false
}

// linkRange are names of links, padded as the kernel compares them, from a first up to
// one that is not among them.
type linkRange struct{ first, behind []byte }

func (l linkRange) has(name []byte) bool {
	return bytes.Compare(l.first, name) <= 0 && bytes.Compare(name, l.behind) < 0
}

// rangeOf are the names that begin with some bytes: with the zero at its end, or at
// full length, it is one.
func rangeOf(prefix []byte) linkRange {
	first, behind := paddedName(""), paddedName("")
	copy(first, prefix)
	copy(behind, prefix)
	for i := min(len(prefix), len(behind)) - 1; i >= 0; i-- {
		if behind[i]++; behind[i] != 0 {
			break
		}
	}
	return linkRange{first, behind}
}
