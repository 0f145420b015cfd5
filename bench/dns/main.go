// Command dns measures the containers' resolver beside dnsmasq, which serves the same
// names from a file of hosts: questions answered per second, how long the slowest
// hundredth takes, and the CPU time of the server for one of them.
//
//	dns measure [-rounds N] [-time DURATION] [-askers N] [-pace N] [-names N] >result.json
//	dns table result.json… >table.md
//
// measure runs in a network namespace that it makes for itself, so it needs root; and
// dnsmasq. Both servers are there, at port 53 of an address of the loopback network, and
// are asked by the same program over UDP. Rounds are interleaved, in changing order, so
// that a slow minute meets both.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/minidock/minidock/bench/internal/program"
	"github.com/minidock/minidock/bench/internal/report"
	"github.com/minidock/minidock/bench/internal/rounds"
)

// plan says how much is measured.
type plan struct {
	title                 string
	rounds, askers, names int
	// pace is how many questions a second all askers together ask where they don't ask as
	// fast as they can.
	pace int
	time time.Duration
}

func main() { program.Main("dns measure|table", verbs()) }

func verbs() map[string]program.Verb {
	verbs := program.Apart(measureCommand)
	verbs[serveWord] = func(ctx context.Context, args []string, _ io.Writer) error {
		if len(args) == 0 {
			return program.ErrUsage
		}
		return serve(ctx, args)
	}
	return verbs
}

// serveWord begins the command line of this program as the resolver.
const serveWord = "serve"

func measureCommand(ctx context.Context, args []string, out io.Writer) error {
	var p plan
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	flags.StringVar(&p.title, "title", "this host", "what the machine is, for the table's heading")
	flags.IntVar(&p.rounds, "rounds", 20, "rounds, in each of which every server has its turn")
	flags.DurationVar(&p.time, "time", time.Second, "how long a turn lasts")
	flags.IntVar(&p.askers, "askers", 16, "how many ask at a time, each one question after the other")
	flags.IntVar(&p.pace, "pace", 10000, "questions a second, where they are not asked as fast as they can be")
	flags.IntVar(&p.names, "names", maxNames, "how many names there are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.rounds < 1 || p.askers < 1 || p.pace < 1 || p.names < 1 || p.names > maxNames {
		return fmt.Errorf("measure DNS: at least one round, asker and question a second, and 1 to %d names", maxNames)
	}
	result, err := measure(ctx, p)
	if err != nil {
		return err
	}
	return result.Write(out)
}

// measure starts the servers, and gives each its turn in every round.
func measure(ctx context.Context, p plan) (*report.Result, error) {
	result, err := report.Begin(p.title)
	if err != nil {
		return nil, err
	}
	servers, stop, err := startServers(ctx, p)
	defer stop()
	if err != nil {
		return nil, err
	}
	for round := range p.rounds {
		fmt.Fprintf(os.Stderr, "bench: DNS: round %d of %d\n", round+1, p.rounds)
		for _, s := range rounds.Order(servers, round) {
			if err := s.turn(ctx, p); err != nil {
				return nil, fmt.Errorf("ask %s: %w", s.name, err)
			}
		}
	}
	for _, c := range comparisons(p, servers) {
		result.Add(c)
	}
	return result, nil
}
