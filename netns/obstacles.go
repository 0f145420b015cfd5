package netns

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
)

// Obstacle is a chain of somebody else's that drops what is to be forwarded unless
// one of its rules says otherwise. The kernel asks every table: what one drops, no
// other can let through.
type Obstacle struct {
	// Chain is the chain as nft names it: family, table, chain.
	Chain string
	// Owner is the program that is known to make such a chain, or "".
	Owner string
	// Fix holds the commands that let the networks' packets through.
	Fix []string
}

// Obstacles finds the chains that stand in the networks' way, in the network
// namespace of the calling thread; those of iptables-legacy are not seen.
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
	var found []Obstacle
	for _, c := range all {
		if dropsForwarded(c) {
			found = append(found, obstacleOf(c, known))
		}
	}
	return found, nil
}

func dropsForwarded(c *nftables.Chain) bool {
	seesIPv4 := slices.Contains([]nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet}, c.Table.Family)
	return seesIPv4 && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward &&
		c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
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

// obstacleOf knows the chains that Docker and ufw make, and how each is told.
func obstacleOf(c *nftables.Chain, known map[string]bool) Obstacle {
	o := Obstacle{Chain: familyOf(c.Table) + " " + c.Table.Name + " " + c.Name}
	iptables := o.Chain == "ip filter FORWARD"
	switch {
	case iptables && known["ip filter ufw-before-forward"]:
		o.Owner = "ufw"
		o.Fix = forBridges("ufw route allow in on %s", "ufw route allow out on %s")
	case iptables && known["ip filter DOCKER-USER"]:
		o.Owner = "Docker"
		o.Fix = forBridges("iptables -I DOCKER-USER -i %s -j ACCEPT", "iptables -I DOCKER-USER -o %s -j ACCEPT")
	case iptables:
		o.Owner = "iptables"
		o.Fix = forBridges("iptables -I FORWARD -i %s -j ACCEPT", "iptables -I FORWARD -o %s -j ACCEPT")
	default:
		o.Fix = []string{
			fmt.Sprintf(`nft 'insert rule %s iifname { "minidock0", "md-*" } accept'`, o.Chain),
			fmt.Sprintf(`nft 'insert rule %s oifname { "minidock0", "md-*" } accept'`, o.Chain),
		}
	}
	return o
}

// forBridges writes commands for the default network's bridge and for all others,
// where iptables and ufw have + for any further characters.
func forBridges(commands ...string) []string {
	var all []string
	for _, bridge := range []string{"minidock0", "md-+"} {
		for _, c := range commands {
			all = append(all, fmt.Sprintf(c, bridge))
		}
	}
	return all
}
