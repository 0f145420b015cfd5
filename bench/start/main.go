// Command start times what containers are for, side by side with other runtimes on
// the same files: from start to exit, exec, stop, logs, and one start more where
// many run.
//
//	start measure [-rounds N] [-runs N] [-starts] -minidock FILE -base-image FILE >result.json
//	start table result.json… >table.md
//
// measure makes everything that it needs in a state directory of its own, and
// takes it all back; it needs root and hyperfine.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

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
	switch {
	case len(args) > 0 && args[0] == "measure":
		return measureCommand(ctx, args[1:], out)
	case len(args) > 1 && args[0] == "table":
		return tableCommand(args[1:], out)
	}
	return fmt.Errorf("usage: start measure|table …, see the package comment")
}

func measureCommand(ctx context.Context, args []string, out io.Writer) error {
	var p plan
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	flags.StringVar(&p.Title, "title", "this host", "what the machine is, for the table's heading")
	flags.StringVar(&p.minidock, "minidock", "minidock", "the minidock to time")
	flags.StringVar(&p.baseImage, "base-image", "scripts/base-image", "the script that imports the busybox image")
	flags.IntVar(&p.Rounds, "rounds", 12, "rounds, in each of which every contender has its turn")
	flags.IntVar(&p.Runs, "runs", 5, "timed runs of a contender in a round")
	flags.BoolVar(&p.starts, "starts", false, "measure from start to exit only")
	flags.IntVar(&p.Crowd, "crowd", 500, "how many containers are to run at once in the end; 0 leaves that out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	result, err := measure(ctx, p)
	if err != nil {
		return err
	}
	result.withoutPlaces()
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(result)
}

func tableCommand(files []string, out io.Writer) error {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read result: %w", err)
		}
		var r result
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("read result %s: %w", file, err)
		}
		writeTables(out, r)
	}
	return nil
}
