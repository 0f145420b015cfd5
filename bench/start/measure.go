package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/minidock/minidock/bench/internal/report"
)

// plan says how much is measured.
type plan struct {
	Title  string `json:"title"`
	Rounds int    `json:"-"`
	Runs   int    `json:"-"`
	// Crowd is how many containers are to run at once.
	Crowd int `json:"-"`
	// starts leaves out what comes after them.
	starts    bool
	minidock  string
	baseImage string
}

// result is one machine's measurement, as it is kept under bench/results.
type result struct {
	plan
	Date        time.Time      `json:"date"`
	Machine     report.Machine `json:"machine"`
	Comparisons []*comparison  `json:"comparisons"`
	Crowd       *crowd         `json:"crowd,omitempty"`
}

// comparison is one thing, done side by side by several.
type comparison struct {
	// Title says what was done.
	Title string `json:"title"`
	// Goal is what was asked of minidock.
	Goal string `json:"goal,omitempty"`
	// Reference names the contender with whom the others are compared.
	Reference string `json:"reference"`
	// Beside names another one of whose time the table tells the part.
	Beside string `json:"beside,omitempty"`
	Rounds int    `json:"rounds"`
	Runs   int    `json:"runs"`
	// Notes say what was left out or done otherwise than described.
	Notes      []string     `json:"notes,omitempty"`
	Contenders []*contender `json:"contenders"`
}

// measure sets up, checks that the contenders do the same, times them, and takes
// everything back.
func measure(ctx context.Context, p plan) (r result, err error) {
	if os.Geteuid() != 0 {
		return r, errors.New("time containers: needs root")
	}
	r = result{plan: p, Date: time.Now().UTC().Truncate(time.Second)}
	if r.Machine, err = report.DescribeMachine(); err != nil {
		return r, err
	}
	s, err := newStage(ctx, p, r.Machine.Cgroups)
	defer func() { err = errors.Join(err, s.clear()) }()
	if err != nil {
		return r, err
	}
	all := []func(context.Context, plan) (*comparison, error){s.startToExit, s.startWithNetwork, s.execInRunning, s.stopObedient, s.readLog}
	if p.starts {
		all, p.Crowd = all[:2], 0
	}
	for _, prepare := range all {
		c, err := prepare(ctx, p)
		if err != nil {
			return r, err
		}
		if err := timeAll(ctx, s.Dir(), c); err != nil {
			return r, err
		}
		summarise(c)
		r.Comparisons = append(r.Comparisons, c)
	}
	r.Crowd, err = s.gather(ctx, p.Crowd)
	return r, err
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
