package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// explainFlag is of the verbs that change a container or network: the story of what they do.
func explainFlag() cli.Flag {
	return &cli.BoolFlag{Name: "explain", Usage: "Tell every act on the kernel while doing it"}
}

// tellerOf is nil where nobody wants the story.
func tellerOf(c *cli.Context, l runtime.Layout) func(steps.Record) {
	if !c.Bool("explain") {
		return nil
	}
	return newTeller(os.Stderr, l).tell
}

// eachContainer does something to every container that is named, and prints its
// name.
func eachContainer(c *cli.Context, do func(l runtime.Layout, ref string) error) error {
	return forEach(c, func(l runtime.Layout, ref string) (string, error) { return ref, do(l, ref) })
}

// mostAtOnce is how many containers are dealt with at the same time, as in Docker.
const mostAtOnce = 50

// eachAtOnce is for what takes its time with each container. What is said comes in the
// order of the arguments.
func eachAtOnce(c *cli.Context, do func(l runtime.Layout, ref string) error) error {
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	results := make([]chan error, c.NArg())
	places := make(chan struct{}, mostAtOnce)
	for i, ref := range c.Args().Slice() {
		done := make(chan error, 1)
		results[i] = done
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			done <- do(layout, ref)
		}()
	}
	next := 0
	return eachContainer(c, func(runtime.Layout, string) error {
		next++
		return <-results[next-1]
	})
}

// forEach prints what is to be said of every container that is named, and reports
// what could not be done, item by item, as Docker does.
func forEach(c *cli.Context, do func(l runtime.Layout, ref string) (said string, err error)) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	var end error
	for _, ref := range c.Args().Slice() {
		said, err := do(layout, ref)
		switch {
		case errors.Is(err, errPassedOver):
			report(os.Stderr, err)
		case err != nil:
			report(os.Stderr, err)
			end = exitStatus(1)
		default:
			fmt.Println(said)
		}
	}
	return end
}

// errPassedOver marks what is said of a container and is no failure.
var errPassedOver = errors.New("passed over")

func startCommand() *cli.Command {
	return &cli.Command{
		Name: "start", Usage: "Start one or more stopped containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "attach", Aliases: []string{"a"}, Usage: "Attach STDOUT/STDERR and forward signals"},
			detachKeysFlag(), explainFlag(),
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "Attach container's STDIN"},
		},
		Action: startContainers,
	}
}

func startContainers(c *cli.Context) error {
	if !c.Bool("attach") && !c.Bool("interactive") {
		return eachContainer(c, func(l runtime.Layout, ref string) error {
			_, err := runtime.Start(l, ref, runtime.Streams{Detach: true, Tell: tellerOf(c, l)})
			return atMostOne(err)
		})
	}
	if c.NArg() != 1 {
		return &steps.Fault{Msg: "you cannot start and attach multiple containers at once", Hint: "Name one container, or leave -a and -i out."}
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	one, err := runtime.Find(layout, c.Args().First())
	if err != nil {
		return err
	}
	streams, err := streamsFor(c, layout, one.Config.Interactive && c.Bool("interactive"), one.Config.Tty)
	if err != nil {
		return err
	}
	streams.KeepSignals = one.Config.Tty
	code, err := runtime.Start(layout, c.Args().First(), streams)
	return outcome(code, atMostOne(unlessDetached(err)), 1)
}

// atMostOne gives an error the exit status of verbs other than run, create and exec.
func atMostOne(err error) error {
	if err == nil {
		return nil
	}
	return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 1, Err: err}
}

func stopCommand() *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "Stop one or more running containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: stopFlags(), Action: func(c *cli.Context) error { return endContainers(c, eachAtOnce, runtime.Stop) },
	}
}

func restartCommand() *cli.Command {
	return &cli.Command{
		Name: "restart", Usage: "Restart one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: stopFlags(), Action: func(c *cli.Context) error { return endContainers(c, eachContainer, runtime.Restart) },
	}
}

func stopFlags() []cli.Flag {
	return []cli.Flag{
		explainFlag(),
		&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "Signal to send to the container"},
		&cli.IntFlag{Name: "timeout", Aliases: []string{"time", "t"}, Usage: "Seconds to wait before killing the container", DefaultText: "the container's own"},
	}
}

type ending func(l runtime.Layout, ref string, signal unix.Signal, timeout *int, tell func(steps.Record)) error

func endContainers(c *cli.Context, each func(*cli.Context, func(runtime.Layout, string) error) error, end ending) error {
	var signal unix.Signal
	if name := c.String("signal"); name != "" {
		var err error
		if signal, err = runtime.ParseSignal(name); err != nil {
			return err
		}
	}
	var timeout *int
	if c.IsSet("timeout") {
		seconds := c.Int("timeout")
		timeout = &seconds
	}
	if c.Bool("explain") {
		each = eachContainer // A story has to come in one piece.
	}
	return each(c, func(l runtime.Layout, ref string) error { return end(l, ref, signal, timeout, tellerOf(c, l)) })
}

func killCommand() *cli.Command {
	return &cli.Command{
		Name: "kill", Usage: "Kill one or more running containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{
			explainFlag(),
			&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "Signal to send to the container", Value: "KILL"},
		},
		Action: func(c *cli.Context) error {
			signal, err := runtime.ParseSignal(cmp.Or(c.String("signal"), "KILL"))
			if err != nil {
				return err
			}
			return eachContainer(c, func(l runtime.Layout, ref string) error {
				return runtime.Kill(l, ref, signal, tellerOf(c, l))
			})
		},
	}
}

func pauseCommand() *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "Pause all processes within one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{explainFlag()},
		Action: func(c *cli.Context) error {
			return eachContainer(c, func(l runtime.Layout, ref string) error { return runtime.Pause(l, ref, tellerOf(c, l)) })
		},
	}
}

func unpauseCommand() *cli.Command {
	return &cli.Command{
		Name: "unpause", Usage: "Unpause all processes within one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags: []cli.Flag{explainFlag()},
		Action: func(c *cli.Context) error {
			return eachContainer(c, func(l runtime.Layout, ref string) error { return runtime.Unpause(l, ref, tellerOf(c, l)) })
		},
	}
}

func waitCommand() *cli.Command {
	return &cli.Command{
		Name: "wait", Usage: "Block until one or more containers stop, then print their exit codes", ArgsUsage: "CONTAINER [CONTAINER...]",
		Action: waitForContainers,
	}
}

// waitForContainers prints statuses in the place of names.
func waitForContainers(c *cli.Context) error {
	return forEach(c, func(l runtime.Layout, ref string) (string, error) {
		code, err := runtime.Wait(l, ref)
		return strconv.Itoa(code), err
	})
}

func renameCommand() *cli.Command {
	return &cli.Command{
		Name: "rename", Usage: "Rename a container", ArgsUsage: "CONTAINER NEW_NAME",
		Flags: []cli.Flag{explainFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return needsArguments(c, "exactly 2 arguments")
			}
			layout, err := layoutOf(c)
			if err != nil {
				return err
			}
			return atMostOne(runtime.Rename(layout, c.Args().Get(0), c.Args().Get(1), tellerOf(c, layout)))
		},
	}
}
