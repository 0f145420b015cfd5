// Command minidock is a minimal container runtime that explains itself.
//
// This package is the command line: flags in, words out. It makes no kernel
// call; package runtime tells a container's life.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func main() {
	switch {
	case os.Getenv("_LIBCONTAINER_INITPIPE") != "":
		libcontainer.Init() // A container's first process: never returns.
	case runtime.IsMonitor(os.Args):
		os.Exit(report(os.Stderr, runtime.RunMonitor(os.Args[2])))
	}
	os.Exit(run(os.Args, os.Stderr))
}

// run does one command and returns its exit status.
func run(args []string, errOut io.Writer) int {
	// Some libraries log what they also return: only this package prints.
	logrus.SetOutput(io.Discard)
	app := application()
	if len(args) > 1 && args[1] == completeVerb {
		complete(os.Stdout, app, args[2:])
		return 0
	}
	args, err := normalise(app, args)
	if err == nil {
		err = app.Run(args)
	}
	var status exitStatus
	if errors.As(err, &status) {
		return int(status)
	}
	return report(errOut, err)
}

func application() *cli.App {
	return &cli.App{
		Name: "minidock", Usage: "a container runtime that explains itself",
		Version: version, HideHelpCommand: true, DisableSliceFlagSeparator: true,
		Suggest:        true,
		ExitErrHandler: func(*cli.Context, error) {},
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "keep state in `DIR`", Value: runtime.DefaultRoot, EnvVars: []string{"MINIDOCK_ROOT"}},
		},
		Commands: allCommands(),
	}
}

// version is set by the linker for releases.
var version = "0.1.0-dev"

func commands() []*cli.Command {
	return []*cli.Command{
		runCommand(),
		createCommand(),
		startCommand(),
		attachCommand(),
		execCommand(),
		stopCommand(),
		killCommand(),
		restartCommand(),
		pauseCommand(),
		unpauseCommand(),
		waitCommand(),
		renameCommand(),
		portCommand(), psCommand(),
		inspectCommand(),
		removeCommand(),
		logsCommand(),
		copyCommand(),
		diffCommand(),
		exportCommand(),
		topCommand(),
		explainCommand(),
		imageCommand(),
		imagesCommand(),
		removeImageCommand(),
		networkCommand(),
		demoCommand(),
		eventsCommand(),
		statsCommand(),
		updateCommand(),
		doctorCommand(),
		systemCommand(),
		completionCommand(),
	}
}

// exitStatus ends the command with a container's status and no message.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// report prints an error in the one form that all verbs share: what is wrong,
// and under it what to do.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "minidock: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	if hint := cmp.Or(steps.HintOf(err), errnoHint(err)); hint != "" {
		fmt.Fprintf(w, "  hint: %s\n", hint)
	}
	return steps.CodeOf(err, 1)
}

// errnoHint is for errors about files that say no more than the kernel does (errno(3)).
func errnoHint(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	default:
		return ""
	}
	for _, known := range []struct {
		errno error
		hint  string
	}{
		{unix.ENOENT, "Nothing is there: check the path."},
		{unix.ENOTDIR, "A part of that path is a file, not a directory."},
		{unix.ENAMETOOLONG, "The kernel takes at most 255 bytes for a name, and 4096 for a path."},
		{unix.ENOSPC, "Where that is written to is full: see df -h."},
		{unix.EACCES, "You may not do that with this file: see ls -l."},
		{unix.EROFS, "That file system is read-only: see findmnt."},
	} {
		if errors.Is(err, known.errno) {
			return known.hint
		}
	}
	return ""
}

func layoutOf(c *cli.Context) (runtime.Layout, error) { return runtime.LayoutOf(c.String("root")) }
