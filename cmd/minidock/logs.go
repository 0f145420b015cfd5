package main

import (
	"fmt"
	"os"
	"strconv"
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
