package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/minidock/minidock/netns"
)

// tellRules says, once, which rules the probe met, by their counters.
func (t *tracer) tellRules() {
	if t.told {
		return
	}
	t.told = true
	for _, c := range inPacketsOrder(t.Rules) {
		t.say("rule", fmt.Sprintf("%s: %s", c.Chain, c.Comment), ruleNote(c, t.mostSent()))
	}
	if len(t.Rules) == 0 && t.way.None == "" && len(t.Hops) > 0 {
		note := "the host's firewall has no rule on this way"
		if t.routed {
			note = "no counter of table ip " + t.layout.Instance + " rose"
			if !t.walled {
				note = "there is no table ip " + t.layout.Instance + ", so no walls: see minidock doctor"
			}
		}
		t.say("rule", "none", note)
	}
}

// inPacketsOrder sorts rules as a packet meets them; those of the maps of published
// ports come with the rules that look into them.
func inPacketsOrder(rules []netns.RuleCounter) []netns.RuleCounter {
	order := []string{"martians", "prerouting", "output", "published_at", "published", "forward", "postrouting"}
	return slices.SortedStableFunc(slices.Values(rules), func(a, b netns.RuleCounter) int {
		return cmp.Compare(slices.Index(order, a.Chain), slices.Index(order, b.Chain))
	})
}

// mostSent is how many packets the probe may have sent while nobody answered: one,
// and of TCP one more after 1 s, 3 s, 7 s … (RFC 6298, 2 and 5.5).
func (t *tracer) mostSent() uint64 {
	n := uint64(1)
	for wait := time.Second; t.target.Proto == "tcp" && wait <= t.timeout; wait = 2*wait + time.Second {
		n++
	}
	return n
}

// ruleNote tells the packets of a rule. An accepted connection has any number, and
// of a dropped one no more than most are ours.
func ruleNote(c netns.RuleCounter, most uint64) string {
	note := fmt.Sprintf("%s, +%d packet%s", c.Verdict, c.Packets, plural(c.Packets))
	switch c.Verdict {
	case "": // An entry of the map that such a rule looks into.
		note = strings.TrimPrefix(note, ", ")
	case "dnat":
		note += ", where its map has the port"
	}
	if c.Verdict == "drop" && c.Packets > most {
		note += fmt.Sprintf(", of which at most %d of ours: others were dropped meanwhile", most)
	}
	return note
}

func plural(n uint64) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func (t *tracer) findings() findings {
	return findings{t.echo, t.way.None != "", t.unheard, t.routed, t.read, t.Rules}
}

// findings are what a verdict is made of.
type findings struct {
	echo netns.Echo
	// noWay says that the beginning's kernel knows no route.
	noWay bool
	// unheard says that nobody on the network has the address.
	unheard bool
	// routed says that the host's rules saw the probe.
	routed bool
	// read says that a program at the other end has read a datagram meanwhile.
	read  bool
	rules []netns.RuleCounter
}

// verdict judges. A drop counts only where nothing came back: the counters are of
// all traffic.
func (f findings) verdict() (Verdict, *netns.RuleCounter) {
	switch {
	case f.echo.Outcome == netns.Answered:
		return Delivered, nil
	case f.noWay:
		return NoRoute, nil
	case f.echo.Outcome == netns.Refused:
		return Refused, nil
	case f.read:
		return Delivered, nil
	case f.routed:
		for i, c := range f.rules {
			if c.Verdict == "drop" && f.echo.Outcome == netns.Silent {
				return Dropped, &f.rules[i]
			}
		}
	}
	if f.echo.Outcome == netns.Unreachable || f.unheard {
		return NoRoute, nil
	}
	return Unanswered, nil
}

// conclude judges, and says what may be done.
func (t *tracer) conclude() {
	verdict, by := t.findings().verdict()
	t.Verdict = verdict
	who := t.who()
	switch verdict {
	case Delivered:
		t.Says = t.deliveredSays(who)
	case Refused:
		t.say("answer", t.echo.Error, "after "+round(t.echo.Took))
		t.Says = fmt.Sprintf("refused: the packet reached %s, and nobody listens at port %d/%s there", who, t.finalPort(), t.target.Proto)
		t.Hint = t.refusedHint()
	case Dropped:
		t.say("answer", "none within "+t.timeout.String(), "")
		t.Says = fmt.Sprintf("dropped by the rule %q of chain %s, which counted while the probe was out", by.Comment, by.Chain)
		t.Hint = t.droppedHint(by.Comment)
	case NoRoute:
		t.say("answer", cmp.Or(t.echo.Error, "none within "+t.timeout.String()), "")
		t.Says, t.Hint = t.noRouteSays(who)
	case Unanswered:
		t.say("answer", "none within "+t.timeout.String(), "")
		t.Says = "unanswered: no rule of minidock's dropped it, and nothing came back"
		t.Hint = t.unansweredHint()
	}
}

// who is how the other end is called.
func (t *tracer) who() string {
	switch {
	case t.reached != nil:
		return t.reached.Config.Name
	case t.way.Local:
		return t.From + " itself"
	}
	return t.Address.String()
}

func (t *tracer) deliveredSays(who string) string {
	if t.echo.Outcome != netns.Answered {
		t.say("answer", "none within "+t.timeout.String(), "but a program there has read a datagram: UDP needs no answer")
		return "delivered: a program in " + who + " has read it"
	}
	what := map[string]string{"tcp": "connected", "udp": "a datagram came back", "icmp": "an echo came back"}[t.target.Proto]
	t.say("answer", what, "after "+round(t.echo.Took))
	return "delivered: " + who + " answers"
}

// refusedHint knows the usual reasons: the host's port used inside, a program that
// listens on loopback alone, another port.
func (t *tracer) refusedHint() string {
	if t.reached == nil {
		return "Which ports are open there, its own `ss -lntu` tells."
	}
	name := t.reached.Config.Name
	for _, p := range t.reached.Live.Ports {
		if t.led == nil && p.Host == t.target.Port && p.Proto == t.target.Proto && p.Container != p.Host {
			return fmt.Sprintf("Port %d is the host's, published for %s's port %d. Inside networks, call %d: minidock network trace %s %s:%d", p.Host, name, p.Container, p.Container, t.From, name, p.Container)
		}
	}
	all, err := netns.Listening(t.reached.Live.Pid, t.target.Proto)
	if err != nil {
		return "" // It has just ended.
	}
	var texts []string
	for _, at := range all {
		if at.Port() == t.finalPort() && at.Addr().IsLoopback() {
			return fmt.Sprintf("In %s a program listens at %s, its loopback link, which nobody outside reaches. Have it listen at 0.0.0.0.", name, at)
		}
		texts = append(texts, at.String())
	}
	if len(texts) == 0 {
		return fmt.Sprintf("In %s nobody listens at any %s port. Is the server still starting? See minidock logs %s.", name, t.target.Proto, name)
	}
	return fmt.Sprintf("In %s programs listen at: %s.", name, strings.Join(texts, ", "))
}

// droppedHint says how to put two containers on one network.
func (t *tracer) droppedHint(rule string) string {
	switch {
	case t.reached != nil && t.from != nil && sharedNetwork(t.from, t.reached) != "":
		return fmt.Sprintf("Both are on network %s: call it by its name or its address there.", sharedNetwork(t.from, t.reached))
	case t.reached != nil && t.from != nil && len(t.reached.Config.Network.Endpoints) > 0:
		return fmt.Sprintf("%s and %s are not on one network (%s; %s): there is a wall between. %s",
			t.From, t.reached.Config.Name, namesOfNetworks(t.from), namesOfNetworks(t.reached), t.joinHint(t.networkAt(t.Address)))
	case strings.Contains(rule, "way out"):
		return "An internal network has no way out; that is what it is for."
	}
	return ""
}

// joinHint says how the beginning of the trace comes to a network.
func (t *tracer) joinHint(network string) string {
	switch n := t.from.Config.Network; {
	case n.Mode == netns.None && len(n.Endpoints) == 0:
		return fmt.Sprintf("Take it off none and join them: minidock network disconnect none %s; minidock network connect %s %[1]s", t.from.Config.Name, network)
	case !n.bridged():
		return fmt.Sprintf("A container on the host's network joins no other: make one with --network %s", network)
	}
	return fmt.Sprintf("Join them: minidock network connect %s %s", network, t.from.Config.Name)
}

// networkAt is the network that an address of the container reached is on.
func (t *tracer) networkAt(a netip.Addr) string {
	for _, e := range t.reached.Config.Network.Endpoints {
		if e.Address == a {
			return e.Network
		}
	}
	return t.reached.Config.Network.Mode
}

func namesOfNetworks(c *Container) string {
	return c.Config.Name + ": " + cmp.Or(strings.Join(c.Config.Network.Names(), ", "), "none")
}

// noRouteSays explains why there is no way.
func (t *tracer) noRouteSays(who string) (says, hint string) {
	switch {
	case t.broken != "":
		return "no route: nothing gets through to it", t.broken
	case t.way.None == "" && !t.way.Via.IsValid():
		return "no route: nobody on the network says that " + t.Address.String() + " is theirs (ARP)", "No running container has the address: see minidock network explain, or ps."
	case t.way.None == "":
		return "no route: a router on the way said so: " + t.echo.Error, "The host itself may have no way there: ip route get " + t.Address.String()
	case t.from == nil:
		return "no route: the host knows no way to " + t.Address.String(), "See ip route."
	case t.onlyInternal():
		hint = fmt.Sprintf("%s is on internal networks only: they have no gateway, and so no way to any other network.", t.From)
		if t.reached != nil {
			hint += fmt.Sprintf(" To reach %s: %s", who, t.joinHint(t.networkAt(t.Address)))
		}
		return fmt.Sprintf("no route: %s has no way to %s", t.From, t.Address), hint
	case t.from.Config.Network.Mode == netns.None:
		return fmt.Sprintf("no route: %s has no network", t.From), "It was made with --network none: minidock network disconnect none " + t.from.Config.Name + " lets it join others."
	}
	return fmt.Sprintf("no route: %s has no way to %s", t.From, t.Address), "Its routes: minidock exec " + t.From + " ip route"
}

// onlyInternal says whether none of the container's networks has a way out.
func (t *tracer) onlyInternal() bool {
	views, err := t.from.views()
	return err == nil && len(views) > 0 && !slices.ContainsFunc(views, func(v netns.View) bool { return !v.Internal })
}

// unansweredHint names others' chains that drop.
func (t *tracer) unansweredHint() string {
	if t.broken != "" {
		return t.broken
	}
	others, err := t.layout.Networks().Obstacles()
	if err == nil && t.routed && len(others) > 0 {
		return fmt.Sprintf("The chain %s drops what is forwarded unless a rule of its own says otherwise: minidock doctor has the fix.", others[0].Chain)
	}
	if t.target.Proto == "udp" {
		return "A UDP server need not answer what it does not understand."
	}
	return "It may have been dropped further on: by another table (nft list ruleset), a router, or the other end."
}

// unknownName knows the usual reasons for a name that has no answer.
func (t *tracer) unknownName() string {
	c, err := Find(t.layout, t.target.Name)
	switch {
	case errors.Is(err, ErrNoContainer):
		return fmt.Sprintf("No container is called %s either: see minidock ps.", t.target.Name)
	case err != nil:
		return ""
	case !c.Running():
		return fmt.Sprintf("Container %s is not running: its name is known while it runs. minidock start %s", c.Config.Name, c.Config.Name)
	case len(c.Config.Network.Endpoints) == 0:
		return fmt.Sprintf("Container %s is on no network (its mode is %s), so it has no name on any.", c.Config.Name, c.Config.Network.Mode)
	case t.from == nil:
		return fmt.Sprintf("Names of containers are known to containers on the same network, not to the host. It has %s; or publish a port (run -p) and call the host.", addressesOf(c))
	}
	if shared := sharedNetwork(t.from, c); shared != "" {
		return fmt.Sprintf("Both are on network %s, so %s's resolver should know it: does the container's monitor live? Try minidock restart %s.", shared, t.From, t.From)
	}
	e := c.Config.Network.Endpoints[0]
	return fmt.Sprintf("Container %s is there, but on no network of %s's (%s; %s), and names end where the network ends. %s. What its address alone would give: minidock network trace %s %s",
		c.Config.Name, t.From, namesOfNetworks(t.from), namesOfNetworks(c), t.joinHint(e.Network), t.From, e.Address)
}

// sharedNetwork is a network that both are on, or "".
func sharedNetwork(a, b *Container) string {
	for _, e := range a.Config.Network.Endpoints {
		if slices.Contains(b.Config.Network.Names(), e.Network) {
			return e.Network
		}
	}
	return ""
}

func addressesOf(c *Container) string {
	var all []string
	for _, e := range c.Config.Network.Endpoints {
		all = append(all, e.Address.String()+" on "+e.Network)
	}
	return strings.Join(all, ", ")
}
