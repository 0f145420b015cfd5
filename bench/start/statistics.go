package main

import (
	"slices"

	"github.com/minidock/minidock/bench/internal/rounds"
)

// summarise fills in what is derived from the samples.
func summarise(p *comparison) {
	var base *contender
	for _, c := range p.Contenders {
		if c.Name == p.Reference {
			base = c
		}
	}
	for _, c := range p.Contenders {
		all := rounds.Pool(c.Samples)
		c.Median, c.Min = rounds.Median(all), slices.Min(all)
		if base != nil {
			c.Ratio = rounds.Compare(c.Samples, base.Samples)
		}
	}
}
