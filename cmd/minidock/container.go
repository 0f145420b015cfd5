package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func removeCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "Remove one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{
			explainFlag(),
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Force the removal of a running container (uses SIGKILL)"},
		},
		Action: removeContainers,
	}
}

// removeContainers removes what it can and names what it can't, item by item. As
// in Docker, force also makes a missing container no error.
func removeContainers(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	failed := false
	for _, ref := range c.Args().Slice() {
		err := runtime.Remove(layout, ref, c.Bool("force"), tellerOf(c, layout))
		if err == nil {
			fmt.Println(ref)
			continue
		}
		report(os.Stderr, err)
		failed = failed || !c.Bool("force") || !errors.Is(err, runtime.ErrNoContainer)
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

func needsArguments(c *cli.Context, count string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("%q requires %s.", c.Command.HelpName, count),
		Hint: "See '" + c.Command.HelpName + " --help'.",
	}
}

func takesNoArguments(c *cli.Context) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("%q accepts no arguments.", c.Command.HelpName),
		Hint: "See '" + c.Command.HelpName + " --help'.",
	}
}
