package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// demoAct is a part of a demo: commands that are run as they are shown, and a look at
// what they have done.
type demoAct struct {
	heading, why string
	// commands are what follows the word minidock.
	commands [][]string
	// look shows something, and judges it.
	look func(context.Context, *stage) (verdict string, shown bool, err error)
}

// playedAct is an act that was played, as --format json gives it.
type playedAct struct {
	Heading  string   `json:"heading"`
	Commands []string `json:"commands"`
	Verdict  string   `json:"verdict"`
	Shown    bool     `json:"shown"`
}

// stage is where acts are played: it remembers what is to be taken away again.
type stage struct {
	*player
	containers, networks []string
	// typed are the commands of the present act.
	typed []string
}

// playActs plays all acts, and takes away what they made, however they end.
func (p *player) playActs(ctx context.Context, done played, acts []demoAct, settings demoSettings) (played, error) {
	surviveClosedOutput()
	s := &stage{player: p}
	if err := s.check(acts, settings); err != nil {
		return done, err
	}
	err := s.playInOrder(ctx, acts, &done)
	if errors.Is(err, interrupted) {
		p.screen.show(nil, text(faint, "Interrupted. The containers and networks are removed."))
	}
	return done, errors.Join(err, s.clear())
}

func (s *stage) playInOrder(ctx context.Context, acts []demoAct, done *played) error {
	for i, a := range acts {
		if i > 0 {
			s.screen.show(nil)
		}
		one, err := s.playAct(ctx, a)
		if err != nil {
			return err
		}
		done.Acts = append(done.Acts, one)
	}
	return nil
}

func (s *stage) playAct(ctx context.Context, a demoAct) (one playedAct, err error) {
	one = playedAct{Heading: a.heading}
	s.typed = []string{}
	s.prose(strong, a.heading)
	s.screen.show(nil)
	s.prose(normal, a.why)
	s.screen.show(nil)
	for _, args := range a.commands {
		if err := s.do(ctx, args...); err != nil {
			return one, err
		}
	}
	if len(a.commands) > 0 {
		s.screen.show(nil)
	}
	one.Verdict, one.Shown, err = a.look(ctx, s)
	one.Commands = s.typed
	if err == nil {
		err = s.ended(ctx)
	}
	if err == nil {
		s.prose(strong, one.Verdict)
	}
	return one, err
}

// ended is why no more is to be done.
func (s *stage) ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if s.screen.err != nil {
		return fmt.Errorf("draw the demo: %w", s.screen.err)
	}
	return nil
}

// do shows a command and runs it, as if it were typed.
func (s *stage) do(ctx context.Context, args ...string) error {
	if err := s.ended(ctx); err != nil {
		return err
	}
	s.show(args...)
	s.remember(args)
	return s.run(args...)
}

// show shows a command.
func (s *stage) show(args ...string) {
	command := "minidock " + quoteAll(args)
	s.typed = append(s.typed, command)
	for _, l := range wrapCommand(command, proseWidth-2) {
		s.screen.show(text(busy, "  %s", l))
	}
}

// wrapCommand breaks a command between words, as a shell lets one do.
func wrapCommand(command string, width int) []string {
	lines := wrapText(command, width-4)
	for i := range lines {
		if i > 0 {
			lines[i] = "  " + lines[i]
		}
		if i < len(lines)-1 {
			lines[i] += ` \`
		}
	}
	return lines
}

// remember notes what a command makes, before it does.
func (s *stage) remember(args []string) {
	switch {
	case args[0] == "run":
		for i, a := range args {
			if a == "--name" {
				s.containers = append(s.containers, args[i+1])
			}
		}
	case args[0] == "network" && args[1] == "create":
		s.networks = append(s.networks, args[len(args)-1])
	}
}

// run runs this program with other arguments. In a process group of its own it is
// not interrupted half-way by the keyboard.
func (s *stage) run(args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, append([]string{"--root", s.layout.Root}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if said, err := cmd.CombinedOutput(); err != nil {
		return &steps.Fault{
			Msg:  fmt.Sprintf("minidock %s: %s", quoteAll(args), strings.TrimSpace(strings.TrimPrefix(string(said), "minidock: "))),
			Hint: "Check the host with `minidock doctor`.", Err: err,
		}
	}
	return nil
}

// clear removes what the acts made.
func (s *stage) clear() error {
	var errs []error
	for _, name := range s.containers {
		if _, err := runtime.Find(s.layout, name); err == nil {
			errs = append(errs, s.run("rm", "-f", name))
		}
	}
	for _, name := range s.networks {
		errs = append(errs, s.run("network", "rm", "-f", name))
	}
	return errors.Join(errs...)
}

// check refuses before anything is said what can't be played.
func (s *stage) check(acts []demoAct, settings demoSettings) error {
	if _, err := images.Open(s.layout.Root).Resolve(settings.image); err != nil {
		if errors.Is(err, images.ErrNoImage) && settings.image == baseImage {
			return missingBaseImage(err)
		}
		return err
	}
	all := &stage{}
	for _, a := range acts {
		for _, args := range a.commands {
			all.remember(args)
		}
	}
	for _, name := range all.containers {
		if _, err := runtime.Find(s.layout, name); err == nil {
			return thereAlready("container", name, "minidock rm -f "+name)
		}
	}
	for _, name := range all.networks {
		if _, err := s.layout.Networks().Find(name); err == nil {
			return thereAlready("network", name, "minidock network rm "+name)
		}
	}
	return nil
}

func thereAlready(what, name, remove string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("there is a %s %s already", what, name),
		Hint: "If it is not another demo under way, remove it: " + remove,
	}
}

func missingBaseImage(err error) error {
	return &steps.Fault{
		Msg:  err.Error(),
		Hint: "Make it from this machine's busybox: `make demo` does, or sudo scripts/base-image.", Err: err,
	}
}
