package netns

import (
	"strconv"

	"github.com/google/nftables"

	"github.com/minidock/minidock/steps"
)

// KindPutBack fills a table that was made again; what is in it is taken back by those
// whose it is.
const KindPutBack steps.Kind = "rules-again"

// WithPublished tells the store how to find out which ports lead to containers that run. It
// asks when it has to make the firewall table again, and holds the networks' lock then.
func (s *Store) WithPublished(published func() []Publication) *Store {
	s.published = published
	return s
}

// putBack tells a table that was just made of the other networks that have a bridge,
// and of the ports of who runs: where there are any, there was a table before, and
// somebody has flushed the ruleset.
func (s *Store) putBack(f firewall, ledger *steps.Ledger, n Network) error {
	others, _ := s.stored() // A network that can't be read is put back with its next container.
	var lost []element
	for _, other := range others {
		if _, err := findLink(BridgeName(s.place.Instance, other)); err == nil && other.ID != n.ID {
			lost = append(lost, entries(other, s.traceOf(other))...)
		}
	}
	for _, p := range s.published() {
		lost = append(lost, p.element())
	}
	if len(lost) == 0 {
		return nil
	}
	return ledger.Do(steps.Step{
		Kind: KindPutBack, Target: f.instance,
		Why:   "Tell the table of the networks and ports that are in use: somebody has removed the one before (nft flush ruleset), and so taken the walls, ports and ways out of all that run.",
		Call:  []string{transactionCall(elementCalls("NFT_MSG_NEWSETELEM", lost)...)},
		Shell: []string{"nft " + steps.ShellQuote(f.commands("add", lost))},
		See:   "nft list table ip " + f.instance, Man: nftManual,
	}, func() error { return f.change(nil, lost) })
}

// Unprotected lists those of the networks that have a bridge and no rules: somebody
// has flushed the whole ruleset (Debian's nftables.service does so when it starts).
// Who comes to any network next puts all of them back.
func (s *Store) Unprotected(networks []Network) ([]Network, error) {
	f, err := openFirewall(s.place.Instance)
	if err != nil {
		return nil, err
	}
	defer f.close()
	var known map[string]nftables.SetElement
	there, err := f.exists()
	if err == nil && there {
		known, err = f.elements("bridges")
	}
	if err != nil {
		return nil, err
	}
	var bare []Network
	for _, n := range networks {
		name := BridgeName(s.place.Instance, n)
		_, ruled := known[strconv.Quote(name)]
		if _, err := findLink(name); err == nil && !ruled {
			bare = append(bare, n)
		}
	}
	return bare, nil
}
