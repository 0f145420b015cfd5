package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// demo is one lesson: one or more containers that are run, drawn while they run,
// and explained when they have ended.
type demo struct {
	name, usage string
	scenes      func(demoSettings) []scene
	// acts, where not nil, are played instead: things that are done one after
	// another with several containers.
	acts func(demoSettings) []demoAct
}

// baseImage is what scripts/base-image makes.
const baseImage = "busybox"

// demoSettings are what the flags of a demo say.
type demoSettings struct {
	image   string
	seconds int
}

func demos() []demo {
	return []demo{
		{name: "cpu", usage: "Watch the kernel stop a container that has used up its CPU time", scenes: cpuScenes},
		{name: "memory", usage: "Watch the kernel kill what grows beyond its memory limit", scenes: memoryScenes},
		{name: "pids", usage: "Watch a fork bomb that can't spread", scenes: pidsScenes},
		{name: "network", usage: "Watch who can talk to whom, and names that come and go", acts: networkActs},
	}
}

func demoCommand() *cli.Command {
	parent := &cli.Command{Name: "demo", Usage: "Watch the limits and networks of containers at work", Action: listDemos}
	for _, d := range demos() {
		parent.Subcommands = append(parent.Subcommands, playCommand(d.name, d.usage, []demo{d}))
	}
	parent.Subcommands = append(parent.Subcommands, playCommand("all", "Run them one after another", demos()))
	return parent
}

func playCommand(name, usage string, list []demo) *cli.Command {
	c := &cli.Command{
		Name: name, Usage: usage,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the output: text, or json for the figures alone", Value: "text"},
			&cli.StringFlag{Name: "image", Usage: "`IMAGE` with a shell and the usual small programs", Value: baseImage},
		},
		Action: func(c *cli.Context) error { return runDemos(c, list) },
	}
	if list[0].name == "cpu" {
		c.Flags = append(c.Flags, &cli.IntFlag{Name: "seconds", Usage: "let the CPU demo's container run for `N` seconds, 2 to 600", Value: 6})
	}
	return c
}

func listDemos(c *cli.Context) error {
	for _, sub := range c.Command.Subcommands {
		fmt.Printf("minidock demo %-8s %s\n", sub.Name, sub.Usage)
	}
	return nil
}

func runDemos(c *cli.Context, list []demo) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	settings, err := settingsOf(c)
	if err != nil {
		return err
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	p := &player{layout: layout, screen: newScreen(os.Stdout)}
	if c.String("format") == "json" {
		p.screen = silentScreen()
	}
	played, err := p.playAll(list, settings)
	if err == nil && c.String("format") == "json" {
		err = printFigures(os.Stdout, played)
	}
	if err == nil {
		err = unshown(played)
	}
	return withStatus1(err)
}

// withStatus1 takes away the exit statuses that are for run, create and exec
// alone, but not that of an interruption.
func withStatus1(err error) error {
	if err == nil || errors.Is(err, interrupted) {
		return err
	}
	return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 1, Err: err}
}

func settingsOf(c *cli.Context) (demoSettings, error) {
	s := demoSettings{image: c.String("image"), seconds: c.Int("seconds")}
	if err := checkFormat(c.String("format")); err != nil {
		return s, err
	}
	if c.IsSet("seconds") && (s.seconds < 2 || s.seconds > 600) {
		return s, &steps.Fault{Msg: fmt.Sprintf("invalid number of seconds: %d", s.seconds), Hint: "Give --seconds 2 to 600."}
	}
	return s, nil
}

// played is a demo that was run, as --format json gives it.
type played struct {
	Demo   string        `json:"demo"`
	Scenes []playedScene `json:"scenes,omitempty"`
	Acts   []playedAct   `json:"acts,omitempty"`
}

func printFigures(out *os.File, list []played) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	if len(list) == 1 {
		return encoder.Encode(list[0])
	}
	return encoder.Encode(map[string][]played{"demos": list})
}

// unshown makes a demo fail that could not show what it is for.
func unshown(list []played) error {
	for _, d := range list {
		failed := d.failed()
		if len(failed) > 0 {
			return &steps.Fault{
				Msg:  fmt.Sprintf("the demo %s did not show what it should: %s", d.Demo, failed[0]),
				Hint: "A very busy machine can be the reason, or a name server that has an address for every name: try again; or check the host with `minidock doctor`.",
			}
		}
	}
	return nil
}

// failed are the verdicts of what was not shown.
func (d played) failed() (verdicts []string) {
	for _, s := range d.Scenes {
		if !s.Shown {
			verdicts = append(verdicts, s.Verdict)
		}
	}
	for _, a := range d.Acts {
		if !a.Shown {
			verdicts = append(verdicts, a.Verdict)
		}
	}
	return verdicts
}

// interrupted ends a demo whose user has seen enough. Docker's, and a shell's,
// status for it is 128 + SIGINT.
const interrupted = exitStatus(128 + int(syscall.SIGINT))

func (p *player) playAll(list []demo, settings demoSettings) ([]played, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	p.cancel = cancel
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(caught)
	go func() {
		if _, ok := <-caught; ok {
			cancel(interrupted)
		}
	}()
	var all []played
	for i, d := range list {
		if i > 0 {
			p.screen.show(nil, nil)
		}
		done, err := p.playOne(ctx, d, settings)
		if err != nil {
			return nil, err
		}
		all = append(all, done)
	}
	return all, nil
}

// playOne looks whether a demo can be run at all before it says a word.
func (p *player) playOne(ctx context.Context, d demo, settings demoSettings) (played, error) {
	done := played{Demo: d.name}
	if d.acts != nil {
		return p.playActs(ctx, done, d.acts(settings), settings)
	}
	scenes := d.scenes(settings)
	for _, s := range scenes {
		if err := p.check(s); err != nil {
			return done, err
		}
	}
	for i, s := range scenes {
		if i > 0 {
			p.screen.show(nil)
		}
		one, err := p.play(ctx, s)
		if err != nil {
			return done, err
		}
		done.Scenes = append(done.Scenes, one)
	}
	return done, nil
}

func (p *player) check(s scene) error {
	options, err := optionsOf(s.args)
	if err != nil {
		return err
	}
	err = runtime.CanRun(p.layout, options)
	if errors.Is(err, images.ErrNoImage) && s.image == baseImage {
		return missingBaseImage(err)
	}
	if err != nil {
		return err
	}
	if _, err := runtime.Find(p.layout, options.Name); err == nil {
		return thereAlready("container", options.Name, "minidock rm -f "+options.Name)
	}
	return nil
}

// optionsOf reads a demo's command line as `minidock run` does, so that what is
// shown to be typed is what is run.
func optionsOf(args []string) (options runtime.Options, err error) {
	app := application()
	run := app.Commands[slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.Name == "run" })]
	run.Action = func(c *cli.Context) error {
		options, err = runOptions(c)
		return err
	}
	argv, err := normalise(app, append([]string{"minidock", "run"}, args...))
	if err != nil {
		return options, err
	}
	return options, app.Run(argv)
}

// typed writes a command line for a shell, the container's own command on a line
// of its own.
func typed(args []string, image string) []string {
	at := slices.Index(args, image) + 1
	return []string{"minidock run " + quoteAll(args[:at]) + ` \`, "  " + quoteAll(args[at:])}
}

func quoteAll(args []string) string {
	var quoted []string
	for _, a := range args {
		quoted = append(quoted, steps.ShellQuote(a))
	}
	return strings.Join(quoted, " ")
}

// demoPatience is how much longer than its load a demo may take: an emulated machine
// needs seconds to start a container.
const demoPatience = 2 * time.Minute
