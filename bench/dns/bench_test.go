package main

import (
	"os"
	"testing"
	"time"

	"github.com/minidock/minidock/bench/internal/program"
	"github.com/minidock/minidock/bench/internal/report"
)

func TestServersAreComparedInRateAndSlownessAndCPU(t *testing.T) {
	var r report.Result
	for _, c := range comparisons(plan{rounds: 3, askers: 2, names: 9, time: time.Second}, []*server{
		{name: "other", version: "1.0", perSecond: []float64{100, 10, 50}, slowest: []float64{2000, 8000, 4000}, paced: []float64{300, 300, 300}, cpu: []float64{10, 10, 10}},
		{name: "minidock", version: "here", perSecond: []float64{150, 15, 75}, slowest: []float64{1000, 4000, 2000}, paced: []float64{200, 200, 200}, cpu: []float64{20, 20, 20}},
	}) {
		r.Add(c)
	}
	if len(r.Comparisons) != 4 {
		t.Fatalf("%d comparisons", len(r.Comparisons))
	}
	for i, want := range []float64{1.5, 2, 1.5, 0.5} {
		c := r.Comparisons[i]
		own := c.Contenders[1]
		if own.Name != "minidock" || c.Reference != "other" || own.Ratio.Median != want || own.Ratio.Low != want || own.Ratio.High != want {
			t.Errorf("%s: %+v, want %v", c.Title, own.Ratio, want)
		}
		if len(c.Notes) != 2 || c.Notes[0] != "other: 1.0" {
			t.Errorf("%s: %q", c.Title, c.Notes)
		}
	}
}

func TestWrongPlansAreRefused(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"table"},
		{"serve"},
		{"apart", "-rounds", "0"},
		{"apart", "-names", "254"},
		{"apart", "-askers", "0"},
		{"apart", "-pace", "0"},
	} {
		if err := program.Run(t.Context(), verbs(), args, os.Stderr); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestCPUTimeIsReadWhateverTheNameOfTheProcess(t *testing.T) {
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := cpuTime(0); err == nil {
		t.Error("no error for a process that can't be")
	}
}
