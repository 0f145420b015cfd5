package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "Inspect changes to files or directories on a container's filesystem", ArgsUsage: "CONTAINER",
		Action: diffContainer,
	}
}

func diffContainer(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	changes, err := runtime.Diff(layout, c.Args().First())
	for _, change := range changes {
		fmt.Println(change.Kind, change.Path)
	}
	return err
}

func topCommand() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "Display the running processes of a container", ArgsUsage: "CONTAINER [ps OPTIONS]",
		Action: showProcesses,
	}
}

func showProcesses(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	shown, err := runtime.Top(layout, c.Args().First(), c.Args().Tail())
	if err != nil {
		return err
	}
	// Docker's own layout: columns at least 20 wide and 3 spaces apart.
	table := tabwriter.NewWriter(os.Stdout, 20, 1, 3, ' ', 0)
	for _, row := range append([][]string{shown.Titles}, shown.Rows...) {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}
