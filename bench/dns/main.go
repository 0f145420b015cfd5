// Command dns measures the containers' resolver beside dnsmasq, which serves the same
// names from a file of hosts: questions answered per second, how long the slowest
// hundredth takes, and the CPU time of the server for one of them.
//
//	dns [-rounds N] [-time DURATION] [-askers N] [-names N] >table.md
//
// It runs in a network namespace that it makes for itself, so it needs root; and
// dnsmasq. Rounds are interleaved, in changing order, so that a slow minute meets all.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// plan says how much is measured.
type plan struct {
	rounds, askers, names int
	time                  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// The first word of the command line of this program's own processes.
const (
	insideWord = "inside" // in the new namespace
	serveWord  = "serve"  // as the resolver
)

func run(ctx context.Context, args []string) error {
	inside := len(args) > 0 && args[0] == insideWord
	switch {
	case len(args) > 0 && args[0] == serveWord:
		return serve(ctx, args[1:])
	case inside:
		args = args[1:]
	}
	var p plan
	flags := flag.NewFlagSet("dns", flag.ContinueOnError)
	flags.IntVar(&p.rounds, "rounds", 12, "rounds, in each of which every server has its turn")
	flags.DurationVar(&p.time, "time", 2*time.Second, "how long a turn lasts")
	flags.IntVar(&p.askers, "askers", 16, "how many ask at a time, each one question after the other")
	flags.IntVar(&p.names, "names", maxNames, "how many names there are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if p.rounds < 1 || p.askers < 1 || p.names < 1 || p.names > maxNames {
		return fmt.Errorf("measure DNS: at least one round and asker, and 1 to %d names", maxNames)
	}
	if !inside {
		return enter(ctx, args)
	}
	return measure(ctx, p)
}

// enter runs this program again in a network namespace of its own.
func enter(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{insideWord}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("measure in a network namespace of its own: %w", err)
	}
	return nil
}

// measure starts the servers, and gives each its turn in every round.
func measure(ctx context.Context, p plan) (err error) {
	if out, err := exec.CommandContext(ctx, "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("set loopback link up: %w: %s", err, out)
	}
	servers, stop, err := startServers(ctx, p)
	defer stop()
	if err != nil {
		return err
	}
	for round := range p.rounds {
		fmt.Fprintf(os.Stderr, "bench: round %d of %d\n", round+1, p.rounds)
		for _, s := range order(servers, round) {
			if err := s.turn(ctx, p); err != nil {
				return fmt.Errorf("ask %s: %w", s.name, err)
			}
		}
	}
	writeTable(os.Stdout, p, servers)
	return nil
}

// order rotates the list by one each round, and turns every second round around.
func order(list []*server, round int) []*server {
	at := round % len(list)
	turned := slices.Concat(list[at:], list[:at])
	if round%2 == 1 {
		slices.Reverse(turned)
	}
	return turned
}
