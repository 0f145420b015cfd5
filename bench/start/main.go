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
	"flag"
	"io"

	"github.com/minidock/minidock/bench/internal/program"
	"github.com/minidock/minidock/bench/internal/report"
)

func main() {
	program.Main("start measure|table", map[string]program.Verb{
		"measure": measureCommand,
		"table": func(_ context.Context, files []string, out io.Writer) error {
			return program.Tables(files, out, writeTables)
		},
	})
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
	return report.Encode(out, result)
}
