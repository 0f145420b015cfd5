package main

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/gate"
	"github.com/minidock/minidock/internal/require"
)

func TestMain(m *testing.M) {
	gate.Enter()
	// A shell's background job ignores signals (POSIX.1-2017, 2.11), and so would all
	// that the tests start and then send a signal.
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	os.Exit(m.Run())
}

// episode is a command during which somebody is killed. A verb that changes
// anything has at least one here.
type episode struct {
	name string
	// setUp makes what the command finds; nil is nothing.
	setUp func(*killing)
	// args is the command, its words parted by spaces; $OTHER is the directory of
	// a second image.
	args string
	// whole says that it is over only when its container has ended, too.
	whole bool
	// victims may be killed; nil is the command alone.
	victims []string
	// every kills at every act, and not only at those that no earlier episode has,
	// and some of the others.
	every bool
}

var (
	both    = []string{"monitor", "command"}
	monitor = []string{"monitor"}
)

// episodes are what is played, those first that others then need not repeat.
func episodes() []episode {
	return []episode{
		{name: "run", args: "run --name victim probe /probe exit 0", victims: both, every: true},
		{name: "stop", setUp: (*killing).running, args: "stop victim", victims: both, every: true},
		{name: "rm", setUp: (*killing).stopped, args: "rm victim", every: true},
		{name: "rm -f", setUp: (*killing).stubborn, args: "rm -f victim", victims: both},

		{name: "run -d", args: "run -d --name victim probe /probe ignore-term", victims: both},
		{name: "run --rm", args: "run --rm --name victim probe /probe exit 0", victims: both},
		{name: "run --restart", args: "run -d --name victim --restart on-failure:1 probe /probe exit 3", whole: true, victims: monitor},
		{name: "create", args: "create --name victim probe /probe exit 0"},
		{name: "start", setUp: (*killing).stopped, args: "start -a victim", victims: both},
		{name: "exec", setUp: (*killing).running, args: "exec victim /probe echo hello", victims: both},
		{name: "kill", setUp: (*killing).running, args: "kill victim", whole: true, victims: both},
		{name: "restart", setUp: (*killing).running, args: "restart victim", victims: both},
		{name: "pause", setUp: (*killing).running, args: "pause victim", victims: both},
		{name: "unpause", setUp: (*killing).paused, args: "unpause victim", victims: both},
		{name: "rename", setUp: (*killing).running, args: "rename victim renamed", victims: both},
		{name: "rename of a stopped one", setUp: (*killing).stopped, args: "rename victim renamed"},
		{name: "update", setUp: (*killing).running, args: "update --restart always victim", victims: both},
		{name: "update of a stopped one", setUp: (*killing).stopped, args: "update --restart no victim"},
		{name: "cp in", setUp: (*killing).running, args: "cp $OTHER victim:/copy"},
		{name: "cp out", setUp: (*killing).stopped, args: "cp victim:/probe $OTHER/copy"},
		{name: "export", setUp: (*killing).stopped, args: "export -o $OTHER/copy victim"},
		{name: "container prune", setUp: (*killing).stopped, args: "container prune -f"},
		{name: "system prune", setUp: (*killing).stopped, args: "system prune -f"},
		{name: "system halt", setUp: (*killing).running, args: "system halt"},
		{name: "system boot", setUp: (*killing).halted, args: "system boot", victims: both},
		{name: "image import", args: "image import $OTHER other"},
		{name: "image rm", setUp: (*killing).otherImage, args: "image rm other"},
		{name: "image prune", setUp: (*killing).dangling, args: "image prune -f"},
		{name: "network create", args: "network create victims"},
		{name: "network rm", setUp: (*killing).network, args: "network rm victims"},
		{name: "network connect", setUp: (*killing).besideNetwork, args: "network connect victims victim", victims: both},
		{name: "network connect of a stopped one", setUp: (*killing).stoppedBesideNetwork, args: "network connect victims victim"},
		{name: "network disconnect", setUp: (*killing).onNetwork, args: "network disconnect victims victim", victims: both},
		{name: "network prune", setUp: (*killing).network, args: "network prune -f"},

		{name: "rm -f without a monitor", setUp: (*killing).orphan, args: "rm -f victim"},
		{name: "stop without a monitor", setUp: (*killing).orphan, args: "stop victim"},
		{name: "ps that finds a dead monitor", setUp: (*killing).lost, args: "ps -a"},
		{name: "system cleanup", setUp: (*killing).half, args: "system cleanup"},
	}
}

// unplayed are the verbs that need no episode.
func unplayed() []string {
	return []string{
		// These only read.
		"inspect", "explain", "logs", "port", "top", "stats", "events", "wait", "diff", "doctor",
		"completion bash", "completion fish", "completion zsh",
		"images", "image ls", "image inspect", "network explain", "network inspect", "network ls", "network trace", "system df", "system events",
		// The same as "image rm".
		"rmi",
		// What run does once its container runs.
		"attach",
		// These run containers as run does, and remove them as rm -f does.
		"demo cpu", "demo memory", "demo pids", "demo network", "demo all",
	}
}

func TestEveryVerbIsPlayedOrOnlyReads(t *testing.T) {
	verbs := leaves("", commands())
	played := map[string]bool{}
	for _, e := range episodes() {
		for _, v := range verbs {
			played[v] = played[v] || e.args == v || strings.HasPrefix(e.args, v+" ")
		}
	}
	for _, v := range verbs {
		if plain, ok := strings.CutPrefix(v, "container "); ok && slices.Contains(verbs, plain) {
			continue // The same command.
		}
		if played[v] == slices.Contains(unplayed(), v) {
			t.Errorf("%s: needs an episode, or a reason in unplayed to have none", v)
		}
	}
	for _, v := range unplayed() {
		if !slices.Contains(verbs, v) {
			t.Errorf("%s is no verb", v)
		}
	}
}

// leaves lists the commands that do something, each by its words.
func leaves(above string, list []*cli.Command) (verbs []string) {
	for _, c := range list {
		name := strings.TrimSpace(above + " " + c.Name)
		if len(c.Subcommands) == 0 {
			verbs = append(verbs, name)
		}
		verbs = append(verbs, leaves(name, c.Subcommands)...)
	}
	return verbs
}

// Whoever is killed, at whichever act: the commands that follow tell no lie,
// take back what is left, give the name back, and touch nothing foreign.
func TestKilledAtAnyActNothingIsLeft(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay, require.Seccomp)
	groups, lanes := allGroups(), 2
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		groups, lanes = spread(groups), 1
	}
	stages := make([]*killing, lanes)
	for i := range stages {
		stages[i] = newKilling(t)
	}
	// Each episode once undisturbed, to see which acts there are.
	inLanes(t, "undisturbed", stages, firstOfEpisodes(groups), func(k *killing, g *group) { g.acts = k.play(g, nil) })
	if t.Failed() {
		return
	}
	shareActs(groups)
	known := map[string]bool{}
	total := 0
	for _, g := range groups {
		g.choose(known)
		t.Logf("%s: at %d of %d acts", g, len(g.moments), len(g.acts))
		total += len(g.moments)
	}
	t.Logf("%d kills", total)
	inLanes(t, "killed", stages, groups, func(k *killing, g *group) {
		killed, start := 0, time.Now()
		for i := range g.moments {
			if k.play(g, &g.moments[i]); k.t.Failed() {
				return
			}
			if k.struck {
				killed++
			}
		}
		k.t.Logf("%d killed in %.1f s", killed, time.Since(start).Seconds())
		// A play may go another way than the undisturbed one, but not each.
		if killed < len(g.moments)/2 {
			k.t.Errorf("only %d of %d moments came", killed, len(g.moments))
		}
		k.must("run", "--rm", "--name", "victim", "probe", "/probe", "exit", "0")
	})
}

// inLanes plays all groups, each in one of the lanes, as soon as one is free.
func inLanes(t *testing.T, name string, stages []*killing, groups []*group, play func(*killing, *group)) {
	t.Run(name, func(t *testing.T) {
		queue := make(chan *group, len(groups))
		for _, g := range groups {
			queue <- g
		}
		close(queue)
		for i, k := range stages {
			t.Run(fmt.Sprint("lane ", i+1), func(t *testing.T) {
				t.Parallel()
				for g := range queue {
					whole := t.Run(g.String(), func(t *testing.T) {
						k.t = t
						play(k, g)
					})
					if !whole {
						return // What went wrong may still be there: nothing can be told from what follows.
					}
				}
			})
		}
	})
}

// group is the moments of an episode at which one victim is killed.
type group struct {
	episode
	victim  string
	acts    []moment // when it is undisturbed
	moments []moment
	// sample, where not 0, takes one moment alone: this far into the episode, in percent.
	sample int
}

func (g *group) String() string { return g.name + ", " + g.victim + " killed" }

func allGroups() (groups []*group) {
	for _, e := range episodes() {
		if e.victims == nil {
			e.victims = []string{"command"}
		}
		for _, victim := range e.victims {
			groups = append(groups, &group{episode: e, victim: victim})
		}
	}
	return groups
}

// firstOfEpisodes leaves out the groups that have the episode of one before.
func firstOfEpisodes(all []*group) (first []*group) {
	for i, g := range all {
		if i == 0 || g.name != all[i-1].name {
			first = append(first, g)
		}
	}
	return first
}

// shareActs gives those left out the acts of the first.
func shareActs(all []*group) {
	for i, g := range all {
		if i > 0 && g.name == all[i-1].name {
			g.acts = all[i-1].acts
		}
	}
}

// samples is how many kills there are on an emulated machine, where each takes
// many seconds.
const samples = 5

// spread takes groups from all over the table.
func spread(all []*group) (few []*group) {
	for i := range samples {
		g := all[i*len(all)/samples]
		g.sample = (2*i + 1) * 100 / (2 * samples)
		few = append(few, g)
	}
	return few
}

// alone says whether a moment is not much the same as those around it: while
// others act, the command only waits; and what is done in every tree of cgroup
// version 1 is one step.
func (g *group) alone(m *moment) bool {
	return g.concerns(m) == g.victim && !strings.Contains(m.what, legacyTree)
}

// concerns says whose death is a case of its own at this act. The command's is none
// within a step of the monitor's or the container's.
func (g *group) concerns(m *moment) string {
	if m.actor != "command" && !m.notes() {
		return "monitor"
	}
	return g.victim
}

// notes says whether the act is a line of a ledger. Between the end of one step and
// the beginning of the next nothing is done: of two lines in a row one is enough.
func (m *moment) notes() bool { return strings.Contains(m.what, "/ledgers/") }

// stride is how many known acts lie between two at which somebody is killed.
const stride = 97

// choose takes the acts that no earlier episode has, and some of the others; an
// act is known by who does it, what it is, and what it is done to.
func (g *group) choose(known map[string]bool) {
	passed := 0
	before := map[string]moment{}
	for _, m := range g.acts {
		previous := before[m.actor]
		before[m.actor] = m
		if g.victim == "monitor" && !m.monitored || previous.notes() && m.notes() {
			continue
		}
		key := fmt.Sprint(g.concerns(&m), " ", m.actor, " ", m.what)
		if passed++; g.every && g.alone(&m) || !known[key] || passed%stride == 0 {
			g.moments = append(g.moments, m)
		}
		known[key] = true
	}
	if len(g.moments) == 0 && len(g.acts) > 0 {
		g.moments = g.acts[len(g.acts)/2:][:1]
	}
	if g.sample > 0 && len(g.moments) > 0 {
		g.moments = g.moments[len(g.moments)*g.sample/100:][:1]
	}
}
