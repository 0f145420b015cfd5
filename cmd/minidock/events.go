package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "Get real time events from minidock",
		Flags: []cli.Flag{
			filterFlag(),
			&cli.StringFlag{Name: "format", Usage: "Format output using a Go template: 'json' or a `TEMPLATE`"},
			&cli.StringFlag{Name: "since", Usage: "Show all events created since timestamp"},
			&cli.StringFlag{Name: "until", Usage: "Stream events until this timestamp"},
		},
		Action: streamEvents,
	}
}

func streamEvents(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	var q runtime.EventQuery
	if q.Since, q.Until, err = parseBounds(c.String("since"), c.String("until"), time.Now()); err != nil {
		return err
	}
	filters, err := readFilters(c.StringSlice("filter"), runtime.EventFilters...)
	if err != nil {
		return err
	}
	q.Filter = runtime.EventFilter(filters)
	see, err := eventPrinter(os.Stdout, c.String("format"))
	if err != nil {
		return err
	}
	return runtime.Events(c.Context, layout, q, see)
}

// eventMessage is an event with Docker's structure and field names.
type eventMessage struct {
	Status string `json:"status,omitempty"`
	ID     string `json:"id,omitempty"`
	From   string `json:"from,omitempty"`
	Type   string
	Action string
	Actor  eventActor
	Scope  string `json:"scope,omitempty"`
	// Time is in seconds, TimeNano in nanoseconds since 1970.
	Time     int64 `json:"time,omitempty"`
	TimeNano int64 `json:"timeNano,omitempty"`
}

// eventActor is what the event happened to.
type eventActor struct {
	ID         string
	Attributes map[string]string
}

func messageOf(e runtime.Event) eventMessage {
	m := eventMessage{
		Status: e.Action, ID: e.ID, Type: e.Type, Action: e.Action,
		Actor: eventActor{ID: e.ID, Attributes: e.Attributes},
		Scope: "local", Time: e.Time.Unix(), TimeNano: e.Time.UnixNano(),
	}
	if e.Type == "container" {
		m.From = e.Attributes["image"]
	}
	return m
}

// eventPrinter returns what writes an event in this format.
func eventPrinter(w io.Writer, format string) (func(runtime.Event) error, error) {
	if format == "" {
		return func(e runtime.Event) error {
			_, err := fmt.Fprintln(w, eventLine(e))
			return err
		}, nil
	}
	f, err := readFormat(format, "")
	if err != nil {
		return nil, asBadTemplate(err)
	}
	return func(e runtime.Event) error { return asBadTemplate(f.line(w, messageOf(e))) }, nil
}

// asBadTemplate gives an error the exit status that Docker's events has for it.
func asBadTemplate(err error) error {
	if err == nil {
		return nil
	}
	return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: badTemplate, Err: err}
}

// eventTime has always nine digits after the point, so that columns line up.
const eventTime = "2006-01-02T15:04:05.000000000Z07:00"

func eventLine(e runtime.Event) string {
	line := fmt.Sprintf("%s %s %s %s", e.Time.Local().Format(eventTime), e.Type, e.Action, e.ID)
	if len(e.Attributes) == 0 {
		return line
	}
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(e.Attributes)) {
		pairs = append(pairs, key+"="+e.Attributes[key])
	}
	return line + " (" + strings.Join(pairs, ", ") + ")"
}
