// Package rounds is how all benchmarks measure side by side: everybody has a turn in
// every round, and rounds are compared as a whole.
package rounds

import (
	"math/rand/v2"
	"slices"
)

// Order rotates the list by one each round, and turns every second round around. Whoever
// comes first changes, and so does who follows whom: nobody always finds the machine
// as the same other one left it, and a slow minute meets all.
func Order[T any](list []T, round int) []T {
	at := round % len(list)
	turned := slices.Concat(list[at:], list[:at])
	if round%2 == 1 {
		slices.Reverse(turned)
	}
	return turned
}

// Ratio compares medians. Low and High bound 95% of the ratios that come out when
// whole rounds are drawn again at random, with replacement (Efron's percentile
// bootstrap): rounds and not runs, since runs of one round share its weather.
type Ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// draws is how often rounds are drawn again: enough for an interval whose bounds
// are steady to three digits (Efron and Tibshirani, An Introduction to the
// Bootstrap, 13.3, ask for 1000 or more).
const draws = 4000

// Compare is the ratio of a's median to b's. Both hold the samples of the same
// rounds, one list for each.
func Compare(a, b [][]float64) *Ratio {
	// A fixed seed: the same samples always give the same interval.
	random := rand.New(rand.NewPCG(1, 2))
	ratios := make([]float64, draws)
	for i := range ratios {
		drawnA, drawnB := make([][]float64, len(a)), make([][]float64, len(b))
		for j := range a {
			round := random.IntN(len(a))
			drawnA[j], drawnB[j] = a[round], b[round]
		}
		ratios[i] = Median(Pool(drawnA)) / Median(Pool(drawnB))
	}
	slices.Sort(ratios)
	return &Ratio{
		Median: Median(Pool(a)) / Median(Pool(b)),
		Low:    ratios[draws*25/1000],
		High:   ratios[draws*975/1000-1],
	}
}

// Pool puts the samples of all rounds into one list.
func Pool(rounds [][]float64) []float64 { return slices.Concat(rounds...) }

// Median is the middle value, or the mean of the middle two, of at least one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}
