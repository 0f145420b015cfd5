package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func portCommand() *cli.Command {
	return &cli.Command{
		Name: "port", Usage: "List port mappings or a specific mapping for the container", ArgsUsage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
		Action: listPorts,
	}
}

func listPorts(c *cli.Context) error {
	if c.NArg() < 1 || c.NArg() > 2 {
		return needsArguments(c, "at least 1 and at most 2 arguments")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	container, err := runtime.Find(layout, c.Args().First())
	if err != nil {
		return err
	}
	ports := publishedOf(container)
	if c.NArg() == 1 {
		for _, p := range ports {
			fmt.Printf("%d/%s -> %s:%d\n", p.Container, p.Proto, p.HostIP, p.Host)
		}
		return nil
	}
	return printPort(ports, c.Args().Get(1), container)
}

// printPort prints where one of the container's ports answers.
func printPort(ports []netns.Port, asked string, c *runtime.Container) error {
	number, proto, _ := strings.Cut(asked, "/")
	if proto == "" {
		proto = "tcp"
	}
	if _, err := strconv.ParseUint(number, 10, 16); err != nil {
		return &steps.Fault{Msg: fmt.Sprintf("invalid port '%s': invalid syntax", number), Hint: "Write it as 80 or 53/udp.", Err: err}
	}
	found := false
	for _, p := range ports {
		if strconv.Itoa(int(p.Container)) == number && p.Proto == proto {
			fmt.Printf("%s:%d\n", p.HostIP, p.Host)
			found = true
		}
	}
	if !found {
		return &steps.Fault{
			Msg:  fmt.Sprintf("no public port '%s' published for %s", asked, c.Config.Name),
			Hint: "`minidock port " + c.Config.Name + "` lists those that are.", Err: errNoPort,
		}
	}
	return nil
}

var errNoPort = errors.New("port is not published")

// publishedOf are the ports that lead to a running container, in order.
func publishedOf(c *runtime.Container) []netns.Port {
	if !c.Running() {
		return nil
	}
	var ports []netns.Port
	for _, p := range c.Live.Ports {
		ports = append(ports, netns.Port{Proto: p.Proto, Container: p.Container, HostIP: p.HostIP, Host: p.Host})
	}
	slices.SortStableFunc(ports, comparePorts)
	return ports
}

// portsOf is the column PORTS.
func portsOf(c *runtime.Container) string {
	if !c.Running() {
		return ""
	}
	exposed, err := exposedPorts(c.Config.Network.Exposed)
	if err != nil {
		return "" // An image may name what is no port.
	}
	return portsColumn(publishedOf(c), exposed)
}
