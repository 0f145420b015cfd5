package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minidock/minidock/bench/internal/instance"
)

// The names of what a side makes.
const (
	imageName   = "localhost/minidock-bench-peer"
	networkName = "minidock-bench-lookup"
	watcher     = "minidock-bench-watcher" // runs all the time
	late        = "minidock-bench-late"    // comes and goes
)

// side is one who starts containers, with the verbs of Docker.
type side struct {
	name, program string
	env           []string
}

func (s *side) do(ctx context.Context, args ...string) error {
	return instance.Quietly(ctx, s.env, slices.Concat([]string{s.program}, args)...)
}

// set makes the network, and starts the container that runs all the time. It has no way
// out, so that nobody is asked for names that are not there yet.
func (s *side) set(ctx context.Context) error {
	if err := s.do(ctx, "network", "create", "--internal", networkName); err != nil {
		return err
	}
	return s.startIdle(ctx, watcher)
}

func (s *side) startIdle(ctx context.Context, name string) error {
	return s.do(ctx, "run", "--detach", "--network", networkName, "--name", name, imageName, "/peer", "idle")
}

// times are those of one turn.
type times struct {
	// seen is from the command `run` to the first answer to the container that watches.
	seen time.Duration
	// first is from the command `run` to the new container's own first answer, and ready
	// that part of it in which its program ran.
	first, ready time.Duration
}

// turn starts a container twice: one to be found, and one that finds.
func (s *side) turn(ctx context.Context) (t times, err error) {
	if t.seen, err = s.beSeen(ctx); err != nil {
		return t, err
	}
	if err := s.do(ctx, "rm", "--force", late); err != nil {
		return t, err
	}
	t.first, t.ready, err = s.see(ctx)
	return t, err
}

// beSeen starts a container whose name another one asks for.
func (s *side) beSeen(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, s.program, "exec", watcher, "/peer", "await", late)
	cmd.Env, cmd.Stderr = s.env, os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("watch: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("watch: %w", err)
	}
	took, err := s.startSeen(ctx, bufio.NewReader(pipe))
	return took, errors.Join(err, cmd.Wait())
}

func (s *side) startSeen(ctx context.Context, watched *bufio.Reader) (time.Duration, error) {
	if _, err := watched.ReadString('\n'); err != nil {
		return 0, fmt.Errorf("watch: %w", err)
	}
	begun := time.Now()
	if err := s.startIdle(ctx, late); err != nil {
		return 0, err
	}
	line, err := watched.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("watch: %w", err)
	}
	moments, err := momentsIn(line, 1)
	if err != nil {
		return 0, err
	}
	if !moments[0].After(begun) {
		return 0, errors.New("watch: the name was there before its container")
	}
	return moments[0].Sub(begun), nil
}

// see starts a container that looks another one up.
func (s *side) see(ctx context.Context) (first, ready time.Duration, err error) {
	begun := time.Now()
	out, err := instance.Output(ctx, s.env, s.program, "run", "--rm", "--network", networkName, imageName, "/peer", "resolve", watcher)
	if err != nil {
		return 0, 0, err
	}
	moments, err := momentsIn(out, 2)
	if err != nil {
		return 0, 0, err
	}
	return moments[1].Sub(begun), moments[1].Sub(moments[0]), nil
}

// momentsIn reads what bench/peer prints.
func momentsIn(text string, count int) ([]time.Time, error) {
	words := strings.Fields(text)
	if len(words) != count {
		return nil, fmt.Errorf("read times: %d are wanted, got %q", count, text)
	}
	moments := make([]time.Time, count)
	for i, w := range words {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read times: %w", err)
		}
		moments[i] = time.Unix(0, n)
	}
	return moments, nil
}
