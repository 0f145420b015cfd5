package rounds

import (
	"math"
	"slices"
	"testing"

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
		if got := Median(test.values); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestMedianLeavesTheSamplesInTheirOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	Median(values)
	if diff := cmp.Diff([]float64{3, 1, 2}, values); diff != "" {
		t.Error(diff)
	}
}

func TestRatioOfRoundsThatAllAgreeHasNoWidth(t *testing.T) {
	a, b := [][]float64{{20, 20}, {20, 20}}, [][]float64{{10, 10}, {10, 10}}
	if got := Compare(a, b); *got != (Ratio{2, 2, 2}) {
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
	got := Compare(a, b)
	if got.Median != 1.5 || math.Abs(got.Low-1.5) > 0.001 || math.Abs(got.High-1.5) > 0.001 {
		t.Errorf("got %+v, want 1.5 throughout", *got)
	}
}

func TestIntervalContainsTheRatioAndIsTheSameEachTime(t *testing.T) {
	a, b := [][]float64{{10, 14}, {12, 11}, {13, 9}}, [][]float64{{10, 10}, {11, 9}, {10, 12}}
	first := Compare(a, b)
	if first.Low > first.Median || first.High < first.Median || first.Low == first.High {
		t.Errorf("interval %+v does not hold its ratio", *first)
	}
	if second := Compare(a, b); *second != *first {
		t.Errorf("the same samples gave %+v, then %+v", *first, *second)
	}
}

func TestEverybodyHasOneTurnInEveryRoundAndTheFirstChanges(t *testing.T) {
	list := []string{"a", "b", "c"}
	firsts := map[string]bool{}
	for round := range 6 {
		names := Order(list, round)
		firsts[names[0]] = true
		slices.Sort(names)
		if diff := cmp.Diff([]string{"a", "b", "c"}, names); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
	}
	if len(firsts) != 3 {
		t.Errorf("only %v ever came first", firsts)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, list); diff != "" {
		t.Errorf("the list itself was turned: %s", diff)
	}
}
