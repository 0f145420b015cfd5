package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func networkCommand() *cli.Command {
	return &cli.Command{
		Name: "network", Usage: "Manage networks",
		Subcommands: []*cli.Command{
			connectCommand(), createNetworkCommand(), disconnectCommand(), explainNetworkCommand(), inspectNetworkCommand(), listNetworksCommand(), pruneNetworksCommand(), removeNetworksCommand(), traceCommand(),
		},
	}
}

func createNetworkCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "Create a network", ArgsUsage: "NETWORK",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "attachable", Usage: "Enable manual container attachment (refused: every network has it already)", DisableDefaultText: true},
			&cli.StringFlag{Name: "driver", Aliases: []string{"d"}, Usage: "Driver to manage the Network", Value: "bridge"},
			explainFlag(),
			list("gateway", "", "IPv4 Gateway for the master subnet"),
			&cli.BoolFlag{Name: "internal", Usage: "Restrict external access to the network", DisableDefaultText: true},
			list("ip-range", "", "Allocate container ip from a sub-range"),
			&cli.BoolFlag{Name: "ipv6", Usage: "Enable IPv6 address assignment (refused: there is no IPv6 yet)", DisableDefaultText: true},
			list("label", "", "Set metadata on a network"),
			list("opt", "o", "Set driver specific options"),
			list("subnet", "", "Subnet in CIDR format that represents a network segment"),
		},
		Action: createNetwork,
	}
}

func createNetwork(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	o, err := networkOptions(c)
	if err != nil {
		return err
	}
	network, err := runtime.CreateNetwork(layout, o, tellerOf(c, layout))
	if err != nil {
		return err
	}
	fmt.Println(network.ID)
	return nil
}

func networkOptions(c *cli.Context) (o netns.CreateOptions, err error) {
	o = netns.CreateOptions{Name: c.Args().First(), Driver: c.String("driver"), Internal: c.Bool("internal"), Options: optionMap(c.StringSlice("opt"))}
	switch {
	case c.Bool("ipv6"):
		return o, &steps.Fault{Msg: "--ipv6: minidock has no IPv6 yet", Hint: "Leave it out: the network then has IPv4."}
	case c.Bool("attachable"):
		return o, &steps.Fault{Msg: "--attachable is of no use: only swarm's networks take no containers by hand", Hint: "Leave it out: `minidock network connect` works on every network."}
	}
	if o.Labels, err = labels("--label", c.StringSlice("label")); err != nil {
		return o, err
	}
	a := addressFlags{subnets: commaList(c.StringSlice("subnet")), ranges: commaList(c.StringSlice("ip-range")), gateways: commaList(c.StringSlice("gateway"))}
	return o, a.read(&o)
}

// optionMap reads "name=value" entries, a later one replacing an earlier.
func optionMap(entries []string) map[string]string {
	options := map[string]string{}
	for _, entry := range entries {
		name, value, _ := strings.Cut(entry, "=")
		options[name] = value
	}
	return options
}

// commaList reads flags that take several values in one, as Docker's do.
func commaList(values []string) (all []string) {
	for _, v := range values {
		all = append(all, strings.Split(v, ",")...)
	}
	return all
}

// addressFlags are --subnet, --ip-range and --gateway, of which Docker takes several
// and its bridges no more than one.
type addressFlags struct{ subnets, ranges, gateways []string }

func (a addressFlags) read(o *netns.CreateOptions) error {
	switch {
	case len(a.subnets) < len(a.ranges), len(a.subnets) < len(a.gateways):
		return &steps.Fault{Msg: "every ip-range or gateway must have a corresponding subnet", Hint: "Give a --subnet for each: minidock's networks have one."}
	case len(a.subnets) > 1:
		return &steps.Fault{Msg: "bridge driver doesn't support multiple subnets", Hint: "Make a network for each; a container can be on several."}
	case len(a.subnets) == 0:
		return nil
	}
	var err error
	if o.Subnet, err = netip.ParsePrefix(a.subnets[0]); err != nil {
		return &steps.Fault{Msg: fmt.Sprintf("invalid subnet %s: invalid CIDR block notation", a.subnets[0]), Hint: "As in --subnet 10.20.0.0/16.", Err: err}
	}
	if err := a.readRange(o); err != nil {
		return err
	}
	return a.readGateway(o)
}

func (a addressFlags) readRange(o *netns.CreateOptions) (err error) {
	if len(a.ranges) == 0 {
		return nil
	}
	if o.IPRange, err = netip.ParsePrefix(a.ranges[0]); err != nil {
		return invalidArgument("--ip-range", a.ranges[0], fmt.Errorf("invalid string being converted to CIDR: %s", a.ranges[0]), "As in --ip-range 10.20.1.0/24.")
	}
	if !o.Subnet.Contains(o.IPRange.Addr()) {
		return &steps.Fault{Msg: "no matching subnet for range " + a.ranges[0], Hint: fmt.Sprintf("Choose one in %s.", o.Subnet)}
	}
	return nil
}

func (a addressFlags) readGateway(o *netns.CreateOptions) (err error) {
	if len(a.gateways) == 0 {
		return nil
	}
	if o.Gateway, err = netip.ParseAddr(a.gateways[0]); err != nil {
		return invalidArgument("--gateway", a.gateways[0], fmt.Errorf("invalid string being converted to IP address: %s", a.gateways[0]), "As in --gateway 10.20.0.1.")
	}
	if !o.Subnet.Contains(o.Gateway) {
		return &steps.Fault{Msg: "no matching subnet for gateway " + a.gateways[0], Hint: fmt.Sprintf("Choose one in %s.", o.Subnet)}
	}
	return nil
}
