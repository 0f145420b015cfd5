package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/bench/internal/instance"
	"github.com/minidock/minidock/steps"
)

// forever is a program that stays until it is killed.
var forever = []string{"sleep", "1000000"}

// execInRunning times one more process in a container that runs.
func (s *stage) execInRunning(ctx context.Context, p plan) (*comparison, error) {
	name := idPrefix + "exec"
	enter := func(way ...string) *contender {
		return &contender{Name: filepath.Base(way[0]), Command: slices.Concat(way, []string{name, "true"}), report: slices.Concat(way, []string{name, "sh", "-c", reportScript})}
	}
	list, err := s.everybody(ctx, name, enter, forever)
	if err != nil {
		return nil, err
	}
	return s.comparison(ctx, &comparison{
		Title: "`exec` of `true`", Goal: "no slower than `runc exec`, and a quarter of `docker exec`", Reference: "runc",
		Rounds: p.Rounds, Runs: p.Runs, Notes: s.missing(), Contenders: list,
	})
}

// everybody starts a container of the program with all who can, and makes the
// contenders that do something to it: each is given the words to enter it.
func (s *stage) everybody(ctx context.Context, name string, enter func(...string) *contender, program []string) ([]*contender, error) {
	if err := s.quietly(ctx, slices.Concat([]string{s.Minidock, "run", "--detach", "--network", "none", "--name", name, "busybox"}, program)...); err != nil {
		return nil, err
	}
	list := []*contender{enter(s.Minidock, "exec")}
	if way, works := s.ways["runc"]; works {
		run, err := s.runcRun(way, name, program)
		if err != nil {
			return nil, err
		}
		if err := s.quietly(ctx, run...); err != nil {
			return nil, err
		}
		list = append(list, enter("runc", "--root", filepath.Join(s.state, "runc"), "exec"))
	}
	for _, engine := range s.engines {
		if err := s.quietly(ctx, slices.Concat(engineRun(engine, name), program)...); err != nil {
			return nil, err
		}
		c := enter(engine, "exec")
		c.report = nil // It has mounts of its own.
		list = append(list, c)
	}
	return list, nil
}

// missing says whom a comparison is without.
func (s *stage) missing() (notes []string) {
	if _, works := s.ways["runc"]; !works {
		notes = append(notes, "runc is not installed, or does not work here")
	}
	if len(s.engines) == 0 {
		notes = append(notes, "no engine answers here")
	}
	return notes
}

// quietly runs a command that may leave a process behind.
func (s *stage) quietly(ctx context.Context, args ...string) error {
	return instance.Quietly(ctx, s.Env(), args...)
}

// runcRun is how runc starts a program in the background.
func (s *stage) runcRun(w way, name string, program []string) ([]string, error) {
	bundle, err := s.writeBundle(name, w.time, program...)
	return []string{"runc", "--root", filepath.Join(s.state, "runc"), "run", "--detach", "--bundle", bundle, name}, err
}

func engineRun(engine, name string) []string {
	return []string{engine, "run", "--detach", "--network", "none", "--name", name, imageName}
}

// obedient ends when it is told to: PID 1 ignores what it has no handler for.
var obedient = []string{"sh", "-c", "trap exit TERM; sleep 1000000 & wait"}

// stopObedient times the end of a process that obeys SIGTERM. runc has no such
// verb: its row is a kill, and the wait until nobody holds the container's output
// open any more.
func (s *stage) stopObedient(ctx context.Context, p plan) (*comparison, error) {
	name := idPrefix + "stop"
	if err := s.quietly(ctx, slices.Concat([]string{s.Minidock, "create", "--network", "none", "--name", name, "busybox"}, obedient)...); err != nil {
		return nil, err
	}
	list := []*contender{stopper(s.Minidock, name)}
	if way, works := s.ways["runc"]; works {
		c, err := s.runcStopper(ctx, way, name)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	for _, engine := range s.engines {
		create := slices.Concat([]string{engine, "create", "--network", "none", "--name", name, imageName}, obedient)
		if err := s.quietly(ctx, create...); err != nil {
			return nil, err
		}
		list = append(list, stopper(engine, name))
	}
	notes := append(s.missing(), "runc's row ends with the process; its `delete`, which takes the rest away, is not in it")
	return s.comparison(ctx, &comparison{
		Title: "`stop` of a process that obeys", Reference: "runc", Rounds: p.Rounds, Runs: p.Runs, Notes: notes, Contenders: list,
	})
}

// stopper is a contender with the verbs of Docker.
func stopper(program, name string) *contender {
	word := steps.ShellQuote(program)
	return &contender{
		Name: filepath.Base(program), Command: []string{program, "stop", name},
		prepare: word + " start " + name + " && " + untilObedient("$("+word+" inspect --format '{{.State.Pid}}' "+name+")"),
	}
}

// untilObedient waits until a process has a handler for SIGTERM, which /proc shows
// as bit 14 of a mask (proc(5), SigCgt).
func untilObedient(pid string) string {
	script := `until [ $((0x$(sed -n 's/^SigCgt:.//p' /proc/$1/status) & 0x4000)) != 0 ]; do sleep 0.01; done`
	return "timeout 60 sh -c " + steps.ShellQuote(script) + " sh " + pid
}

func (s *stage) runcStopper(ctx context.Context, w way, name string) (*contender, error) {
	run, err := s.runcRun(w, name, obedient)
	if err != nil {
		return nil, err
	}
	fifo, pid := filepath.Join(s.Dir(), "stopped"), filepath.Join(s.Dir(), "pid")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		return nil, fmt.Errorf("make fifo: %w", err)
	}
	runc := "runc --root " + filepath.Join(s.state, "runc")
	run = slices.Insert(run, 4, "--pid-file", pid)
	return &contender{
		Name: "runc", Version: versionOf(ctx, "runc"),
		Command: []string{"sh", "-c", fmt.Sprintf("exec 3<%s; %s kill %s TERM && cat <&3", fifo, runc, name)},
		// To open it for both does not wait for a reader (fifo(7)).
		prepare: fmt.Sprintf("%s delete --force %s; %s 1<>%s 2>&1 && %s", runc, name, shellLine(run), fifo, untilObedient("$(cat "+pid+")")),
	}, nil
}

// logMiB is how much output a container's log holds, in MiB.
const logMiB = 100

// talk writes it, in lines of 100 bytes.
var talk = []string{"sh", "-c", fmt.Sprintf("yes %s | head -c %d", strings.Repeat("x", 99), logMiB<<20)}

// readLog times `logs` of what a container said, beside a mere copy of the file.
func (s *stage) readLog(ctx context.Context, p plan) (*comparison, error) {
	name := idPrefix + "logs"
	if err := s.quietly(ctx, slices.Concat([]string{s.Minidock, "run", "--detach", "--network", "none", "--name", name, "busybox"}, talk)...); err != nil {
		return nil, err
	}
	list := []*contender{s.logReader(s.Minidock, name)}
	for _, engine := range s.engines {
		if err := s.quietly(ctx, slices.Concat(engineRun(engine, name), talk)...); err != nil {
			return nil, err
		}
		list = append(list, s.logReader(engine, name))
	}
	for _, c := range list {
		if err := s.quietly(ctx, c.Command[0], "wait", name); err != nil {
			return nil, err
		}
	}
	file, err := output(ctx, s.Env(), s.Minidock, "inspect", "--format", "{{.LogPath}}", name)
	if err != nil {
		return nil, err
	}
	list = append(list, &contender{Name: "cat", Command: []string{"cat", strings.TrimSpace(file)}})
	return s.comparison(ctx, &comparison{
		Title: fmt.Sprintf("`logs` of %d MiB", logMiB), Reference: "cat", Rounds: min(p.Rounds, 3), Runs: min(p.Runs, 2), // An engine takes many seconds for one.
		Notes:      []string{"cat copies the file as it is, JSON and all, into a pipe as well"},
		Contenders: list,
	})
}

// logReader is checked by the number of bytes that it gives.
func (s *stage) logReader(program, name string) *contender {
	return &contender{
		Name: filepath.Base(program), Command: []string{program, "logs", name},
		report: []string{"sh", "-c", `"$@" | wc -c`, "sh", program, "logs", name},
	}
}
