package main

import (
	"math/rand/v2"
	"slices"
)

// ratio compares medians. Low and High bound 95% of the ratios that come out when
// whole rounds are drawn again at random, with replacement (Efron's percentile
// bootstrap): rounds and not runs, since runs of one round share its weather.
type ratio struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// summarise fills in what is derived from the samples.
func summarise(p *comparison) {
	var base *contender
	for _, c := range p.Contenders {
		if c.Name == p.Reference {
			base = c
		}
	}
	for _, c := range p.Contenders {
		c.Median, c.Min = median(pool(c.Samples)), slices.Min(pool(c.Samples))
		if base != nil {
			c.Ratio = compareRounds(c.Samples, base.Samples)
		}
	}
}

// draws is how often rounds are drawn again: enough for an interval whose bounds
// are steady to three digits (Efron and Tibshirani, An Introduction to the
// Bootstrap, 13.3, ask for 1000 or more).
const draws = 4000

// compareRounds is the ratio of a's median to b's, of the same rounds.
func compareRounds(a, b [][]float64) *ratio {
	// A fixed seed: the same samples always give the same interval.
	random := rand.New(rand.NewPCG(1, 2))
	ratios := make([]float64, draws)
	for i := range ratios {
		drawnA, drawnB := make([][]float64, len(a)), make([][]float64, len(b))
		for j := range a {
			round := random.IntN(len(a))
			drawnA[j], drawnB[j] = a[round], b[round]
		}
		ratios[i] = median(pool(drawnA)) / median(pool(drawnB))
	}
	slices.Sort(ratios)
	return &ratio{
		Median: median(pool(a)) / median(pool(b)),
		Low:    ratios[draws*25/1000],
		High:   ratios[draws*975/1000-1],
	}
}

func pool(rounds [][]float64) []float64 { return slices.Concat(rounds...) }

// median is the middle value, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}
