// Command lookup measures how long it takes until containers find each other by name: a
// container that runs already finds one that is being started, and a new one finds a
// container that runs already. Beside it stands an engine that answers at DOCKER_HOST,
// with a network of its user's.
//
//	lookup measure [-rounds N] -minidock FILE -peer FILE >result.json
//	lookup table result.json… >table.md
//
// measure needs root and bench/peer. It makes a network namespace for what minidock does.
package main

import (
	"context"
	"errors"
	"flag"
	"io"

	"github.com/minidock/minidock/bench/internal/program"
)

// plan says how much is measured, and with what.
type plan struct {
	title, minidock, peer string
	rounds                int
}

func main() { program.Main("lookup measure|table", verbs()) }

func verbs() map[string]program.Verb { return program.Apart(measureCommand) }

func measureCommand(ctx context.Context, args []string, out io.Writer) error {
	var p plan
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	flags.StringVar(&p.title, "title", "this host", "what the machine is, for the table's heading")
	flags.StringVar(&p.minidock, "minidock", "minidock", "the minidock to measure")
	flags.StringVar(&p.peer, "peer", "build/bench/peer", "the program in the containers")
	flags.IntVar(&p.rounds, "rounds", 20, "rounds, in each of which everybody has a turn")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.rounds < 1 {
		return errors.New("measure lookups: at least one round")
	}
	result, err := measure(ctx, p)
	if err != nil {
		return err
	}
	return result.Write(out)
}
