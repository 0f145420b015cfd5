package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
)

func systemCommand() *cli.Command {
	return &cli.Command{
		Name: "system", Usage: "Manage minidock",
		Subcommands: []*cli.Command{
			{
				Name: "cleanup", Usage: "Undo what dead processes left behind",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "Only say what would be undone"}},
				Action: cleanupSystem,
			},
			{
				Name: "boot", Usage: "Start the containers whose restart policy brings them back after a reboot",
				Action: func(c *cli.Context) error { return onAll(c, runtime.Boot) },
			},
			{
				Name: "halt", Usage: "Stop all containers before the machine goes down; `system boot` may start them again",
				Action: func(c *cli.Context) error { return onAll(c, runtime.Halt) },
			},
			diskCommand(),
			eventsCommand(),
			pruneSystemCommand(),
		},
	}
}

// onAll does something to all containers that it concerns, and prints their names.
func onAll(c *cli.Context, do func(runtime.Layout, func(*runtime.Container)) error) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	return do(layout, func(one *runtime.Container) { fmt.Println(one.Config.Name) })
}

func cleanupSystem(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	dry := c.Bool("dry-run")
	found, err := runtime.Cleanup(layout, dry)
	verb := "undone"
	if dry {
		verb = "would undo"
	}
	for _, f := range found {
		fmt.Fprintf(os.Stdout, "%s %s %s\n", verb, f.Kind, f.Target)
	}
	if len(found) == 0 && err == nil {
		fmt.Println("nothing left behind")
	}
	return err
}
