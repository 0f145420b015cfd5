package netns

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Obstacle is a chain of somebody else's that drops what is to be forwarded unless
// one of its rules says otherwise. The kernel asks every table: what one drops, no
// other can let through.
type Obstacle struct {
	// Chain is the chain as nft names it: family, table, chain; or that of
	// iptables-legacy, which nft does not show.
	Chain string
	// Owner is the program that is known to make such a chain, or "".
	Owner string
	// Fix holds the commands that let the networks' packets through.
	Fix []string
}

// Obstacles finds the chains that stand in the networks' way, in the network
// namespace of the calling thread: those with the policy drop, those that end with a
// rule that drops or rejects everything, and that of iptables-legacy.
func (s *Store) Obstacles() ([]Obstacle, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	all, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	known := map[string]bool{}
	for _, c := range all {
		known[familyOf(c.Table)+" "+c.Table.Name+" "+c.Name] = true
	}
	bridges, patterns, unread := s.bridges()
	var found []Obstacle
	for _, c := range all {
		if seesForwarded(c) && (*c.Policy == nftables.ChainPolicyDrop || endsInDrop(conn, c)) && !letsAllThrough(conn, c, bridges) {
			found = append(found, patterns.obstacleOf(c, known))
		}
	}
	legacy, err := patterns.legacyObstacles()
	return append(found, legacy...), errors.Join(unread, err)
}

// bridgePatterns are the names of all bridges, as nft has them: * stands for any
// further characters.
type bridgePatterns []string

// bridges lists the names of the networks' bridges, and what matches these and those
// of networks to come.
func (s *Store) bridges() (names []string, patterns bridgePatterns, err error) {
	patterns = bridgePatterns{"minidock0", "md-*"}
	all, err := s.List()
	for _, n := range all {
		if n.Subnet.IsValid() {
			names = append(names, BridgeName(s.place.Instance, n))
		}
		if own := n.Options[BridgeNameOption]; own != "" {
			patterns = append(patterns, own)
		}
	}
	if len(names) == 0 {
		names = []string{"minidock0", "md-"}
	}
	return names, patterns, err
}

func seesForwarded(c *nftables.Chain) bool {
	seesIPv4 := slices.Contains([]nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet}, c.Table.Family)
	return seesIPv4 && c.Type == nftables.ChainTypeFilter && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil
}

// endsInDrop says whether what no rule has let through meets one that stops it, as in
// firewalld's chain. Rules that can't be read are not known to.
func endsInDrop(conn *nftables.Conn, c *nftables.Chain) bool {
	rules, err := conn.GetRules(c.Table, c)
	if err != nil || len(rules) == 0 {
		return false
	}
	for _, e := range rules[len(rules)-1].Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log:
		case *expr.Verdict:
			return e.Kind == expr.VerdictDrop
		default:
			_, rejects := e.(*expr.Reject)
			return rejects
		}
	}
	return false
}

func familyOf(t *nftables.Table) string {
	switch t.Family {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyINet:
		return "inet"
	}
	return fmt.Sprintf("family %d", t.Family)
}

// obstacleOf knows the chains that Docker, ufw and firewalld make, and how each is told.
func (p bridgePatterns) obstacleOf(c *nftables.Chain, known map[string]bool) Obstacle {
	chain := familyOf(c.Table) + " " + c.Table.Name + " " + c.Name
	switch {
	case chain == "ip filter FORWARD":
		return p.iptablesObstacle(chain, "iptables", func(other string) bool { return known["ip filter "+other] })
	case c.Table.Name == "firewalld":
		fix := p.each("+", "firewall-cmd --permanent --zone=trusted --add-interface=%s")
		return Obstacle{Chain: chain, Owner: "firewalld", Fix: append(fix, "firewall-cmd --reload")}
	}
	return Obstacle{Chain: chain, Fix: p.each("*", "nft 'insert rule "+chain+` iifname "%s" accept'`, "nft 'insert rule "+chain+` oifname "%s" accept'`)}
}

// iptablesObstacle is about the chain FORWARD of iptables, or of the older one of the
// other command; has tells which chains are beside it.
func (p bridgePatterns) iptablesObstacle(chain, command string, has func(chain string) bool) Obstacle {
	switch {
	case has("ufw-before-forward"):
		return Obstacle{chain, "ufw", p.each("+", "ufw route allow in on %s", "ufw route allow out on %s")}
	case has("DOCKER-USER"):
		return Obstacle{chain, "Docker", p.each("+", command+" -I DOCKER-USER -i %s -j ACCEPT", command+" -I DOCKER-USER -o %s -j ACCEPT")}
	}
	return Obstacle{chain, "iptables", p.each("+", command+" -I FORWARD -i %s -j ACCEPT", command+" -I FORWARD -o %s -j ACCEPT")}
}

// each writes commands for every pattern, with the character that the tool has for any
// further ones.
func (p bridgePatterns) each(any string, commands ...string) []string {
	var all []string
	for _, bridge := range p {
		for _, c := range commands {
			all = append(all, fmt.Sprintf(c, strings.ReplaceAll(bridge, "*", any)))
		}
	}
	return all
}
