package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// TraceTarget is what a trace goes to.
type TraceTarget struct {
	// Name is a name or an address.
	Name string
	// Port is 0 for an ICMP echo.
	Port uint16
	// Proto is tcp, udp or icmp.
	Proto string
}

// String is as it is typed.
func (t TraceTarget) String() string {
	switch {
	case t.Port == 0:
		return t.Name
	case t.Proto == "udp":
		return fmt.Sprintf("%s:%d/udp", t.Name, t.Port)
	}
	return fmt.Sprintf("%s:%d", t.Name, t.Port)
}

// Hop is one thing that happens to a probe on its way.
type Hop struct {
	// Stage is name, route, veth, bridge, host, port, rule or answer.
	Stage string
	Text  string
	// Note says what it means.
	Note string `json:",omitempty"`
}

// Verdict is what came of a trace.
type Verdict string

// The verdicts.
const (
	Delivered  Verdict = "delivered"
	Refused    Verdict = "refused"
	Dropped    Verdict = "dropped"
	Unanswered Verdict = "unanswered"
	NoRoute    Verdict = "no route"
	NoName     Verdict = "no name"
)

// Trace is the story of a probe, from the name to the end.
type Trace struct {
	From, To string
	// Address is the zero Addr where the name has none.
	Address netip.Addr `json:",omitzero"`
	Hops    []Hop
	Verdict Verdict
	// Says is the verdict as a sentence, and Hint what may be done about it.
	Says, Hint string
	// Rules are those that counted packets while the probe was out, each with how
	// many: those of others are among them.
	Rules []netns.RuleCounter
	// See are commands that show the same by hand.
	See []string
}

// hostParty is the word for the host itself as the beginning of a trace.
const hostParty = "host"

// tracer follows one probe.
type tracer struct {
	Trace
	layout  Layout
	target  TraceTarget
	timeout time.Duration
	// from is nil for the host, and where a container shares another's network, that one.
	from *Container
	// namespace is the file of the network namespace that the probe begins in; ""
	// is the host's.
	namespace string
	// running are all containers that run; reached is the one that has the address
	// that is called, or nil.
	running []*Container
	reached *Container
	// led is the published port that the probe came by, or nil.
	led  *netns.Publication
	way  netns.Way
	echo netns.Echo
	// read says that a program at the other end has read a datagram meanwhile.
	read bool
	// routed says that the host's rules saw the probe, and walled that there is
	// minidock's table among them.
	routed, walled bool
	// told says that the rules are among the hops already.
	told bool
	// unheard says that the next on the way did not answer ARP.
	unheard bool
	// broken is what was seen on the way that stops every packet, with what to do; "" is
	// nothing.
	broken string
}

// TraceNetwork sends one real probe from a container, or from "host", and tells what
// happens to it; timeout is how long each question waits for its answer.
func TraceNetwork(l Layout, from string, to TraceTarget, timeout time.Duration) (Trace, error) {
	t := &tracer{layout: l, target: to, timeout: timeout}
	t.From, t.To = from, to.String()
	if err := t.depart(from); err != nil {
		return t.Trace, err
	}
	known, err := t.resolve()
	if err != nil || !known {
		return t.Trace, err
	}
	t.reached = t.holderOf(t.Address)
	if err := t.probe(); err != nil {
		return t.Trace, err
	}
	if err := t.follow(); err != nil {
		return t.Trace, err
	}
	t.conclude()
	if t.walled {
		t.See = append(t.See, "nft list table ip "+t.layout.Instance)
	}
	return t.Trace, nil
}

func (t *tracer) say(stage, text, note string) {
	t.Hops = append(t.Hops, Hop{stage, text, note})
}

// depart finds where the probe begins.
func (t *tracer) depart(from string) error {
	all, err := List(t.layout)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Running() {
			t.running = append(t.running, c)
		}
	}
	c, err := Find(t.layout, from)
	if errors.Is(err, ErrNoContainer) && from == hostParty {
		return nil
	}
	if err != nil {
		return err
	}
	if !c.Running() {
		return &steps.Fault{Msg: fmt.Sprintf("container %s is not running: it sends nothing", c.Config.Name), Hint: "minidock start " + c.Config.Name}
	}
	t.from, t.From = c, c.Config.Name
	t.namespace = fmt.Sprintf("/proc/%d/ns/net", c.Live.Pid)
	if owner, err := load(t.layout, c.Config.namesOf()); err == nil {
		t.from = owner // Networks are its, not those of who shares them; it may be gone.
	}
	return nil
}

// holderOf is the running container that has an address on one of its networks.
func (t *tracer) holderOf(a netip.Addr) *Container {
	for _, c := range t.running {
		if slices.ContainsFunc(c.Config.Network.Endpoints, func(e netns.Endpoint) bool { return e.Address == a }) {
			return c
		}
	}
	return nil
}

// probe asks for the way and sends the probe, and reads the counters before and after.
func (t *tracer) probe() (err error) {
	if t.way, err = netns.WayTo(t.namespace, t.Address); err != nil {
		return err
	}
	before, err := t.layout.Networks().Counters()
	if err != nil {
		return err
	}
	t.walled = len(before) > 0 // The table's rules are there with it.
	readBefore, watched := t.datagrams()
	p := netns.Probe{Namespace: t.namespace, To: t.Address, Port: t.target.Port, Proto: t.target.Proto, Timeout: t.timeout}
	if t.echo, err = p.Send(); err != nil {
		return err
	}
	readAfter, _ := t.datagrams()
	t.read = watched && readAfter > readBefore
	after, err := t.layout.Networks().Counters()
	if err != nil {
		return err
	}
	t.Rules = countedMeanwhile(before, after)
	if t.echo.Outcome == netns.Silent && !t.way.Local && !t.way.Via.IsValid() {
		t.unheard, err = netns.Unheard(t.namespace, t.way.Link, t.Address)
	}
	return err
}

// datagrams are how many have been read where the probe goes to, if that can be seen.
func (t *tracer) datagrams() (uint64, bool) {
	if t.reached == nil || t.target.Proto != "udp" {
		return 0, false
	}
	n, err := netns.DatagramsRead(t.reached.Live.Pid)
	return n, err == nil // It may have ended meanwhile.
}

// countedMeanwhile are the counters that rose, each by how much.
func countedMeanwhile(before, after []netns.RuleCounter) (rose []netns.RuleCounter) {
	type key struct{ chain, comment string }
	known := map[key]netns.RuleCounter{}
	for _, c := range before {
		known[key{c.Chain, c.Comment}] = c
	}
	for _, c := range after {
		was := known[key{c.Chain, c.Comment}]
		// A counter that is smaller than it was belongs to a table made anew.
		if c.Packets > was.Packets {
			c.Packets, c.Bytes = c.Packets-was.Packets, c.Bytes-was.Bytes
			rose = append(rose, c)
		}
	}
	return rose
}

// resolve finds the address, and where it is known from.
func (t *tracer) resolve() (known bool, err error) {
	if address, err := netip.ParseAddr(t.target.Name); err == nil {
		t.Address = address
		return true, nil
	}
	source, err := t.nameSource()
	if err != nil {
		return false, err
	}
	if address, found := hostsEntry(source.hosts, t.target.Name); found {
		t.Address = address
		t.say("name", fmt.Sprintf("%s is %s", t.target.Name, address), "says the file /etc/hosts")
		return true, nil
	}
	server, found := source.server()
	if !found {
		t.noName("no name server: /etc/resolv.conf names none", "Use an address.")
		return false, nil
	}
	answer, err := netns.Ask(t.namespace, server, t.target.Name, t.timeout)
	if err != nil {
		return false, err
	}
	if answer.Code == netns.NoQuestion {
		t.noName(t.target.Name+": "+answer.Code, "a part of it is empty or longer than 63 letters, or the whole longer than 255")
		return false, nil
	}
	note, err := t.answerSource(server, answer)
	if err != nil {
		return false, err
	}
	t.see("dig @" + server.Addr().String() + " " + t.target.Name)
	if len(answer.Addresses) == 0 {
		t.noName(fmt.Sprintf("%s: %s", t.target.Name, answer.Words()), note)
		return false, nil
	}
	t.Address = answer.Addresses[0]
	words := answer.Words() + ", says " + server.Addr().String()
	if len(answer.Addresses) > 1 {
		words += "; the first of them is tried"
	}
	t.say("name", fmt.Sprintf("%s is %s", t.target.Name, words), note+", in "+round(answer.Took))
	return true, nil
}

func round(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// see adds a command that is run where the probe begins. The namespace's long name
// is given a short one first.
func (t *tracer) see(command string) {
	if t.from == nil {
		t.See = append(t.See, command)
		return
	}
	file := t.namespace
	if t.from.Config.Network.bridged() {
		file = t.layout.NetworkNamespace(t.from.Config.ID)
	}
	if name := "N=" + steps.ShellQuote(file); !slices.Contains(t.See, name) {
		t.See = append(t.See, name)
	}
	t.See = append(t.See, "nsenter --net=$N "+command)
}

// noName ends a trace whose name nobody knows.
func (t *tracer) noName(text, note string) {
	t.say("name", text, note)
	t.Verdict, t.Says = NoName, fmt.Sprintf("no name: %s has no address for %s, so nothing was sent", t.From, t.target.Name)
	t.Hint = t.unknownName()
}

// nameSource is the texts of the two files that a C library asks.
type nameSource struct{ hosts, resolvConf string }

// nameSource reads the files as the beginning of the trace sees them.
func (t *tracer) nameSource() (s nameSource, err error) {
	files := []string{netns.HostHosts, netns.HostResolvConf}
	if t.from != nil {
		dir := t.layout.Container(t.from.Config.namesOf())
		files = []string{filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")}
	}
	for i, into := range []*string{&s.hosts, &s.resolvConf} {
		if *into, err = readIfThere(files[i]); err != nil {
			return s, err
		}
	}
	return s, nil
}

func readIfThere(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read names: %w", err)
	}
	return string(text), nil
}

// hostsEntry finds a name's first IPv4 address in the text of a hosts(5) file.
func hostsEntry(text, name string) (netip.Addr, bool) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.ContainsFunc(fields[1:], func(f string) bool { return strings.EqualFold(f, name) }) {
			continue
		}
		if address, err := netip.ParseAddr(fields[0]); err == nil && address.Is4() {
			return address, true
		}
	}
	return netip.Addr{}, false
}

// server is the first name server of a resolv.conf(5) that has an IPv4 address.
func (s nameSource) server() (netip.AddrPort, bool) {
	for line := range strings.Lines(s.resolvConf) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil && address.Is4() {
			return netip.AddrPortFrom(address, dnsPort), true
		}
	}
	return netip.AddrPort{}, false
}

// dnsPort is where name servers listen (RFC 1035, 4.2).
const dnsPort = 53

// answerSource says where an answer comes from: our resolver has the containers'
// names by itself, and forwards all others.
func (t *tracer) answerSource(server netip.AddrPort, answer netns.Answer) (string, error) {
	if t.onHost() || server.Addr().String() != netns.ResolverAddress {
		return "the name server of /etc/resolv.conf", nil
	}
	owner := t.from
	if !answer.Replied && (owner.Live == nil || !alive(owner.Live.Monitor, owner.Live.MonitorStart)) {
		return "nobody listens there: the resolver went with the container's monitor", nil
	}
	views, err := owner.views()
	if err != nil {
		return "", err
	}
	if len(views) == 0 {
		return "in no network's table: " + owner.Config.Name + " is on no network", nil
	}
	hasWayOut := false
	for _, view := range views {
		if view.Residents, err = t.layout.Networks().Residents(view.Network); err != nil {
			return "", err
		}
		hasWayOut = hasWayOut || !view.Internal
		found, known := netns.NewTable(view).Lookup(t.target.Name)
		switch {
		case known && !answer.Replied:
			return "in network " + view.Network + "'s table, but nothing came back: do the container's rules lead there? nft list ruleset, in its namespace", nil
		case known && slices.Equal(sorted(found), answer.Addresses):
			return "from network " + view.Network + "'s table", nil
		}
	}
	if !hasWayOut {
		return "in no network's table, and not forwarded: " + owner.Config.Name + " is on internal networks only", nil
	}
	names, err := owner.names()
	if err != nil {
		return "", err
	}
	var upstreams []string
	for _, u := range names.Upstreams() {
		upstreams = append(upstreams, u.Addr().String())
	}
	return "in no network's table, so forwarded to " + cmp.Or(strings.Join(upstreams, " or "), "nobody: there is no name server"), nil
}

func sorted(all []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(all), netip.Addr.Compare)
}
