package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func pruneFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		list("filter", "", "Provide filter values (e.g. \"label=<key>=<value>\", \"until=<timestamp>\")"),
		&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Do not prompt for confirmation"},
	}, more...)
}

func pruneContainersCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "Remove all stopped containers", Flags: pruneFlags(),
		Action: func(c *cli.Context) error {
			return prune(c, "WARNING! This will remove all stopped containers.", pruner.containers)
		},
	}
}

func pruneImagesCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "Remove unused images",
		Flags: pruneFlags(&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Remove all unused images, not just dangling ones"}),
		Action: func(c *cli.Context) error {
			warning := "WARNING! This will remove all dangling images."
			if c.Bool("all") {
				warning = "WARNING! This will remove all images without at least one container associated to them."
			}
			return prune(c, warning, pruner.images)
		},
	}
}

func pruneSystemCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "Remove unused data",
		Flags: pruneFlags(&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Remove all unused images not just dangling ones"}),
		Action: func(c *cli.Context) error {
			return prune(c, systemWarning(c.Bool("all"), c.StringSlice("filter")), pruner.containers, pruner.networks, pruner.images)
		},
	}
}

// systemWarning lists what goes, and what it is filtered by.
func systemWarning(all bool, filters []string) string {
	lines := []string{"WARNING! This will remove:", "  - all stopped containers", "  - all networks not used by at least one container"}
	if all {
		lines = append(lines, "  - all images without at least one container associated to them")
	} else {
		lines = append(lines, "  - all dangling images")
	}
	lines = append(lines, "")
	if len(filters) > 0 {
		lines = append(lines, "  Items to be pruned will be filtered with:")
		for _, f := range slices.Sorted(slices.Values(filters)) {
			lines = append(lines, "  - "+f)
		}
		lines = append(lines, "")
	}
	return strings.Join(lines, "\n")
}

// prune asks, unless it is forced, and then removes one kind of thing after the
// other. As in Docker, a no is no error.
func prune(c *cli.Context, warning string, parts ...func(pruner) (text string, reclaimed int64, err error)) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	p := pruner{layout: layout, all: c.Bool("all")}
	if p.filter, err = readPruneFilter(c.StringSlice("filter"), time.Now()); err != nil {
		return err
	}
	if !c.Bool("force") {
		if yes, err := confirm(os.Stdin, os.Stdout, warning); !yes || err != nil {
			return err
		}
	}
	var total int64
	var errs []error
	for _, part := range parts {
		text, reclaimed, err := part(p)
		if text != "" {
			fmt.Println(text)
		}
		total, errs = total+reclaimed, append(errs, err)
	}
	fmt.Println("Total reclaimed space:", units.HumanSize(float64(total)))
	return errors.Join(errs...)
}

// confirm asks, and takes anything but y, also the end of input, for a no.
func confirm(in io.Reader, out io.Writer, warning string) (bool, error) {
	if _, err := fmt.Fprintf(out, "%s\nAre you sure you want to continue? [y/N] ", warning); err != nil {
		return false, err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read answer: %w", err)
	}
	return strings.EqualFold(strings.TrimSpace(answer), "y"), nil
}

// pruner removes what its filter lets go.
type pruner struct {
	layout runtime.Layout
	filter pruneFilter
	// all also removes images that have a name.
	all bool
}

func (p pruner) containers() (text string, reclaimed int64, err error) {
	removed, reclaimed, err := runtime.Prune(p.layout, func(c *runtime.Container) bool {
		return p.filter.admits(c.Config.Created, c.Config.Labels)
	})
	return section("Deleted Containers:", removed), reclaimed, err
}

func (p pruner) networks() (text string, reclaimed int64, err error) {
	removed, err := runtime.PruneNetworks(p.layout, func(n netns.Network) bool { return p.filter.admits(n.Created, n.Labels) })
	return section("Deleted Networks:", removed), 0, err
}

func (p pruner) images() (text string, reclaimed int64, err error) {
	said, reclaimed, err := runtime.PruneImages(p.layout, p.all, func(i images.Image) bool {
		return p.filter.admits(i.Created, i.Config.Config.Labels)
	})
	for i, line := range said {
		verb, what, _ := strings.Cut(line, ":") // Docker writes it small here.
		said[i] = strings.ToLower(verb) + ":" + what
	}
	return section("Deleted Images:", said), reclaimed, err
}

func section(heading string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return heading + "\n" + strings.Join(lines, "\n") + "\n"
}

// pruneFilter says what may be pruned.
type pruneFilter struct {
	filters
	// until is the moment before which a thing was made; zero means any.
	until time.Time
}

func readPruneFilter(values []string, now time.Time) (pruneFilter, error) {
	var p pruneFilter
	var err error
	if p.filters, err = readFilters(values, "label", "label!", "until"); err != nil || !p.asks("until") {
		return p, err
	}
	if len(p.filters["until"]) > 1 {
		return p, &steps.Fault{Msg: "more than one until filter specified", Hint: "Give the earliest of them alone."}
	}
	p.until, err = parseMoment(p.filters["until"][0], now)
	return p, err
}

// admits lets go what was made before until, has all labels of label, and not all
// of label!.
func (p pruneFilter) admits(created time.Time, labels map[string]string) bool {
	if !p.until.IsZero() && created.After(p.until) {
		return false
	}
	kept := p.asks("label!") && filters{"label": p.filters["label!"]}.admitsLabels(labels)
	return p.admitsLabels(labels) && !kept
}
