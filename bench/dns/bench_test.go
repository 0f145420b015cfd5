package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEveryServerHasOneTurnInEveryRoundAndTheFirstChanges(t *testing.T) {
	list := []*server{{name: "a"}, {name: "b"}, {name: "c"}}
	firsts := map[string]bool{}
	for round := range 6 {
		var names []string
		for _, s := range order(list, round) {
			names = append(names, s.name)
		}
		firsts[names[0]] = true
		slices.Sort(names)
		if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
	}
	if len(firsts) != 3 {
		t.Errorf("only %v ever came first", firsts)
	}
}

func TestTableComparesRoundByRound(t *testing.T) {
	var out bytes.Buffer
	writeTable(&out, plan{rounds: 3, askers: 2, names: 9, time: time.Second}, []*server{
		{name: "other", version: "1.0", perSecond: []float64{100, 10, 50}, slowest: []time.Duration{2e6, 8e6, 4e6}, answered: 1000, cpu: time.Second},
		{name: "minidock", version: "here", perSecond: []float64{150, 15, 50}, slowest: []time.Duration{1e6, 4e6, 2e6}, answered: 2000, cpu: time.Second},
	})
	for _, want := range []string{
		"9 names, 2 at a time", "| other | 50 | 1.00 | 1.00 to 1.00 | 4000 µs | 1.00 | 1000.0 µs |",
		"| minidock | 50 | 1.50 | 1.00 to 1.50 | 2000 µs | 0.50 | 500.0 µs |", "3 rounds of 1s each", "- other: 1.0", "- minidock: here",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
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
