package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/bench/internal/rounds"
)

func sample() *Result {
	r := &Result{Title: "a machine", Date: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), Machine: Machine{Kernel: "6.12", CPUs: 2}}
	r.Add(&Comparison{
		Title: "Throughput", Unit: "Gbit/s", MoreIsBetter: true, Reference: "by hand", Goal: 0.97, Turn: "One second each.",
		Notes:      []string{"one thing differs", "another, too"},
		Contenders: []*Contender{{Name: "by hand", Samples: []float64{20, 22, 20}}, {Name: "minidock", Samples: []float64{10, 11, 10}}},
	})
	r.Add(&Comparison{
		Title: "Round trip", Unit: "µs", Reference: "by hand", Turn: "Many each.", Pairs: [][2]string{{"by hand", "minidock"}, {"by hand", "nobody"}},
		Contenders: []*Contender{{Name: "by hand", Samples: []float64{50, 55, 150}}, {Name: "minidock", Samples: []float64{25, 27.5, 75}}},
	})
	return r
}

func TestTablesShowRatesAndTimesWithTheBetterAboveOne(t *testing.T) {
	var out bytes.Buffer
	sample().WriteTables(&out)
	for _, want := range []string{
		"### Throughput, on a machine",
		"|          |      median |        best | beside by hand | 95%          | at least 0.97 |",
		"| -------- | ----------: | ----------: | -------------: | ------------ | ------------- |",
		"| by hand  | 20.0 Gbit/s | 22.0 Gbit/s |              1 |              |               |",
		"| minidock | 10.0 Gbit/s | 11.0 Gbit/s |           0.50 | 0.50 to 0.50 | not met       |",
		"One second each. 3 rounds,", "\n\n- by hand beside minidock: 0.50 (0.50 to 0.50)\n\n", "\n- one thing differs\n- another, too\n",
		"|          |  median |    best | beside by hand | 95%          |\n",
		"| minidock | 27.5 µs | 25.0 µs |           2.00 | 2.00 to 2.00 |\n",
		"Linux 6.12 · 2 × ", "· 2026-01-02 03:04 UTC",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestGoalIsMetForCertainOnlyByTheWholeInterval(t *testing.T) {
	c := &Comparison{Goal: 0.97}
	for want, r := range map[string]*rounds.Ratio{
		"met": {Median: 1, Low: 0.97, High: 1.1}, "not met": {Median: 0.9, Low: 0.8, High: 0.96},
		"met by the median only": {Median: 0.98, Low: 0.9, High: 1}, "not met by the median": {Median: 0.96, Low: 0.9, High: 1},
		"": nil,
	} {
		if got := c.verdict(&Contender{Ratio: r}); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}

func TestValuesHaveThreeDigitsOrMore(t *testing.T) {
	c := &Comparison{Unit: "x"}
	for v, want := range map[float64]string{0.123: "0.12 x", 9.876: "9.88 x", 98.76: "98.8 x", 987.6: "988 x", 98765: "98765 x"} {
		if got := c.value(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func TestResultReadsBackAsItWasWritten(t *testing.T) {
	var text, before, after bytes.Buffer
	if err := sample().Write(&text); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "result.json")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := Read[Result](file)
	if err != nil {
		t.Fatal(err)
	}
	read.WriteTables(&after)
	sample().WriteTables(&before)
	if diff := cmp.Diff(before.String(), after.String()); diff != "" {
		t.Error(diff)
	}
	if _, err := Read[Result](file + ".missing"); err == nil {
		t.Error("no error for a file that is not there")
	}
}

func TestMachineIsDescribedWithoutGaps(t *testing.T) {
	m, err := DescribeMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.System == "" || m.Kernel == "" || m.CPU == "" || m.CPUs < 1 || m.MiB == 0 || m.Load == "" || AvailableMiB() < 1 {
		t.Errorf("%+v", m)
	}
}
