package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func explainNetworkCommand() *cli.Command {
	return &cli.Command{
		Name: "explain", Usage: "Draw a network as the kernel has it at this moment", ArgsUsage: "NETWORK",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the output: text or json", Value: "text"}},
		Action: explainNetwork,
	}
}

// networkExplained is what --format json prints.
type networkExplained struct {
	netns.Picture
	Differences, See []string
}

func explainNetwork(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	if err := checkFormat(c.String("format")); err != nil {
		return err
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	picture, err := runtime.LookAtNetwork(layout, c.Args().First())
	if err != nil {
		return err
	}
	see := seeNetwork(layout, picture)
	if c.String("format") == "json" {
		return printJSON(os.Stdout, networkExplained{picture, orNone(picture.Differences()), see})
	}
	return printLines(os.Stdout, append(drawNetwork(picture, sheetFor(columnsOf(os.Stdout))), byHand(see)...))
}

// checkFormat is for the verbs that know text and json alone.
func checkFormat(format string) error {
	if format != "text" && format != "json" {
		return &steps.Fault{Msg: fmt.Sprintf("unknown format %q", format), Hint: "Use text or json."}
	}
	return nil
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	return encoder.Encode(v)
}

// columnsOf is how wide a terminal is; what is none is as wide as we like.
func columnsOf(out *os.File) int {
	if !isTerminal(out) {
		return wideSheet
	}
	width, _ := sizeOf(out)
	return width
}

// printLines prints what was drawn, in colour where that can be seen.
func printLines(w io.Writer, lines []line) error {
	s := &screen{w: w, colour: isTerminal(w)}
	s.show(lines...)
	return s.err
}

// orNone makes JSON's [] of no strings.
func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// seeNetwork are the commands that show the same by hand.
func seeNetwork(l runtime.Layout, p netns.Picture) []string {
	if !p.Network.Subnet.IsValid() {
		return []string{"ip address", "ip route"}
	}
	all := []string{"ls -l " + steps.ShellQuote(filepath.Join(l.Root, "networks", p.Network.Name))}
	if p.Bridge.There {
		all = append(all, "ip -d link show "+p.Bridge.Name, "ip address show "+p.Bridge.Name, "bridge link")
	}
	if p.Table.There {
		all = append(all, "nft list table ip "+p.Table.Name)
	}
	for _, cable := range p.Cables {
		if cable.Inside != nil {
			all = append(all, insideOf(cable.Inside.Namespace, "ip address", "nft list ruleset")...)
			break // It is the same for all.
		}
	}
	if len(p.Leases) > 0 {
		all = append(all, "ls -l "+steps.ShellQuote(filepath.Join(l.Root, "networks", p.Network.Name, "leases")))
	}
	if len(p.Residents) > 0 {
		all = append(all, "cat "+steps.ShellQuote(filepath.Join(l.Run, "networks", p.Network.Name))+"/*.json")
	}
	return all
}

// insideOf has commands run in a network namespace, whose long name is given a short
// one first.
func insideOf(namespace string, commands ...string) []string {
	all := []string{"N=" + steps.ShellQuote(namespace)}
	for _, command := range commands {
		all = append(all, "nsenter --net=$N "+command)
	}
	return all
}

func byHand(commands []string) []line {
	if len(commands) == 0 {
		return nil
	}
	lines := []line{nil, text(strong, "See the same by hand")}
	for _, command := range commands {
		lines = append(lines, text(busy, "  %s", command))
	}
	return lines
}
