package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/minidock/minidock/bench/internal/instance"
	"github.com/minidock/minidock/bench/internal/report"
	"github.com/minidock/minidock/bench/internal/rounds"
)

// measure sets up, measures, and takes everything back.
func measure(ctx context.Context, p plan) (r *report.Result, err error) {
	if r, err = report.Begin(p.title); err != nil {
		return nil, err
	}
	own, err := instance.New(p.minidock)
	defer func() { err = errors.Join(err, own.Clear()) }()
	if err != nil {
		return nil, err
	}
	tarball, err := pack(ctx, own.Dir(), p.peer)
	if err != nil {
		return nil, err
	}
	if err := own.Import(ctx, tarball, imageName); err != nil {
		return nil, err
	}
	sides := []*side{{name: "minidock", program: p.minidock, env: own.Env()}}
	engine, note := engineSide(ctx)
	if engine != nil {
		defer func() { err = errors.Join(err, engine.clearEngine()) }()
		if err := engine.do(ctx, "import", tarball, imageName); err != nil {
			return nil, err
		}
		sides = append(sides, engine)
	}
	return r, compareAll(ctx, p, r, sides, note)
}

// pack writes an image with nothing but the program.
func pack(ctx context.Context, dir, peer string) (string, error) {
	tarball, program := filepath.Join(dir, "image.tar"), filepath.Join(dir, "peer")
	if _, err := instance.Output(ctx, nil, "cp", peer, program); err != nil {
		return "", err
	}
	_, err := instance.Output(ctx, nil, "tar", "-cf", tarball, "-C", dir, "peer")
	return tarball, err
}

// engineSide is Docker, if it is there and answers, and a note on it.
func engineSide(ctx context.Context) (*side, string) {
	if _, err := exec.LookPath("docker"); err != nil {
		return nil, "docker is not installed"
	}
	version, err := instance.Output(ctx, nil, "docker", "version", "--format", "docker: engine {{.Server.Version}}, with a network of its user's, whose containers have a resolver as well")
	if err != nil {
		return nil, "no Docker engine answers here"
	}
	return &side{name: "docker", program: "docker"}, version[:len(version)-1]
}

// clearEngine removes what there is of ours, also after an interrupt.
func (s *side) clearEngine() error {
	ctx := context.Background()
	containers := s.do(ctx, "rm", "--force", watcher, late)
	// Neither is there if the import failed, and then the error was another.
	_ = s.do(ctx, "network", "rm", networkName)
	_ = s.do(ctx, "image", "rm", "--force", imageName)
	return containers
}

// compareAll fills the result.
func compareAll(ctx context.Context, p plan, r *report.Result, sides []*side, note string) error {
	for _, s := range sides {
		if err := s.set(ctx); err != nil {
			return err
		}
	}
	found := map[*side][]times{}
	for round := range p.rounds {
		fmt.Fprintf(os.Stderr, "bench: lookups: round %d of %d\n", round+1, p.rounds)
		for _, s := range rounds.Order(sides, round) {
			t, err := s.turn(ctx)
			if err != nil {
				return fmt.Errorf("measure %s: %w", s.name, err)
			}
			found[s] = append(found[s], t)
		}
	}
	for _, c := range comparisons(sides, found, note) {
		r.Add(c)
	}
	return nil
}

// comparisons puts the three times side by side.
func comparisons(sides []*side, found map[*side][]times, note string) []*report.Comparison {
	seen := &report.Comparison{
		Title: "From `run --detach` to the name found by a container that was there", Unit: "ms",
		Turn:  "One container started on a network without a way out, for whose name another one asks every millisecond.",
		Notes: []string{"the start is part of the time, as far as it has to be for the name to be known; the program need not run yet"},
	}
	first := &report.Comparison{
		Title: "From `run` to the new container's own first answer", Unit: "ms",
		Turn: "One container started, whose program looks another one up at once, as often as it takes.",
	}
	ready := &report.Comparison{
		Title: "From the program's begin to its first answer", Unit: "ms",
		Turn: "The last part of the times of the table before.",
	}
	all := []*report.Comparison{seen, first, ready}
	for _, s := range sides {
		samples := make([][]float64, len(all))
		for _, t := range found[s] {
			for i, took := range []time.Duration{t.seen, t.first, t.ready} {
				samples[i] = append(samples[i], took.Seconds()*1000)
			}
		}
		for i, c := range all {
			c.Contenders = append(c.Contenders, &report.Contender{Name: s.name, Samples: samples[i]})
		}
	}
	for _, c := range all {
		c.Reference = sides[len(sides)-1].name
		c.Notes = append(c.Notes, note)
	}
	return all
}
