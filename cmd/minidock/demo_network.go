package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// The networks and containers of the demo.
const (
	frontNetwork, backNetwork, vaultNetwork = "demo-front", "demo-back", "demo-vault"
	webContainer, apiContainer, dbContainer = "demo-web", "demo-api", "demo-db"
)

func networkActs(s demoSettings) []demoAct {
	server := func(name string, networks ...string) []string {
		args := []string{"run", "-d", "--name", name}
		for _, n := range networks {
			args = append(args, "--network", n)
		}
		return append(args, s.image, "httpd", "-f", "-p", "80")
	}
	return []demoAct{
		{
			heading: "Networks: a network is a switch, and a container is plugged into it",
			why: "Two networks and three containers, each with a web server. web is on the one network, db on the other, " +
				"and api on both. This is what the kernel then has: for each network a bridge, and for each container a pair of " +
				"links that is a cable, with one end in the bridge and the other in the container.",
			commands: [][]string{
				{"network", "create", frontNetwork},
				{"network", "create", backNetwork},
				server(webContainer, frontNetwork), server(apiContainer, frontNetwork, backNetwork), server(dbContainer, backNetwork),
			},
			look: lookAtBoth,
		},
		{
			heading: "Within one network, everybody reaches everybody by name",
			why: "One real packet from web to api. Each line is asked of the kernel: who knows the name, which way the packet " +
				"takes, and which rules of the firewall counted it.",
			look: probing(webContainer, apiContainer, runtime.Delivered),
		},
		{
			heading: "A name ends where its network ends",
			why: "web and db are not on one network. So web's resolver does not know the name db: it asks the host's name servers, " +
				"as for any name that is no container's.",
			look: probing(webContainer, dbContainer, runtime.NoName),
		},
		{
			heading: "And there is a wall between two networks",
			why: "What if web knows db's address all the same? The host could pass the packet on: it is the gateway of both networks. " +
				"A rule of the firewall drops it.",
			look: probingAddress(webContainer, dbContainer, runtime.Dropped),
		},
		{
			heading: "A container on both networks reaches both",
			why: "api has a cable in each bridge. That makes it no router: it does not pass on what is not for itself, so the wall " +
				"between web and db stays.",
			look: probing(apiContainer, dbContainer, runtime.Delivered),
		},
		{
			heading: "Names come and go with their containers",
			why: "api is stopped and started again, while web asks its own resolver for the name, over and over. There is no list that " +
				"somebody must update: a container that starts writes a file, and every other container's resolver looks there before it answers.",
			look: watchName,
		},
		{
			heading: "An internal network has no way out",
			why: "db moves, while it runs, to a network that is internal. Before, its packets for the world went to the gateway; " +
				"what became of them there is the host's affair. Now it has no gateway at all.",
			look: moveInside,
		},
	}
}

// lookAtBoth draws the two networks.
func lookAtBoth(_ context.Context, s *stage) (verdict string, shown bool, err error) {
	shown = true
	for _, name := range []string{frontNetwork, backNetwork} {
		p, err := runtime.LookAtNetwork(s.layout, name)
		if err != nil {
			return "", false, err
		}
		s.screen.show(titleOf(p)...)
		width, _ := s.screen.size()
		s.screen.show(sheetFor(width).drawHost(p)...)
		s.screen.show(nil)
		shown = shown && len(p.Cables) == 2 && len(p.Differences()) == 0
	}
	if !shown {
		return "The kernel does not have what was asked for: see minidock network explain.", false, nil
	}
	return "Two bridges with two cables each: " + apiContainer + " has one in either.", true, nil
}

// demoTimeout is how long a demo waits for an answer: on one host it comes within
// milliseconds, or not at all.
const demoTimeout = time.Second

// serverPort is where the demo's servers listen.
const serverPort = 80

// probing shows what becomes of a packet to a server.
func probing(from, to string, want runtime.Verdict) func(context.Context, *stage) (string, bool, error) {
	return func(_ context.Context, s *stage) (string, bool, error) {
		t, err := s.trace(from, to, serverPort)
		if err != nil {
			return "", false, err
		}
		return verdictOf(t, want)
	}
}

// trace sends a packet, with port 0 an ICMP echo, and draws its way.
func (s *stage) trace(from, to string, port uint16) (runtime.Trace, error) {
	target := runtime.TraceTarget{Name: to, Port: port, Proto: "tcp"}
	if port == 0 {
		target.Proto = "icmp"
	}
	s.show("network", "trace", from, target.String())
	s.screen.show(nil)
	t, err := runtime.TraceNetwork(s.layout, from, target, demoTimeout)
	if err == nil {
		width, _ := s.screen.size()
		s.screen.show(append(drawTrace(t, width)[2:], nil)...)
	}
	return t, err
}

func verdictOf(t runtime.Trace, want runtime.Verdict) (string, bool, error) {
	if t.Verdict != want {
		return fmt.Sprintf("%s → %s should have been %s, and was %s.", t.From, t.To, want, t.Says), false, nil
	}
	return map[runtime.Verdict]string{
		runtime.Delivered: t.From + " reaches " + t.To + ".",
		runtime.NoName:    "For " + t.From + " there is no " + t.To + ".",
		runtime.Dropped:   t.From + " does not get to " + t.To + ": the rule has counted the packet that it dropped.",
		runtime.NoRoute:   t.From + " has no way to " + t.To + ".",
	}[want], true, nil
}

// probingAddress is probing, by the address that a container has on its first network.
func probingAddress(from, to string, want runtime.Verdict) func(context.Context, *stage) (string, bool, error) {
	return func(ctx context.Context, s *stage) (string, bool, error) {
		address, err := s.addressOf(to)
		if err != nil {
			return "", false, err
		}
		return probing(from, address.String(), want)(ctx, s)
	}
}

func (s *stage) addressOf(container string) (netip.Addr, error) {
	c, err := runtime.Find(s.layout, container)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, e := range c.Config.Network.Endpoints {
		return e.Address, nil
	}
	return netip.Addr{}, &steps.Fault{Msg: "container " + container + " is on no network", Hint: "Somebody has taken it off: start the demo again."}
}

// watchName stops and starts a container, and measures how long after its file its
// name goes and comes.
func watchName(ctx context.Context, s *stage) (verdict string, shown bool, err error) {
	gone, err := s.hearAfter(ctx, "gone", "stop", "-t", "0", apiContainer)
	if err != nil {
		return "", false, err
	}
	there, err := s.hearAfter(ctx, "there", "start", apiContainer)
	if err != nil {
		return "", false, err
	}
	s.screen.show(nil)
	return fmt.Sprintf("The name was gone %s after its file, and there again %s after it.", millis(gone), millis(there)), true, nil
}

// hearAfter runs a command during which a container goes or comes, and returns how
// long after its file another one's resolver knows.
func (s *stage) hearAfter(ctx context.Context, what string, args ...string) (time.Duration, error) {
	asker, err := runtime.Find(s.layout, webContainer)
	if err != nil {
		return 0, err
	}
	address, err := s.addressOf(apiContainer)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, endless(apiContainer, demoPatience))
	defer cancel()
	began, ended := time.Now(), make(chan error, 1)
	go func() { ended <- s.do(ctx, args...) }()
	heard, err := runtime.Hear(ctx, asker, apiContainer, address, what == "there")
	if err := firstError([]error{<-ended, err}); err != nil {
		return 0, err
	}
	file, err := runtime.ResidentsChanged(s.layout, frontNetwork)
	if err != nil {
		return 0, err
	}
	// A file's time is that of the last tick of the kernel's clock, up to 10 ms ago (CONFIG_HZ).
	later := max(heard.Sub(file), 0)
	s.screen.show(
		text(normal, "    %6s ms: the file of %s is %s", tenths(file.Sub(began)), apiContainer, what),
		text(normal, "    %6s ms: for %s's resolver the name is %s", tenths(max(heard.Sub(began), file.Sub(began))), webContainer, what))
	return later, nil
}

func tenths(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1000) }

// moveInside moves a container to an internal network, and shows its way to the
// world before and after.
func moveInside(ctx context.Context, s *stage) (verdict string, shown bool, err error) {
	world := netns.World().String()
	before, err := s.trace(dbContainer, world, 0)
	if err != nil {
		return "", false, err
	}
	for _, args := range [][]string{
		{"network", "create", "--internal", vaultNetwork}, {"network", "connect", vaultNetwork, dbContainer}, {"network", "disconnect", backNetwork, dbContainer},
	} {
		if err := s.do(ctx, args...); err != nil {
			return "", false, err
		}
	}
	after, err := s.trace(dbContainer, world, 0)
	if err != nil {
		return "", false, err
	}
	in, shown, err := probingAddress(apiContainer, dbContainer, runtime.Dropped)(ctx, s)
	if err != nil || !shown {
		return in, shown, err
	}
	if !getsOut(before) || getsOut(after) {
		return "The way out did not go with the network: see minidock network explain.", false, nil
	}
	return "No packet of " + dbContainer + "'s leaves the network any more, and none from outside comes in.", true, nil
}

// getsOut says whether a probe has left its container.
func getsOut(t runtime.Trace) bool {
	for _, h := range t.Hops {
		if h.Stage == "veth" {
			return true
		}
	}
	return false
}
