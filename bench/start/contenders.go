package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/minidock/minidock/bench/internal/instance"
	"github.com/minidock/minidock/bench/internal/rounds"
	"github.com/minidock/minidock/cgroups"
)

// contender is one way to do what is timed.
type contender struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Command []string `json:"command"`
	// Samples holds wall-clock milliseconds, one list for each round.
	Samples [][]float64 `json:"samples_ms"`
	Median  float64     `json:"median_ms"`
	Min     float64     `json:"min_ms"`
	// Ratio is that of its median to the reference's, with its interval.
	Ratio *rounds.Ratio `json:"ratio,omitempty"`

	env []string
	// around is put before what runs it, the timing program included.
	around []string
	// prepare is a shell command that is run before each run, and not timed.
	prepare string
	// report is Command with another program: what it prints has to be the same for
	// everybody.
	report []string
}

// reportScript prints what has to be the same for everybody: rights, filter, and
// every mount by its place (those of cgroup version 1 are as many as a host has).
const reportScript = `grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
while read -r _ _ _ _ place _; do echo "$place"; done </proc/self/mountinfo | grep -v ^/sys/fs/cgroup/ | sort`

// startToExit times a whole life, by everybody that this machine has. Notes tell of
// those that are missing or do less.
func (s *stage) startToExit(ctx context.Context, p plan) (*comparison, error) {
	var list []*contender
	var notes []string
	list = append(list, s.minidockRun("minidock", "--network", "none"))
	for _, name := range []string{"runc", "crun"} {
		c, note := s.ociRuntime(ctx, name)
		if c != nil {
			list = append(list, c)
		}
		notes = append(notes, note...)
	}
	for _, name := range []string{"podman", "docker"} {
		c, note := s.engine(ctx, name)
		if c != nil {
			list = append(list, c)
		}
		notes = append(notes, note)
	}
	list = append(list, &contender{
		Name: "unshare", Command: []string{"unshare", "-mpnui", "--fork", filepath.Join(s.rootfs, "bin/true")},
	})
	return s.comparison(ctx, &comparison{
		Title: "Start to exit of `true`, without a network", Goal: "no slower than `runc run`", Reference: "runc", Rounds: p.Rounds, Runs: p.Runs, Notes: notes, Contenders: list,
	})
}

// minidockRun runs `true`, with these flags.
func (s *stage) minidockRun(name string, flags ...string) *contender {
	run := slices.Concat([]string{s.Minidock, "run", "--rm"}, flags, []string{"busybox"})
	return &contender{Name: name, Command: append(slices.Clone(run), "true"), report: append(slices.Clone(run), "sh", "-c", reportScript)}
}

// published asks for a port of the loopback address that the runtime chooses.
var published = []string{"-p", "127.0.0.1::80"}

// startWithNetwork times a whole life again, of a container with an address, a
// resolver and a published port. runc makes none of these. The first container of
// minidock's on a network makes the bridge and the firewall's table, and the last one
// takes them away; an engine's are always there, and so they are for one row.
func (s *stage) startWithNetwork(ctx context.Context, p plan) (*comparison, error) {
	neighbour, err := s.withNeighbour(ctx, p)
	if err != nil {
		return nil, err
	}
	second := s.minidockRun("minidock, the second there", published...)
	second.env = neighbour.Env()
	list := []*contender{s.minidockRun("minidock", published...), second, s.minidockRun("minidock, no network", "--network", "none")}
	if way, works := s.ways["runc"]; works {
		c, err := s.bundled("runc", way.time)
		if err != nil {
			return nil, err
		}
		c.around = way.around
		list = append(list, c)
	}
	c := &comparison{
		Title: "Start to exit of `true`, with the default network, DNS and a published port", Goal: "no slower than `runc run`, and a tenth of `docker run`", Reference: "runc",
		Rounds: p.Rounds, Runs: p.Runs, Notes: append(s.missing(), "runc has a network namespace with nothing in it"), Contenders: list,
	}
	for _, engine := range s.engines {
		c.Beside = engine
		c.Contenders = append(c.Contenders, &contender{Name: engine, Command: slices.Concat([]string{engine, "run", "--rm"}, published, []string{imageName, "true"})})
	}
	return s.comparison(ctx, c)
}

// withNeighbour is one more installation, where a container runs on the default network.
func (s *stage) withNeighbour(ctx context.Context, p plan) (*instance.Instance, error) {
	var err error
	if s.neighbour, err = instance.New(p.minidock); err != nil {
		return nil, err
	}
	if err := s.neighbour.ImportBase(ctx, p.baseImage); err != nil {
		return nil, err
	}
	return s.neighbour, s.neighbour.Quietly(ctx, slices.Concat([]string{"run", "--detach", "busybox"}, forever)...)
}

// comparison completes one, and checks that its contenders do the same.
func (s *stage) comparison(ctx context.Context, c *comparison) (*comparison, error) {
	for _, one := range c.Contenders {
		if one.env == nil {
			one.env = s.Env()
		}
		if one.Version == "" {
			one.Version = versionOf(ctx, one.Command[0])
		}
	}
	c.Notes = slices.DeleteFunc(c.Notes, func(n string) bool { return n == "" })
	return c, compare(ctx, c.Contenders)
}

// ociRuntime prepares a runtime that takes bundles, by trying: one that knows no
// time namespace gets none, and one that refuses a host with both versions of
// cgroups is shown version 1 only. Each then does a little less than minidock.
func (s *stage) ociRuntime(ctx context.Context, name string) (c *contender, notes []string) {
	if _, err := exec.LookPath(name); err != nil {
		return nil, []string{name + " is not installed"}
	}
	var err error
	for _, try := range ways(name, s.mode) {
		if c, err = s.bundled(name, try.time); err != nil {
			break
		}
		c.around = try.around
		if _, err = output(ctx, s.Env(), slices.Concat(c.around, c.Command)...); err == nil {
			s.ways[name] = try
			return c, try.notes
		}
	}
	return nil, []string{fmt.Sprintf("%s was left out: %v", name, err)}
}

// way is one way to have a runtime do what minidock does, or nearly.
type way struct {
	time   bool
	around []string
	notes  []string
}

// ways lists them, the truest first.
func ways(name string, mode cgroups.Mode) []way {
	noTime := name + " makes no time namespace: this version can't"
	list := []way{{time: true}, {notes: []string{noTime}}}
	if mode == cgroups.Hybrid {
		noVersion2 := name + " makes no cgroup of version 2: it refuses a host that has both, and is shown version 1 only"
		list = append(list, way{true, versionOneOnly(), []string{noVersion2}}, way{false, versionOneOnly(), []string{noTime, noVersion2}})
	}
	return list
}

// versionOneOnly runs what follows it in a mount namespace without the tree of
// cgroup version 2 that a hybrid host has beside the others.
func versionOneOnly() []string {
	return []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", `umount /sys/fs/cgroup/unified && exec "$@"`, "sh"}
}

func (s *stage) bundled(name string, timeNamespace bool) (*contender, error) {
	id := idPrefix + name
	command := func(bundle string) []string {
		return []string{name, "--root", filepath.Join(s.state, name), "run", "--bundle", bundle, id}
	}
	toTrue, err := s.writeBundle(name, timeNamespace, "true")
	if err != nil {
		return nil, err
	}
	toReport, err := s.writeBundle(name+"-report", timeNamespace, "sh", "-c", reportScript)
	if err != nil {
		return nil, err
	}
	return &contender{Name: name, Command: command(toTrue), report: command(toReport)}, nil
}

// engine prepares an engine with an image store of its own, if it is there and
// answers.
func (s *stage) engine(ctx context.Context, name string) (c *contender, note string) {
	if _, err := exec.LookPath(name); err != nil {
		return nil, name + " is not installed"
	}
	if command(ctx, name, "info") != nil {
		return nil, name + " is installed, but does not work here"
	}
	tarball := filepath.Join(s.Dir(), "rootfs.tar")
	if err := command(ctx, "tar", "-C", s.rootfs, "-cf", tarball, "."); err != nil {
		return nil, fmt.Sprintf("%s was left out: %v", name, err)
	}
	if err := command(ctx, name, "import", tarball, imageName); err != nil {
		return nil, fmt.Sprintf("%s was left out: %v", name, err)
	}
	s.engines = append(s.engines, name)
	c = &contender{Name: name, Command: []string{name, "run", "--rm", "--network", "none", imageName, "true"}}
	if err := command(ctx, c.Command...); err != nil {
		return nil, fmt.Sprintf("%s was left out: %v", name, err)
	}
	return c, ""
}

func versionOf(ctx context.Context, program string) string {
	if filepath.Base(program) == "docker" {
		// The engine does the work, and may be of another version than the command.
		out, err := output(ctx, nil, program, "version", "--format", "engine {{.Server.Version}}, command {{.Client.Version}}")
		if err == nil {
			return "Docker " + strings.TrimSpace(out)
		}
	}
	out, err := output(ctx, nil, program, "--version")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(out, "\n")
	return first
}

// compare fails unless everybody's program finds the same rights, the same filter
// and the same mounts.
func compare(ctx context.Context, list []*contender) error {
	var first string
	for _, c := range list {
		if c.report == nil {
			continue
		}
		got, err := output(ctx, c.env, slices.Concat(c.around, c.report)...)
		if err != nil {
			return err
		}
		if first == "" {
			first = got
		}
		if got != first {
			return fmt.Errorf("compare like with like: %s gives its program\n%s\nand %s\n%s", list[0].Name, first, c.Name, got)
		}
	}
	return nil
}

func (r *result) withoutPlaces() {
	for _, p := range r.Comparisons {
		for _, c := range p.Contenders {
			c.Command = withoutPlaces(c.Command)
		}
	}
	if r.Crowd != nil {
		for _, g := range r.Crowd.Growth {
			g.Command = withoutPlaces(g.Command)
		}
	}
}

// ownPlace is a directory of a stage, within a longer text.
var ownPlace = regexp.MustCompile(`/[^ ]*/minidock-bench-[0-9]+/`)

// withoutPlaces names programs and files by their last part: where they lay says
// nothing about the times.
func withoutPlaces(words []string) []string {
	short := make([]string, len(words))
	for i, w := range words {
		short[i] = ownPlace.ReplaceAllString(w, "")
		if filepath.IsAbs(w) {
			short[i] = filepath.Base(w)
		}
	}
	return short
}
