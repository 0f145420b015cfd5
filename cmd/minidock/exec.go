package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "Execute a command in a running container", ArgsUsage: "CONTAINER COMMAND [ARG...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "Detached mode: run command in the background"},
			detachKeysFlag(),
			list("env", "e", "Set environment variables"),
			list("env-file", "", "Read in a file of environment variables"),
			explainFlag(),
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "Keep STDIN open even if not attached"},
			&cli.BoolFlag{Name: "privileged", Usage: "Give extended privileges to the command"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "Allocate a pseudo-TTY"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "Username or UID (format: <name|uid>[:<group|gid>])"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "Working directory inside the container"},
		},
		Action: execInContainer,
	}
}

func execInContainer(c *cli.Context) error {
	if c.NArg() < 2 {
		return needsArguments(c, "at least 2 arguments")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	o := runtime.ExecOptions{
		Command: c.Args().Tail(), User: c.String("user"), Workdir: c.String("workdir"),
		Interactive: c.Bool("interactive"), Tty: c.Bool("tty"), Detach: c.Bool("detach"), Privileged: c.Bool("privileged"),
	}
	if _, err := environment(nil, c.StringSlice("env"), os.LookupEnv); err != nil {
		return err // A flag that can't be read; a file that can't is the verb's own failure.
	}
	if o.Env, err = environment(c.StringSlice("env-file"), c.StringSlice("env"), os.LookupEnv); err != nil {
		return atMostOne(err)
	}
	if o.Tty {
		o.Env = append([]string{"TERM=xterm"}, o.Env...)
	}
	streams, err := streamsFor(c, layout, o.Interactive && !o.Detach, o.Tty && !o.Detach)
	if err != nil {
		return atMostOne(err)
	}
	streams.KeepSignals = true
	code, err := runtime.Exec(layout, c.Args().First(), o, streams)
	if o.Detach {
		err = atMostOne(err) // As in Docker; the statuses of programs are for those who wait for one.
	}
	return outcome(code, err, 1)
}
