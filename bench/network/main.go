// Command network measures the way between two containers on one network beside two
// namespaces that ip(8) joins in the same topology: veth, bridge, veth.
//
//	network measure [-rounds N] [-count N] -minidock FILE -peer FILE >result.json
//	network table result.json… >table.md
//
// measure needs root, iperf3 and bench/peer. It makes network namespaces for all that it
// does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/minidock/minidock/bench/internal/program"
)

// plan says how much is measured, and with what.
type plan struct {
	title, minidock, peer string
	rounds, count         int
}

func main() { program.Main("network measure|table", verbs()) }

func verbs() map[string]program.Verb { return program.Apart(measureCommand) }

func measureCommand(ctx context.Context, args []string, out io.Writer) error {
	var p plan
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	flags.StringVar(&p.title, "title", "this host", "what the machine is, for the table's heading")
	flags.StringVar(&p.minidock, "minidock", "minidock", "the minidock to measure")
	flags.StringVar(&p.peer, "peer", "build/bench/peer", "the program for both ends")
	flags.IntVar(&p.rounds, "rounds", 15, "rounds, in each of which everybody has a turn")
	flags.IntVar(&p.count, "count", 5000, "messages there and back in a turn")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.rounds < 1 || p.count < 1 {
		return errors.New("measure network: at least one round and one message")
	}
	result, err := measure(ctx, p)
	if err != nil {
		return err
	}
	return result.Write(out)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
