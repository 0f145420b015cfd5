package main

import (
	"errors"
	"fmt"

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
			&cli.BoolFlag{Name: "volumes", Aliases: []string{"v"}, Usage: "Remove anonymous volumes associated with the container (there are none yet)"},
		},
		Action: removeContainers,
	}
}

// removeContainers removes what it can. As in Docker, force also makes a missing
// container no error.
func removeContainers(c *cli.Context) error {
	return eachContainer(c, func(l runtime.Layout, ref string) error {
		err := runtime.Remove(l, ref, c.Bool("force"), tellerOf(c, l))
		if c.Bool("force") && errors.Is(err, runtime.ErrNoContainer) {
			return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Err: errPassedOver}
		}
		return err
	})
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
