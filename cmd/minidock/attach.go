package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func detachKeysFlag() cli.Flag {
	return &cli.StringFlag{Name: "detach-keys", Usage: "Override the key sequence for detaching a container", DefaultText: runtime.DefaultDetachKeys}
}

func attachCommand() *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "Attach local standard input, output, and error streams to a running container", ArgsUsage: "CONTAINER",
		Flags: []cli.Flag{
			detachKeysFlag(),
			&cli.BoolFlag{Name: "no-stdin", Usage: "Do not attach STDIN"},
			&cli.BoolFlag{Name: "sig-proxy", Usage: "Proxy all received signals to the process", Value: true},
		},
		Action: attachContainer,
	}
}

func attachContainer(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	one, err := runtime.Find(layout, c.Args().First())
	if err != nil {
		return err
	}
	streams, err := streamsFor(c, layout, one.Config.Interactive && !c.Bool("no-stdin"), one.Config.Tty)
	if err != nil {
		return atMostOne(err)
	}
	streams.KeepSignals = !c.Bool("sig-proxy") || one.Config.Tty
	code, err := runtime.Attach(layout, c.Args().First(), streams)
	return outcome(code, err, 1)
}

// streamsFor connects this process' own streams. Its terminal, if it has one,
// stands for the container's; where input is asked for of one, there has to be one.
func streamsFor(c *cli.Context, l runtime.Layout, input, tty bool) (runtime.Streams, error) {
	s := runtime.Streams{Out: os.Stdout, Err: os.Stderr, Tell: tellerOf(c, l)}
	keys := c.String("detach-keys")
	if keys == "" {
		keys = runtime.DefaultDetachKeys
	}
	var err error
	if s.DetachKeys, err = runtime.ParseDetachKeys(keys); err != nil {
		return s, err
	}
	if input {
		s.In = os.Stdin
	}
	if tty && hasTerminal(os.Stdin) {
		s.Terminal = os.Stdin
	}
	if tty && input && s.Terminal == nil {
		return s, &steps.Fault{Msg: "the input device is not a TTY", Hint: "Leave -t out where the input is no terminal."}
	}
	if s.Terminal == nil {
		s.DetachKeys = nil // Nobody types.
	}
	return s, nil
}

// outcome makes an exit status of how a process ended; code is that of a failure to
// get there.
func outcome(status int, err error, code int) error {
	switch {
	case err != nil:
		return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: steps.CodeOf(err, code), Err: err}
	case status != 0:
		return exitStatus(status)
	}
	return nil
}

// unlessDetached takes it for no error that the user has left a container that
// this command started. As in Docker, attach and exec do not.
func unlessDetached(err error) error {
	if errors.Is(err, runtime.ErrDetached) {
		return nil
	}
	return err
}
