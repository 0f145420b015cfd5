package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func psCommand() *cli.Command {
	return &cli.Command{
		Name: "ps", Usage: "List containers",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Show all containers (default shows just running)"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Only display container IDs"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Don't truncate output"},
		},
		Action: listContainers,
	}
}

func listContainers(c *cli.Context) error {
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	all, listErr := runtime.List(layout)
	var shown []*runtime.Container
	for _, one := range all {
		if c.Bool("all") || one.Running() {
			shown = append(shown, one)
		}
	}
	return errors.Join(printContainers(os.Stdout, shown, c.Bool("quiet"), c.Bool("no-trunc")), listErr)
}

func printContainers(w io.Writer, list []*runtime.Container, quiet, whole bool) error {
	if quiet {
		for _, c := range list {
			fmt.Fprintln(w, idOf(c, whole))
		}
		return nil
	}
	// Docker's own layout: columns at least 10 wide and 3 spaces apart.
	table := tabwriter.NewWriter(w, 10, 1, 3, ' ', 0)
	fmt.Fprintln(table, "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES")
	for _, c := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", idOf(c, whole), c.Config.Image, commandColumn(c.Config.Args, whole),
			ago(c.Config.Created), statusColumn(c), "", c.Config.Name)
	}
	return table.Flush()
}

func idOf(c *runtime.Container, whole bool) string {
	if whole {
		return c.Config.ID
	}
	return c.Config.ID[:12]
}

// commandColumn quotes the command and cuts it at 20 characters, as Docker does.
func commandColumn(args []string, whole bool) string {
	command := []rune(strings.Join(args, " "))
	if !whole && len(command) > 20 {
		command = append(command[:19], '…')
	}
	return fmt.Sprintf("%q", string(command))
}

func ago(t time.Time) string { return units.HumanDuration(time.Since(t)) + " ago" }

func statusColumn(c *runtime.Container) string {
	switch c.Status() {
	case "running":
		return "Up " + units.HumanDuration(time.Since(c.Live.StartedAt))
	case "exited":
		return fmt.Sprintf("Exited (%d) %s", c.Exit.ExitCode, ago(c.Exit.FinishedAt))
	}
	return "Created"
}

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "Return low-level information on containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "Format output using a Go template: 'json' or a `TEMPLATE`"}},
		Action: inspectContainers,
	}
}

// inspectContainers prints what it finds even when some are not found, as Docker
// does; the errors follow.
func inspectContainers(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	found := []any{}
	var errs []error
	for _, ref := range c.Args().Slice() {
		one, err := inspectOne(layout, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, one)
	}
	return errors.Join(append([]error{printInspected(os.Stdout, found, c.String("format"))}, errs...)...)
}

func inspectOne(l runtime.Layout, ref string) (any, error) {
	c, err := runtime.Find(l, ref)
	if err != nil {
		return nil, err
	}
	return runtime.Inspect(c)
}

// printInspected prints a JSON array, or each object through a template.
func printInspected(w io.Writer, found []any, format string) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	switch format {
	case "":
		out.SetIndent("", "    ")
		return out.Encode(found)
	case "json":
		return out.Encode(found)
	}
	for _, one := range found {
		if err := renderTemplate(w, format, one); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

func removeCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "Remove one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Force the removal of a running container (uses SIGKILL)"}},
		Action: removeContainers,
	}
}

// removeContainers removes what it can and names what it can't, item by item. As
// in Docker, force also makes a missing container no error.
func removeContainers(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	failed := false
	for _, ref := range c.Args().Slice() {
		err := runtime.Remove(layout, ref, c.Bool("force"))
		if err == nil {
			fmt.Println(ref)
			continue
		}
		report(os.Stderr, err)
		failed = failed || !c.Bool("force") || !errors.Is(err, runtime.ErrNoContainer)
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

func needsArguments(c *cli.Context, count string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("%q requires %s.", c.Command.HelpName, count),
		Hint: "See '" + c.Command.HelpName + " --help'.",
	}
}
