package main

import (
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

func connectCommand() *cli.Command {
	return &cli.Command{
		Name: "connect", Usage: "Connect a container to a network", ArgsUsage: "NETWORK CONTAINER",
		Flags: []cli.Flag{
			list("alias", "", "Add network-scoped alias for the container"),
			explainFlag(),
			&cli.StringFlag{Name: "ip", Usage: "IPv4 address (e.g., 172.30.100.104)"},
		},
		Action: connectContainer,
	}
}

func connectContainer(c *cli.Context) error {
	if c.NArg() != 2 {
		return needsArguments(c, "exactly 2 arguments")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	e := netns.Endpoint{Network: c.Args().First()}
	flags := networkFlags{aliases: c.StringSlice("alias"), ip: c.String("ip")}
	if err := flags.addToFirst(&e); err != nil {
		return atMostOne(err)
	}
	return atMostOne(runtime.Connect(layout, c.Args().Get(1), e, tellerOf(c, layout)))
}

func disconnectCommand() *cli.Command {
	return &cli.Command{
		Name: "disconnect", Usage: "Disconnect a container from a network", ArgsUsage: "NETWORK CONTAINER",
		Flags: []cli.Flag{
			explainFlag(),
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Force the container to disconnect from a network (here it always works)", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return needsArguments(c, "exactly 2 arguments")
			}
			layout, err := layoutOf(c)
			if err != nil {
				return err
			}
			return atMostOne(runtime.Disconnect(layout, c.Args().Get(1), c.Args().First(), tellerOf(c, layout)))
		},
	}
}
