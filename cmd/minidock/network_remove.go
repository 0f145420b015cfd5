package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

func removeNetworksCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Aliases: []string{"remove"}, Usage: "Remove one or more networks", ArgsUsage: "NETWORK [NETWORK...]",
		Flags: []cli.Flag{
			explainFlag(),
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Do not error if the network does not exist", DisableDefaultText: true},
		},
		Action: removeNetworks,
	}
}

// removeNetworks removes what it can and names what it can't, one by one.
func removeNetworks(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	var end error
	for _, ref := range c.Args().Slice() {
		err := runtime.RemoveNetwork(layout, ref, tellerOf(c, layout))
		switch {
		case err == nil:
			fmt.Println(ref)
		case !c.Bool("force") || !errors.Is(err, netns.ErrNoNetwork):
			report(os.Stderr, err)
			end = exitStatus(1)
		}
	}
	return end
}

func pruneNetworksCommand() *cli.Command {
	return &cli.Command{Name: "prune", Usage: "Remove all unused networks", Flags: pruneFlags(), Action: pruneNetworks}
}

// pruneNetworks asks, unless it is forced. As in Docker, a no is no error.
func pruneNetworks(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	filter, err := readPruneFilter(c.StringSlice("filter"), time.Now())
	if err != nil {
		return err
	}
	if !c.Bool("force") {
		yes, err := confirm(os.Stdin, os.Stdout, "WARNING! This will remove all custom networks not used by at least one container.")
		if !yes || err != nil {
			return err
		}
	}
	removed, err := runtime.PruneNetworks(layout, func(n netns.Network) bool { return filter.admits(n.Created, n.Labels) })
	if text := section("Deleted Networks:", removed); text != "" {
		fmt.Println(text)
	}
	return err
}
