package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/bench/internal/report"
)

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
	c := &comparison{Title: "Start to exit", Goal: "no slower", Reference: "runc", Beside: "runc", Rounds: 2, Runs: 2, Notes: []string{"something is missing"}, Contenders: []*contender{
		{Name: "minidock", Version: "minidock 1", Command: []string{"/x/bin/minidock", "run", "busybox"}, Samples: [][]float64{{30, 32}, {31, 33}}},
		{Name: "runc", Version: "runc 1", Command: []string{"runc", "run"}, Samples: [][]float64{{20, 20}, {20, 20}}},
	}}
	summarise(c)
	return result{
		plan: plan{Title: "a machine"}, Date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		Machine: report.Machine{Kernel: "6.12", CPUs: 2}, Comparisons: []*comparison{c},
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
		"Goal: no slower.", "- minidock takes 1.57 of runc's time (1.55 to 1.60)\n", "| minidock |   10.0 ms |  15.0 ms |          1.50 |", "- minidock 1: `minidock run -d`",
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
