package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "Display a live stream of container(s) resource usage statistics", ArgsUsage: "[CONTAINER...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Show all containers (default shows just running)"},
			&cli.StringFlag{Name: "format", Usage: "Format output: 'table', 'table TEMPLATE', 'json' or a `TEMPLATE`"},
			&cli.BoolFlag{Name: "no-stream", Usage: "Disable streaming stats and only pull the first result"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Do not truncate output"},
		},
		Action: streamStats,
	}
}

// statsInterval is the time over which rates are taken, as in Docker.
const statsInterval = time.Second

// streamStats shows the containers once a second until it is interrupted, or
// those that were asked for are gone.
func streamStats(c *cli.Context) error {
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	if _, err := readFormat(c.String("format"), ""); err != nil {
		return err
	}
	meter, err := runtime.NewMeter(layout, c.Args().Slice(), c.Bool("all"))
	if err != nil {
		return err
	}
	if _, err := meter.Read(); err != nil {
		return err
	}
	s := statsScreen{w: os.Stdout, format: c.String("format"), whole: c.Bool("no-trunc"), redraw: !c.Bool("no-stream") && isTerminal(os.Stdout)}
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	for range tick.C {
		readings, err := meter.Read()
		if err != nil {
			return err
		}
		gone := c.NArg() > 0 && len(readings) == 0
		if err := s.show(readings); err != nil || c.Bool("no-stream") || gone {
			return err
		}
	}
	return nil
}

// statsScreen shows one set of readings after another.
type statsScreen struct {
	w      io.Writer
	format string
	whole  bool
	// redraw paints over the set before; a file or pipe gets one after the other.
	redraw bool
}

// The control sequences of a terminal (ECMA-48, CUP, EL, ED).
const (
	cursorHome  = "\x1b[H"
	clearToEdge = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// show writes a whole screen by one write, which does not flicker.
func (s statsScreen) show(readings []runtime.Reading) error {
	var rows []map[string]string
	for _, r := range readings {
		rows = append(rows, statsRow(r, s.whole))
	}
	var text bytes.Buffer
	if err := printRows(&text, s.format, statsColumns(), rows); err != nil {
		return err
	}
	if s.redraw {
		drawn := cursorHome + strings.ReplaceAll(text.String(), "\n", clearToEdge+"\n") + clearBelow
		_, err := io.WriteString(s.w, drawn)
		return err
	}
	_, err := text.WriteTo(s.w)
	return err
}

func statsColumns() listColumns {
	return listColumns{
		headings: headings{
			"Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
			"MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
			"Throttled": "THROTTLED", "OOM": "OOM", "PSI": "PSI CPU / MEM / IO",
		},
		standard: `{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}\t{{.Throttled}}\t{{.OOM}}\t{{.PSI}}`,
	}
}

// unknown is what Docker shows where it has no value.
const unknown = "--"

func statsRow(r runtime.Reading, whole bool) map[string]string {
	row := map[string]string{
		"Container": r.Asked, "ID": r.Container.Config.ID, "Name": r.Container.Config.Name,
		"CPUPerc": unknown, "MemUsage": pair(unknown, unknown), "MemPerc": unknown, "NetIO": unknown, "BlockIO": unknown, "PIDs": unknown,
		"Throttled": unknown, "OOM": unknown, "PSI": unknown,
	}
	if !whole {
		row["ID"] = shortID(row["ID"])
	}
	u := r.Usage
	if u == nil {
		return row
	}
	row["CPUPerc"] = percentage(r.Rates.CPU)
	row["MemUsage"] = pair(units.BytesSize(float64(u.Memory())), units.BytesSize(float64(u.MemoryLimit)))
	row["MemPerc"] = percentage(float64(u.Memory()) / float64(max(u.MemoryLimit, 1)) * 100)
	row["PIDs"] = strconv.FormatUint(u.PidsCurrent, 10)
	row["Throttled"] = pair(percentage(r.Rates.Throttled), r.Rates.ThrottledFor.Round(time.Millisecond).String())
	row["OOM"] = strconv.FormatUint(u.MemoryEvents.OOMKill, 10)
	row["PSI"] = strings.Join([]string{pressure(u.Pressure.CPU), pressure(u.Pressure.Memory), pressure(u.Pressure.IO)}, " / ")
	if u.Net != nil {
		row["NetIO"] = pair(humanSize(int64(u.Net.Received)), humanSize(int64(u.Net.Sent)))
	}
	if u.IO != nil {
		row["BlockIO"] = pair(humanSize(int64(u.IO.ReadBytes)), humanSize(int64(u.IO.WriteBytes)))
	}
	return row
}

func pair(a, b string) string { return a + " / " + b }

func percentage(n float64) string { return fmt.Sprintf("%.2f%%", n) }

func pressure(share *float64) string {
	if share == nil {
		return unknown
	}
	return percentage(*share)
}
