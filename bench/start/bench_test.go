package main

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedianIsTheMiddleOfTheSortedValues(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		want   float64
	}{
		"one":                {[]float64{7}, 7},
		"odd, unsorted":      {[]float64{9, 1, 5}, 5},
		"even":               {[]float64{4, 1, 3, 2}, 2.5},
		"deaf to an outlier": {[]float64{1, 2, 1000}, 2},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestMedianLeavesTheSamplesInTheirOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	if diff := cmp.Diff([]float64{3, 1, 2}, values); diff != "" {
		t.Error(diff)
	}
}

func TestRatioOfRoundsThatAllAgreeHasNoWidth(t *testing.T) {
	a, b := [][]float64{{20, 20}, {20, 20}}, [][]float64{{10, 10}, {10, 10}}
	if got := compareRounds(a, b); *got != (ratio{2, 2, 2}) {
		t.Errorf("got %+v, want 2 with no interval", *got)
	}
}

// A slow round that hits both alike must not widen the interval: rounds are drawn
// in pairs.
func TestWeatherThatMeetsBothDoesNotWidenTheInterval(t *testing.T) {
	var a, b [][]float64
	for _, weather := range []float64{1, 1, 5, 1, 3, 1, 2, 1} {
		a, b = append(a, []float64{30 * weather, 30 * weather}), append(b, []float64{20 * weather, 20 * weather})
	}
	got := compareRounds(a, b)
	if got.Median != 1.5 || math.Abs(got.Low-1.5) > 0.001 || math.Abs(got.High-1.5) > 0.001 {
		t.Errorf("got %+v, want 1.5 throughout", *got)
	}
}

func TestIntervalContainsTheRatioAndIsTheSameEachTime(t *testing.T) {
	a, b := [][]float64{{10, 14}, {12, 11}, {13, 9}}, [][]float64{{10, 10}, {11, 9}, {10, 12}}
	first := compareRounds(a, b)
	if first.Low > first.Median || first.High < first.Median || first.Low == first.High {
		t.Errorf("interval %+v does not hold its ratio", *first)
	}
	if second := compareRounds(a, b); *second != *first {
		t.Errorf("the same samples gave %+v, then %+v", *first, *second)
	}
}

func TestEveryContenderHasOneTurnInEveryRoundAndTheFirstChanges(t *testing.T) {
	list := []*contender{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	firsts := map[string]bool{}
	for round := range 6 {
		var names []string
		for _, c := range order(list, round) {
			names = append(names, c.Name)
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

func TestTimesComeInMillisecondsAndBadOnesAreRefused(t *testing.T) {
	got, err := parseTimes([]byte(`{"results":[{"command":"x","times":[0.5,0.25]}]}`))
	if diff := cmp.Diff([]float64{500, 250}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{"", "{}", `{"results":[{"times":[]}]}`, `{"results":[{},{}]}`} {
		if _, err := parseTimes([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func sampleResult() result {
	c := &comparison{Title: "Start to exit", Goal: "no slower", Reference: "runc", Rounds: 2, Runs: 2, Notes: []string{"something is missing"}, Contenders: []*contender{
		{Name: "minidock", Version: "minidock 1", Command: []string{"/x/bin/minidock", "run", "busybox"}, Samples: [][]float64{{30, 32}, {31, 33}}},
		{Name: "runc", Version: "runc 1", Command: []string{"runc", "run"}, Samples: [][]float64{{20, 20}, {20, 20}}},
	}}
	summarise(c)
	return result{
		plan: plan{Title: "a machine"}, Date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		Machine: machine{Kernel: "6.12", CPUs: 2}, Comparisons: []*comparison{c},
		Crowd: &crowd{Count: 20, Goal: "as fast", Growth: []*growth{
			grown("minidock", "minidock 1", []string{"/x/bin/minidock", "run", "-d"}, []float64{10, 10, 10, 10, 10, 10, 10, 10, 10, 90, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15}),
		}},
	}
}

func TestTableNamesEverybodyWithRatioAndNotes(t *testing.T) {
	var out bytes.Buffer
	writeTables(&out, sampleResult())
	for _, want := range []string{
		"on a machine", "| minidock | 31.5 ms | 30.0 ms |       1.57 | 1.55 to 1.60 |", "| runc     | 20.0 ms | 20.0 ms |          1 |              |",
		"Goal: no slower.", "| minidock |   10.0 ms |  15.0 ms |          1.50 |", "- minidock 1: `minidock run -d`",
		"Linux 6.12", "2026-01-02 03:04 UTC", "- minidock 1: `minidock run busybox`", "- something is missing",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestResultReadsBackAsItWasWritten(t *testing.T) {
	text, err := json.Marshal(sampleResult())
	if err != nil {
		t.Fatal(err)
	}
	var again result
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	var before, after bytes.Buffer
	writeTables(&before, sampleResult())
	writeTables(&after, again)
	if diff := cmp.Diff(before.String(), after.String()); diff != "" {
		t.Error(diff)
	}
}

func TestCommandsReachHyperfineAsOneLineThatItTakesApart(t *testing.T) {
	if got, want := shellLine([]string{"sh", "-c", "a && b"}), "sh -c 'a && b'"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCrowdIsNoLargerThanMemoryAllows(t *testing.T) {
	for name, test := range map[string]struct{ wanted, available, want int }{
		"plenty":        {500, 24000, 500},
		"less":          {500, 3024, 250},
		"not even ten":  {500, 1100, 0},
		"none is asked": {0, 24000, 0},
	} {
		if got := affordable(test.wanted, test.available); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestCommandsAreShownWithoutTheDirectoriesOfTheRun(t *testing.T) {
	got := withoutPlaces([]string{"/x/bin/minidock", "sh", "exec 3</var/tmp/minidock-bench-12/stopped; runc --root /run/minidock-bench-3/runc kill minidock-bench-stop"})
	want := []string{"minidock", "sh", "exec 3<stopped; runc --root runc kill minidock-bench-stop"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
