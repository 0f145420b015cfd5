package main

import (
	"os"
	"testing"
	"time"

	"github.com/minidock/minidock/bench/internal/program"
	"github.com/minidock/minidock/bench/internal/report"
)

func TestTimesArePutSideBySideInMilliseconds(t *testing.T) {
	own, other := &side{name: "minidock"}, &side{name: "docker"}
	found := map[*side][]times{
		own:   {{seen: 100 * time.Millisecond, first: 200 * time.Millisecond, ready: time.Millisecond}},
		other: {{seen: 400 * time.Millisecond, first: 500 * time.Millisecond, ready: 500 * time.Microsecond}},
	}
	var r report.Result
	for _, c := range comparisons([]*side{own, other}, found, "a note") {
		r.Add(c)
	}
	for i, want := range []struct{ median, ratio float64 }{{100, 4}, {200, 2.5}, {1, 0.5}} {
		c := r.Comparisons[i]
		if c.Reference != "docker" || c.Contenders[0].Median != want.median || c.Contenders[0].Ratio.Median != want.ratio {
			t.Errorf("%s: %+v", c.Title, c.Contenders[0])
		}
		if c.Notes[len(c.Notes)-1] != "a note" {
			t.Errorf("%s: %q", c.Title, c.Notes)
		}
	}
}

func TestWithoutAnEngineMinidockStandsAlone(t *testing.T) {
	own := &side{name: "minidock"}
	all := comparisons([]*side{own}, map[*side][]times{own: {{seen: time.Second}}}, "no engine")
	if all[0].Reference != "minidock" || len(all[0].Contenders) != 1 {
		t.Errorf("%+v", all[0])
	}
}

func TestMomentsAreReadAsTheyArePrinted(t *testing.T) {
	got, err := momentsIn("1700000000000000001 1700000000000000002\n", 2)
	if err != nil || got[1].Sub(got[0]) != 1 || got[0].Unix() != 1700000000 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1", "1 2 3", "one two"} {
		if _, err := momentsIn(bad, 2); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestWrongCommandsAreRefused(t *testing.T) {
	for _, args := range [][]string{nil, {"table"}, {"apart", "-rounds", "0"}, {"table", "/nonexisting"}} {
		if err := program.Run(t.Context(), verbs(), args, os.Stderr); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
