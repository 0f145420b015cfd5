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
		Subcommands: []*cli.Command{{
			Name: "cleanup", Usage: "Undo what dead processes left behind",
			Flags:  []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "Only say what would be undone"}},
			Action: cleanupSystem,
		}},
	}
}

func cleanupSystem(c *cli.Context) error {
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
