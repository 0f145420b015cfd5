package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/minidock/minidock/bench/internal/report"
	"github.com/minidock/minidock/bench/internal/rounds"
)

// crowd is how a start slows down the more containers run already.
type crowd struct {
	Count  int       `json:"count"`
	Goal   string    `json:"goal"`
	Notes  []string  `json:"notes,omitempty"`
	Growth []*growth `json:"growth"`
}

// growth is one runtime's part of it.
type growth struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Command []string `json:"command"`
	// Starts holds wall-clock milliseconds, in order.
	Starts []float64 `json:"starts_ms"`
	// First and Last are medians of the first and of the last ten.
	First float64 `json:"first_ms"`
	Last  float64 `json:"last_ms"`
	Ratio float64 `json:"ratio"`
}

// few is how many starts in a row stand for the first and for the last: one alone
// would be a matter of luck.
const few = 10

// grown sums up at least few starts.
func grown(name, version string, command []string, starts []float64) *growth {
	first, last := rounds.Median(starts[:few]), rounds.Median(starts[len(starts)-few:])
	return &growth{name, version, command, starts, first, last, last / first}
}

// A container that sleeps takes some 5 MiB, nearly all of it its monitor's, and
// the kernel's part; the machine keeps the reserve.
const (
	containerMiB = 8
	reserveMiB   = 1024
)

// affordable is how many containers there is memory for, if it is enough to tell
// the first from the last.
func affordable(wanted, availableMiB int) int {
	count := min(wanted, (availableMiB-reserveMiB)/containerMiB)
	if count < 2*few {
		return 0
	}
	return count
}

// gather starts containers that stay, one after the other, and takes all away
// again: runc's, then minidock's, whose clearing takes everybody's files.
func (s *stage) gather(ctx context.Context, wanted int) (*crowd, error) {
	count := affordable(wanted, report.AvailableMiB())
	if count == 0 {
		return nil, nil
	}
	c := &crowd{Count: count, Goal: "the last start in at most 1.3 times the first's time"}
	if count < wanted {
		c.Notes = append(c.Notes, fmt.Sprintf("there is no memory for %d", wanted))
	}
	if way, works := s.ways["runc"]; works {
		g, err := s.grow(ctx, count, func(id string) ([]string, error) { return s.runcRun(way, id, forever) })
		if err = errors.Join(err, s.clearRuntime("runc")); err != nil {
			return nil, err
		}
		c.Growth = append(c.Growth, g)
	}
	g, err := s.grow(ctx, count, func(string) ([]string, error) {
		return slices.Concat([]string{s.Minidock, "run", "--detach", "--network", "none", "busybox"}, forever), nil
	})
	c.Growth = slices.Insert(c.Growth, 0, g)
	return c, errors.Join(err, s.Empty())
}

// grow times count starts.
func (s *stage) grow(ctx context.Context, count int, start func(id string) ([]string, error)) (*growth, error) {
	var starts []float64
	var command []string
	for i := range count {
		var err error
		if command, err = start(idPrefix + strconv.Itoa(i)); err != nil {
			return nil, err
		}
		if i%100 == 0 {
			say("%d containers of %s", i, filepath.Base(command[0]))
		}
		begun := time.Now()
		if err := s.quietly(ctx, command...); err != nil {
			return nil, err
		}
		starts = append(starts, float64(time.Since(begun))/float64(time.Millisecond))
	}
	return grown(filepath.Base(command[0]), versionOf(ctx, command[0]), command, starts), nil
}
