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
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/bench/internal/apart"
	"github.com/minidock/minidock/bench/internal/report"
)

// plan says how much is measured, and with what.
type plan struct {
	title, minidock, peer string
	rounds, count         int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	args, inside := apart.Inside(args)
	switch {
	case len(args) > 0 && args[0] == "measure" && !inside:
		return apart.Again(ctx, args, out)
	case len(args) > 0 && args[0] == "measure":
		return measureCommand(ctx, args[1:], out)
	case len(args) > 1 && args[0] == "table":
		return report.TableCommand(args[1:], out)
	}
	return errors.New("usage: network measure|table …, see the package comment")
}

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
