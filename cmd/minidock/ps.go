package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/runtime"
)

func psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "List containers",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Show all containers (default shows just running)"},
			filterFlag(),
			&cli.StringFlag{Name: "format", Usage: "Format output: 'table', 'table TEMPLATE', 'json' or a `TEMPLATE`"},
			&cli.IntFlag{Name: "last", Aliases: []string{"n"}, Usage: "Show n last created containers (includes all states)", Value: -1},
			&cli.BoolFlag{Name: "latest", Aliases: []string{"l"}, Usage: "Show the latest created container (includes all states)"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Don't truncate output"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Only display container IDs"},
			&cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "Display total file sizes"},
		},
		Action: listContainers,
	}
}

// listContainers prints what can be read even where some container's state can't.
func listContainers(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	chosen, listErr := chosenContainers(c, layout)
	if chosen == nil && listErr != nil {
		return listErr
	}
	v := psView{layout: layout, now: time.Now(), whole: c.Bool("no-trunc"), names: map[[2]string]string{}}
	format := psFormat(c)
	v.sizes = c.Bool("size") || strings.Contains(format, ".Size")
	var rows []psRow
	var errs []error
	for _, one := range chosen {
		row, err := v.row(one)
		rows, errs = append(rows, row), append(errs, err)
	}
	columns := psColumns(c.Bool("size"))
	return errors.Join(printRows(os.Stdout, format, columns, rows), listErr, errors.Join(errs...))
}

// psFormat is the format asked for. As in Docker, --quiet wins over it.
func psFormat(c *cli.Context) string {
	format := c.String("format")
	if !c.Bool("quiet") {
		return format
	}
	if format != "" {
		fmt.Fprintln(os.Stderr, "WARNING: Ignoring custom format, because both --format and --quiet are set.")
	}
	return "{{.ID}}"
}

// chosenContainers reads no more than is asked for: without --all only what runs.
func chosenContainers(c *cli.Context, l runtime.Layout) ([]*runtime.Container, error) {
	filter, err := readPsFilter(l, c.StringSlice("filter"))
	if err != nil {
		return nil, err
	}
	last := c.Int("last")
	if c.Bool("latest") {
		last = 1
	}
	read := runtime.ListRunning
	if (c.Bool("all") || last > 0 || filter.wantsStopped()) && (!filter.wantsOnlyStarted() || filter.before+filter.since != "") {
		read = runtime.List
	}
	all, err := read(l)
	chosen := filter.choose(all)
	if last > 0 && len(chosen) > last {
		chosen = chosen[:last]
	}
	return chosen, err
}

// psRow is a container as ps shows it: Docker's fields.
type psRow struct {
	Command, CreatedAt, ID, Image, Labels, LocalVolumes, Mounts, Names, Networks, Ports, RunningFor, Size, State, Status string

	labels map[string]string
}

// Label is the value of one label.
func (r psRow) Label(name string) string { return r.labels[name] }

func psColumns(sizes bool) listColumns {
	c := listColumns{
		headings: headings{
			"Command": "COMMAND", "CreatedAt": "CREATED AT", "ID": "CONTAINER ID", "Image": "IMAGE", "Labels": "LABELS",
			"LocalVolumes": "LOCAL VOLUMES", "Mounts": "MOUNTS", "Names": "NAMES", "Networks": "NETWORKS", "Ports": "PORTS",
			"RunningFor": "CREATED", "Size": "SIZE", "State": "STATE", "Status": "STATUS",
		},
		standard: `{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}`,
	}
	if sizes {
		c.standard += `\t{{.Size}}`
	}
	return c
}

// psView is how one ps shows containers.
type psView struct {
	layout       runtime.Layout
	now          time.Time
	whole, sizes bool
	// names remembers what an image's name and ID were shown as.
	names map[[2]string]string
}

func (v psView) row(c *runtime.Container) (row psRow, err error) {
	status := c.Status()
	row = psRow{
		Command: commandColumn(c.Config.Args, v.whole), CreatedAt: localTime(c.Config.Created), ID: c.Config.ID,
		Image: v.image(c.Config), Labels: labelList(c.Config.Labels), LocalVolumes: "0", Names: c.Config.Name,
		Networks: strings.Join(c.Config.Network.Names(), ","), Ports: portsOf(c), RunningFor: agoAt(c.Config.Created, v.now), Size: humanSize(0),
		State: status, Status: statusWords(c, status, v.now), labels: c.Config.Labels,
	}
	if !v.whole {
		row.ID = shortID(row.ID)
	}
	if !v.sizes {
		return row, nil
	}
	own, all, err := c.Sizes()
	row.Size = fmt.Sprintf("%s (virtual %s)", humanSize(own), humanSize(all))
	return row, err
}

// image is the name that the container was made with, as long as it means the same
// image; after that it is the image's ID.
func (v psView) image(c runtime.Config) string {
	key := [2]string{c.Image, c.ImageID}
	if _, known := v.names[key]; !known {
		v.names[key] = c.Image
		image, err := images.Open(v.layout.Root).Resolve(c.Image)
		switch other := err == nil && image.ID != c.ImageID || errors.Is(err, images.ErrNoImage); {
		case other && v.whole:
			v.names[key] = c.ImageID
		case other:
			v.names[key] = shortID(c.ImageID)
		}
	}
	return v.names[key]
}

// commandColumn quotes the command and cuts it at 20 characters, as Docker does.
func commandColumn(args []string, whole bool) string {
	words := []string{args[0]}
	for _, a := range args[1:] {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	command := []rune(strings.Join(words, " "))
	if !whole && len(command) > 20 {
		command = append(command[:19], '…')
	}
	return fmt.Sprintf("%q", string(command))
}

// statusWords are Docker's STATUS column.
func statusWords(c *runtime.Container, status string, now time.Time) string {
	switch status {
	case "running":
		return "Up " + units.HumanDuration(now.Sub(c.Live.StartedAt))
	case "paused":
		return fmt.Sprintf("Up %s (Paused)", units.HumanDuration(now.Sub(c.Live.StartedAt)))
	case "restarting", "exited":
		if c.Exit == nil { // Its monitor is writing it down at this moment.
			return "Restarting"
		}
		word := map[string]string{"restarting": "Restarting", "exited": "Exited"}[status]
		return fmt.Sprintf("%s (%d) %s", word, c.Exit.ExitCode, agoAt(c.Exit.FinishedAt, now))
	}
	return "Created"
}
