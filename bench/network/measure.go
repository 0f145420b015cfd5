package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/minidock/minidock/bench/internal/instance"
	"github.com/minidock/minidock/bench/internal/report"
	"github.com/minidock/minidock/bench/internal/rounds"
)

func cpus() int { return goruntime.NumCPU() }

// measure sets up, checks that all have the same links, measures, and takes everything
// back.
func measure(ctx context.Context, p plan) (r *report.Result, err error) {
	if r, err = report.Begin(p.title); err != nil {
		return nil, err
	}
	hand, err := joinNamespaces(ctx, p.peer)
	defer func() { err = errors.Join(err, hand.clear()) }()
	if err != nil {
		return nil, err
	}
	s, err := newStage(ctx, p)
	defer func() { err = errors.Join(err, s.Clear()) }()
	if err != nil {
		return nil, err
	}
	joined, err := s.joinContainers(ctx)
	defer func() { err = errors.Join(err, joined.clear()) }()
	if err != nil {
		return nil, err
	}
	pairs, err := s.pairs(ctx)
	if err != nil {
		return nil, err
	}
	return r, compareAll(ctx, p, r, append([]*pair{&hand.pair, &joined.pair}, pairs...))
}

// pairs starts those that minidock joins.
func (s *stage) pairs(ctx context.Context) ([]*pair, error) {
	confined, err := s.pair(ctx, ownName, "confined")
	if err != nil {
		return nil, err
	}
	free, err := s.pair(ctx, ownName+", no seccomp", "free", "--security-opt", "seccomp=unconfined")
	return []*pair{confined, free}, err
}

// ownName is the row that the goal is for.
const ownName = "minidock"

// goal is what was asked for: no difference that can be measured.
const goal = 0.97

// compareAll fills the result.
func compareAll(ctx context.Context, p plan, r *report.Result, all []*pair) error {
	for _, one := range all {
		if err := one.await(ctx); err != nil {
			return err
		}
	}
	if err := alike(ctx, all); err != nil {
		return err
	}
	for _, filtered := range []bool{false, true} {
		if _, err := os.Stat(filterSwitch); filtered && err != nil {
			return nil // Without the module there is no other way to go.
		}
		for _, one := range all {
			if err := one.filter(ctx, filtered); err != nil {
				return err
			}
		}
		for _, c := range quantities(p, filtered) {
			if err := c.measure(ctx, p, all); err != nil {
				return err
			}
			r.Add(&c.Comparison)
		}
		all = all[:3] // The filter for system calls makes no difference to that for frames.
	}
	return nil
}

// quantity is what one comparison measures.
type quantity struct {
	report.Comparison
	of func(*pair, context.Context, plan) (float64, error)
}

func quantities(p plan, filtered bool) []*quantity {
	where := "between two containers"
	notes := []string{
		"by hand: namespaces alone, without seccomp filter, control group and monitor",
		"containers joined by hand: minidock's with `--network none`, in which ip(8) put the links: these have no resolver",
	}
	if filtered {
		where += ", where bridged frames cross the firewall (br_netfilter)"
		notes = append(notes, "frames cross minidock's table in the namespace of its bridge, and their connections are tracked there; by hand there are no rules")
	} else {
		notes = append(notes, "frames from port to port of a bridge do not cross the firewall: bridge-nf-call-iptables is off, or br_netfilter not loaded")
	}
	beside := [][2]string{{ownName, "containers joined by hand"}}
	return []*quantity{
		{of: (*pair).throughput, Comparison: report.Comparison{
			Title: "TCP throughput " + where, Unit: "Gbit/s", MoreIsBetter: true, Reference: "by hand", Goal: goal, Pairs: beside, Notes: notes,
			Turn: "iperf3 for one second, the ends on CPUs " + affinity(cpus()) + ".",
		}},
		{of: (*pair).roundTrip, Comparison: report.Comparison{
			Title: "Round trip of a small TCP message " + where, Unit: "µs", Reference: "by hand", Goal: goal, Pairs: beside, Notes: notes,
			Turn: fmt.Sprintf("The median of %d messages of 64 bytes, one after the other, both ends on one CPU.", p.count),
		}},
	}
}

// measure gives every pair a turn in every round.
func (q *quantity) measure(ctx context.Context, p plan, pairs []*pair) error {
	found := map[*pair]*report.Contender{}
	for _, one := range pairs {
		found[one] = &report.Contender{Name: one.name}
		q.Contenders = append(q.Contenders, found[one])
	}
	for round := range p.rounds {
		say("%s: round %d of %d", q.Title, round+1, p.rounds)
		for _, one := range rounds.Order(pairs, round) {
			value, err := q.of(one, ctx, p)
			if err != nil {
				return fmt.Errorf("measure %s: %w", one.name, err)
			}
			found[one].Samples = append(found[one].Samples, value)
		}
	}
	return nil
}

// filterSwitch says whether frames that a bridge forwards cross the rules for IPv4,
// in each network namespace (ip-sysctl.rst); it is there with the module br_netfilter.
const filterSwitch = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// filter turns the switch where the pair's bridge is.
func (p *pair) filter(ctx context.Context, on bool) error {
	if _, err := os.Stat(filterSwitch); err != nil {
		return nil
	}
	value := "0"
	if on {
		value = "1"
	}
	if p.host == "" {
		return os.WriteFile(filterSwitch, []byte(value), 0o644)
	}
	_, err := instance.Output(ctx, nil, "nsenter", "--net="+p.host, "sh", "-c", "echo "+value+" > "+filterSwitch)
	return err
}
