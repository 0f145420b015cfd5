package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "Create and run a new container from an image", ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Flags: runFlags(), Action: runContainer,
	}
}

// runContainer is `minidock run`: the flags become options, and package runtime
// does the rest.
func runContainer(c *cli.Context) error {
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	options, err := runOptions(c)
	if err != nil {
		return err
	}
	streams := runtime.Streams{Out: os.Stdout, Err: os.Stderr}
	if options.Interactive {
		streams.In = os.Stdin
	}
	if c.Bool("explain") {
		streams.Tell = newTeller(os.Stderr, layout).tell
	}
	code, err := runtime.Run(layout, options, streams)
	if err != nil {
		return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: steps.CodeOf(err, 125), Err: err}
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}
