package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func copyCommand() *cli.Command {
	return &cli.Command{
		Name: "cp", Usage: "Copy files/folders between a container and the local filesystem",
		UsageText: "minidock cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\nminidock cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
		Description: "Use '-' as the source to read a tar archive from stdin and extract it to a directory of a container.\n" +
			"Use '-' as the destination to stream a tar archive of a container source to stdout.",
		Flags: inCategory("", []cli.Flag{
			&cli.BoolFlag{Name: "archive", Aliases: []string{"a"}, Usage: "Archive mode (copy all uid/gid information)"},
			&cli.BoolFlag{Name: "explain", Usage: "Tell every act on the kernel while doing it"},
			&cli.BoolFlag{Name: "follow-link", Aliases: []string{"L"}, Usage: "Always follow symbol link in SRC_PATH"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Suppress what tells the success, as when stdout is no terminal"},
		}),
		Action: copyFiles,
	}
}

// copyFiles finds out which way a copy goes, as Docker does.
func copyFiles(c *cli.Context) error {
	if c.NArg() != 2 {
		return needsArguments(c, "exactly 2 arguments")
	}
	from, to := c.Args().Get(0), c.Args().Get(1)
	source, fromPath := splitCopyArgument(from)
	target, toPath := splitCopyArgument(to)
	msg := ""
	switch {
	case from == "":
		msg = "source can not be empty"
	case to == "":
		msg = "destination can not be empty"
	case source == "" && target == "":
		msg = "must specify at least one container source"
	case source != "" && target != "":
		msg = "copying between containers is not supported"
	}
	if msg != "" {
		return &steps.Fault{Msg: msg, Hint: "Name the container of the one side that is in one, as in `minidock cp web:/etc/motd .`."}
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	return interruptible(func(ctx context.Context) error {
		done, err := copyOneWay(ctx, layout, source, fromPath, target, toPath, copyOptions(c, layout))
		if err == nil && done.To != "" && tellsCopy(c) {
			fmt.Fprintln(os.Stderr, copySummary(done))
		}
		return err
	})
}

func copyOneWay(ctx context.Context, l runtime.Layout, source, from, target, to string, o runtime.CopyOptions) (runtime.Copied, error) {
	switch {
	case target != "" && from == "-":
		return runtime.StreamTo(ctx, l, os.Stdin, target, to, o)
	case target != "":
		return runtime.CopyTo(ctx, l, from, target, to, o)
	case to == "-":
		return runtime.Copied{}, runtime.StreamFrom(ctx, l, source, from, os.Stdout, o)
	}
	whole, err := filepath.Abs(to)
	if err == nil {
		err = checkOutput(whole)
	}
	if err != nil {
		return runtime.Copied{}, err
	}
	return runtime.CopyFrom(ctx, l, source, from, to, o)
}

func copyOptions(c *cli.Context, l runtime.Layout) runtime.CopyOptions {
	return runtime.CopyOptions{Follow: c.Bool("follow-link"), Owner: c.Bool("archive"), Tell: tellerFor(c, l), Warn: warn}
}

// tellerFor tells the steps of a verb that can --explain; nil where it should not.
func tellerFor(c *cli.Context, l runtime.Layout) func(steps.Record) {
	if !c.Bool("explain") {
		return nil
	}
	return newTeller(os.Stderr, l).tell
}

func warn(text string) { fmt.Fprintln(os.Stderr, "WARNING: "+text) }

// splitCopyArgument takes CONTAINER:PATH apart. A path of the host with a colon
// in it begins with / or a dot.
func splitCopyArgument(argument string) (container, path string) {
	container, path, found := strings.Cut(argument, ":")
	if !found || filepath.IsAbs(argument) || strings.HasPrefix(argument, ".") {
		return "", argument
	}
	return container, path
}

// tellsCopy: unless told otherwise, success is told on a terminal only.
func tellsCopy(c *cli.Context) bool {
	if c.IsSet("quiet") {
		return !c.Bool("quiet")
	}
	return isTerminalFile(os.Stdout)
}

// copySummary tells the bytes of the files, and those of the archive where they
// are others.
func copySummary(done runtime.Copied) string {
	size := func(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }
	if done.Content == done.Transferred {
		return fmt.Sprintf("Successfully copied %s to %s", size(done.Content), done.To)
	}
	return fmt.Sprintf("Successfully copied %s (transferred %s) to %s", size(done.Content), size(done.Transferred), done.To)
}

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "Export a container's filesystem as a tar archive", ArgsUsage: "CONTAINER",
		Flags: inCategory("", []cli.Flag{
			&cli.BoolFlag{Name: "explain", Usage: "Tell every act on the kernel while doing it"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "Write to a file, instead of STDOUT"},
		}),
		Action: exportContainer,
	}
}

func exportContainer(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	output := c.String("output")
	if output == "" && isTerminalFile(os.Stdout) {
		return &steps.Fault{Msg: "cowardly refusing to save to a terminal. Use the -o flag or redirect", Hint: "As in `minidock export " + c.Args().First() + " > rootfs.tar`."}
	}
	if err := checkOutput(output); err != nil {
		return &steps.Fault{Msg: "failed to export container: " + err.Error(), Hint: steps.HintOf(err), Err: err}
	}
	return interruptible(func(ctx context.Context) error {
		return intoFile(output, func(w io.Writer) error {
			return runtime.Export(ctx, layout, c.Args().First(), w, tellerFor(c, layout), warn)
		})
	})
}
