package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// plan says how much is measured.
type plan struct {
	Title     string `json:"title"`
	Rounds    int    `json:"rounds"`
	Runs      int    `json:"runs"`
	minidock  string
	baseImage string
}

// result is one machine's measurement, as it is kept under bench/results.
type result struct {
	plan
	Date    time.Time `json:"date"`
	Machine machine   `json:"machine"`
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
	if r.Machine, err = describeMachine(); err != nil {
		return r, err
	}
	s, err := newStage(ctx, p)
	defer func() { err = errors.Join(err, s.clear()) }()
	if err != nil {
		return r, err
	}
	if r.Contenders, r.Notes, err = s.line(ctx, r.Machine.Cgroups); err != nil {
		return r, err
	}
	if err := timeAll(ctx, s.dir, p, r.Contenders); err != nil {
		return r, err
	}
	summarise(r.Contenders)
	return r, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
