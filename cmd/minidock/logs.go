package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "Fetch the logs of a container", ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "details", Usage: "Show extra details provided to logs"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "Follow log output"},
			&cli.StringFlag{Name: "since", Usage: "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)"},
			&cli.StringFlag{Name: "tail", Aliases: []string{"n"}, Value: "all", Usage: "Number of lines to show from the end of the logs"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "Show timestamps"},
			&cli.StringFlag{Name: "until", Usage: "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)"},
		},
		Action: showLogs,
	}
}

// showLogs prints every entry that can be read, and ends with status 1 where one
// could not.
func showLogs(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	container, err := runtime.Find(layout, c.Args().First())
	if err != nil {
		return err
	}
	o, err := logOptions(c, time.Now())
	if err != nil {
		return err
	}
	status := 0
	o.Bad = func(err error) { status = report(os.Stderr, err) }
	if err := container.Logs(o, os.Stdout, os.Stderr); err != nil {
		return err
	}
	if status != 0 {
		return exitStatus(status)
	}
	return nil
}

func logOptions(c *cli.Context, now time.Time) (o runtime.LogOptions, err error) {
	o = runtime.LogOptions{
		Follow: c.Bool("follow"), Timestamps: c.Bool("timestamps"), Details: c.Bool("details"), Tail: tailOf(c.String("tail")),
	}
	if o.Since, err = momentFlag(c, "since", now); err != nil {
		return o, err
	}
	o.Until, err = momentFlag(c, "until", now)
	return o, err
}

// tailOf reads --tail; as in Docker, what is no number means all.
func tailOf(text string) int {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return -1
}

func momentFlag(c *cli.Context, name string, now time.Time) (time.Time, error) {
	text := c.String(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := parseMoment(text, now)
	if err != nil {
		return at, &steps.Fault{
			Msg:  fmt.Sprintf("invalid value for %q: %v", name, err),
			Hint: "Give a time such as 2026-01-02T15:04:05Z, seconds since 1970, or a duration such as 10m.", Err: err,
		}
	}
	return at, nil
}

// momentForms are the forms of a time that Docker takes, each also with a zone
// behind it; without one, the local zone is meant. A fraction may follow seconds.
var momentForms = []string{"2006-01-02", "2006-01-02T15", "2006-01-02T15:04", "2006-01-02T15:04:05"}

// parseMoment reads a duration before now, seconds since 1970, or a time.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if before, err := time.ParseDuration(text); err == nil && text != "0" {
		return now.Add(-before), nil
	}
	var err error
	for _, form := range momentForms {
		for _, zone := range []string{"", "Z07:00"} {
			var at time.Time
			if at, err = time.ParseInLocation(form+zone, text, now.Location()); err == nil {
				return at, nil
			}
		}
	}
	if at, ok := parseUnix(text); ok {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("failed to parse value as time or duration: %q", text)
}

// parseUnix reads seconds since 1970 with up to nine digits of a fraction.
func parseUnix(text string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	if len(fraction) > 9 {
		fraction = fraction[:9]
	}
	nanoseconds := int64(0)
	if fraction != "" {
		n, err := strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 32)
		if err != nil {
			return time.Time{}, false
		}
		nanoseconds = int64(n)
	}
	return time.Unix(seconds, nanoseconds), true
}
