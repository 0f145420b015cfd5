package main

import (
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func updateCommand() *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "Update configuration of one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: append(limitFlags(),
			&cli.StringFlag{Name: "restart", Usage: "Restart policy to apply when a container exits"}),
		Action: updateContainers,
	}
}

// updateContainers changes what it can and names what it can't, item by item.
func updateContainers(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	changes, err := changesOf(c)
	if err != nil {
		return err
	}
	return eachContainer(c, func(l runtime.Layout, ref string) error { return runtime.Update(l, ref, changes) })
}

func changesOf(c *cli.Context) (runtime.Changes, error) {
	var changes runtime.Changes
	var err error
	if changes.Limits, err = limits(c); err != nil {
		return changes, err
	}
	for _, f := range limitFlags() {
		if name := f.Names()[0]; c.IsSet(name) {
			changes.Given = append(changes.Given, name)
		}
	}
	// As in Docker an empty policy changes nothing.
	if text := c.String("restart"); text != "" {
		policy, err := runtime.ParseRestartPolicy(text)
		if err != nil {
			return changes, &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 1, Err: err}
		}
		changes.Restart = &policy
	}
	if len(changes.Given) == 0 && !c.IsSet("restart") {
		return changes, &steps.Fault{
			Msg:  "you must provide one or more flags when using this command",
			Hint: "See '" + c.Command.HelpName + " --help'.",
		}
	}
	return changes, nil
}
