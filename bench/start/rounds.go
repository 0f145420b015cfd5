package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/bench/internal/rounds"
	"github.com/minidock/minidock/steps"
)

// timeAll gives every contender its turn in every round.
func timeAll(ctx context.Context, dir string, p *comparison) error {
	for round := range p.Rounds {
		say("%s: round %d of %d", p.Title, round+1, p.Rounds)
		for _, c := range rounds.Order(p.Contenders, round) {
			times, err := hyperfine(ctx, filepath.Join(dir, "times.json"), p.Runs, c)
			if err != nil {
				return err
			}
			c.Samples = append(c.Samples, times)
		}
	}
	return nil
}

// hyperfine times some runs in a row after one that doesn't count, without a
// shell, and returns milliseconds. Output goes into a pipe that it empties.
func hyperfine(ctx context.Context, file string, runs int, c *contender) ([]float64, error) {
	args := slices.Concat(c.around, []string{
		"hyperfine", "-N", "--style", "none", "--output", "pipe", "--warmup", "1",
		"--runs", strconv.Itoa(runs), "--export-json", file,
	})
	if c.prepare != "" {
		args = append(args, "--prepare", "sh -c "+steps.ShellQuote(c.prepare))
	}
	args = append(args, shellLine(c.Command))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = c.env
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("time %s: %w: %s", c.Name, err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read hyperfine's result: %w", err)
	}
	return parseTimes(text)
}

// shellLine writes a command as hyperfine takes it apart.
func shellLine(command []string) string {
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = steps.ShellQuote(w)
	}
	return strings.Join(words, " ")
}

func parseTimes(text []byte) ([]float64, error) {
	var exported struct {
		Results []struct{ Times []float64 }
	}
	if err := json.Unmarshal(text, &exported); err != nil {
		return nil, fmt.Errorf("read hyperfine's result: %w", err)
	}
	if len(exported.Results) != 1 || len(exported.Results[0].Times) == 0 {
		return nil, fmt.Errorf("read hyperfine's result: no times in it")
	}
	times := exported.Results[0].Times
	for i := range times {
		times[i] *= 1000
	}
	return times, nil
}
