package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func traceCommand() *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "Follow one real packet from a container, or from 'host', to a name or address", ArgsUsage: "FROM TO[:PORT][/udp]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the output: text or json", Value: "text"},
			&cli.DurationFlag{Name: "timeout", Usage: "Wait this long for each answer", Value: time.Second},
		},
		Action: traceNetwork,
	}
}

// traceNetwork ends with status 1 where the packet was not delivered.
func traceNetwork(c *cli.Context) error {
	if c.NArg() != 2 {
		return needsArguments(c, "exactly 2 arguments")
	}
	if err := checkFormat(c.String("format")); err != nil {
		return err
	}
	if c.Duration("timeout") <= 0 {
		return &steps.Fault{Msg: fmt.Sprintf("invalid timeout %s", c.Duration("timeout")), Hint: "As in --timeout 500ms."}
	}
	target, err := parseTarget(c.Args().Get(1))
	if err != nil {
		return err
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	t, err := runtime.TraceNetwork(layout, c.Args().First(), target, c.Duration("timeout"))
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		err = printJSON(os.Stdout, t)
	} else {
		err = printLines(os.Stdout, append(drawTrace(t, columnsOf(os.Stdout)), byHand(t.See)...))
	}
	if err == nil && t.Verdict != runtime.Delivered {
		err = exitStatus(1)
	}
	return err
}

// parseTarget reads TO[:PORT][/udp]. Without a port ICMP is asked.
func parseTarget(text string) (t runtime.TraceTarget, err error) {
	invalid := func(why string) error {
		return &steps.Fault{Msg: fmt.Sprintf("invalid target '%s': %s", text, why), Hint: "As in web, web:80, web:53/udp or 172.18.0.2:80."}
	}
	place, proto, hasProto := strings.Cut(text, "/")
	if bracketed, err := netip.ParseAddrPort(place); err == nil && !bracketed.Addr().Is4() {
		return t, invalid("networks are IPv4 only")
	}
	if hasProto && proto != "tcp" && proto != "udp" {
		return t, invalid("unknown protocol " + proto)
	}
	if address, err := netip.ParseAddr(place); err == nil && !address.Is4() {
		return t, invalid("networks are IPv4 only")
	}
	name, port, hasPort := strings.Cut(place, ":")
	if address, err := netip.ParseAddr(name); err == nil && !isOneHosts(address) {
		return t, invalid("it is not the address of one host")
	}
	t = runtime.TraceTarget{Name: name, Proto: "icmp"}
	if name == "" || hasProto && !hasPort {
		return t, invalid("it needs a name or address, and for a protocol a port")
	}
	if !hasPort {
		return t, nil
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return t, invalid("a port is a number from 1 to 65535")
	}
	t.Port, t.Proto = uint16(number), "tcp"
	if hasProto {
		t.Proto = proto
	}
	return t, nil
}

// isOneHosts says of an IPv4 address that it is neither a group's (RFC 1112, 4) nor
// everybody's nor nobody's (RFC 1122, 3.2.1.3).
func isOneHosts(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsUnspecified() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// stageWidth is the column that says what a hop is about.
const stageWidth = 8

// fewestColumns is what a trace is drawn for at least, and mostColumns at most.
const fewestColumns, mostColumns = 60, wideSheet

// drawTrace draws a trace, each hop on a line of its own where there is room for
// what it means.
func drawTrace(t runtime.Trace, width int) []line {
	width = min(max(width, fewestColumns), mostColumns)
	lines := []line{{{strong, t.From + " → " + t.To}}, nil}
	for _, h := range t.Hops {
		lines = append(lines, drawHop(h, width)...)
	}
	style, mark := busy, "✓ "
	if t.Verdict != runtime.Delivered {
		style, mark = bad, "✗ "
	}
	lines = append(lines, nil)
	for i, l := range wrapText(t.Says, width-4) {
		if i > 0 {
			mark = "  "
		}
		lines = append(lines, text(style, "%s%s", mark, l))
	}
	for _, l := range wrapText(t.Hint, width-4) {
		if l != "" {
			lines = append(lines, text(normal, "  %s", l))
		}
	}
	return lines
}

func drawHop(h runtime.Hop, width int) []line {
	happensWidth := (width - stageWidth - 4) * 53 / 100 // Links' names are long.
	happens := wrapText(h.Text, happensWidth)
	notes := wrapText(h.Note, width-stageWidth-happensWidth-4)
	var lines []line
	for i := range max(len(happens), len(notes)) {
		stage, what, note := "", "", ""
		if i == 0 {
			stage = h.Stage
		}
		if i < len(happens) {
			what = happens[i]
		}
		if i < len(notes) {
			note = notes[i]
		}
		lines = append(lines, line{
			{faint, fmt.Sprintf("  %-*s", stageWidth, stage)},
			{normal, fmt.Sprintf("%-*s", happensWidth, what)},
			{faint, "  " + note},
		})
	}
	return lines
}
