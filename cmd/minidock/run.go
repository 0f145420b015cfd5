package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "Create and run a new container from an image", ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Flags: runFlags(), Action: runContainer,
	}
}

// runContainer is `minidock run`: the flags become options, and package runtime
// does the rest.
func runContainer(c *cli.Context) error {
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	options, err := runOptions(c)
	if err != nil {
		return err
	}
	detach := c.Bool("detach")
	streams, err := streamsFor(c, layout, options.Interactive && !detach, options.Tty && !detach)
	if err != nil {
		return err
	}
	streams.Detach, streams.KeepSignals = detach, !c.Bool("sig-proxy")
	options.StdinOnce = streams.In != nil
	id := ""
	if streams.Created, err = cidFile(c.String("cidfile"), &id); err != nil {
		return err
	}
	code, err := runtime.Run(layout, options, streams)
	if err == nil && detach {
		fmt.Println(id)
	}
	return outcome(code, unlessDetached(err), 125)
}

func createCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "Create a new container", ArgsUsage: "IMAGE [COMMAND] [ARG...]",
		Flags: createFlags(), Action: createContainer,
	}
}

func createContainer(c *cli.Context) error {
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	options, err := runOptions(c)
	if err != nil {
		return err
	}
	options.StdinOnce = options.Interactive
	id := ""
	created, err := cidFile(c.String("cidfile"), &id)
	if err != nil {
		return err
	}
	if _, err := runtime.Create(layout, options, created, tellerOf(c, layout)); err != nil {
		return outcome(0, err, 125)
	}
	fmt.Println(id)
	return nil
}

// cidFile returns what notes a new container's ID: in a file, where one is asked
// for, which must not be there yet.
func cidFile(path string, id *string) (func(string) error, error) {
	if path != "" {
		if _, err := os.Lstat(path); err == nil {
			return nil, &steps.Fault{
				Msg:  "container ID file found, make sure the other container isn't running or delete " + path,
				Hint: "Give --cidfile a file that is not there yet.", Code: 125,
			}
		}
	}
	return func(created string) error {
		*id = created
		if path == "" {
			return nil
		}
		if err := os.WriteFile(path, []byte(created), 0o644); err != nil {
			return &steps.Fault{Msg: "failed to create the container ID file: " + err.Error(), Hint: "Give --cidfile a file in a directory that is there and that you may write to.", Code: 125, Err: err}
		}
		return nil
	}, nil
}
