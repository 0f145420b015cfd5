package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// writeTable compares all with the first, round by round.
func writeTable(w io.Writer, p plan, servers []*server) {
	fmt.Fprintf(w, "### DNS questions for %d names, %d at a time\n\n", p.names, p.askers)
	fmt.Fprintf(w, "| | per second | times %s | in all rounds | p99 | times %s | CPU per answer |\n|-|-:|-:|-|-:|-:|-:|\n", servers[0].name, servers[0].name)
	for _, s := range servers {
		rate, slow := ratios(s.perSecond, servers[0].perSecond), ratios(inMicroseconds(s.slowest), inMicroseconds(servers[0].slowest))
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.2f to %.2f | %.0f µs | %.2f | %.1f µs |\n",
			s.name, median(s.perSecond), median(rate), slices.Min(rate), slices.Max(rate),
			median(inMicroseconds(s.slowest)), median(slow), s.cpu.Seconds()*1e6/float64(s.answered))
	}
	fmt.Fprintf(w, "\n%d rounds of %v each, in changing order; medians of the rounds. Goal: no fewer per second and no greater p99 than %s.\n", p.rounds, p.time, servers[0].name)
	for _, s := range servers {
		fmt.Fprintf(w, "\n- %s: %s", s.name, s.version)
	}
	fmt.Fprintln(w)
}

func inMicroseconds(times []time.Duration) []float64 {
	list := make([]float64, len(times))
	for i, t := range times {
		list[i] = float64(t) / float64(time.Microsecond)
	}
	return list
}

// ratios divides round by round: both had the same weather.
func ratios(a, b []float64) []float64 {
	list := make([]float64, len(a))
	for i := range a {
		list[i] = a[i] / b[i]
	}
	return list
}

// median is the middle value, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}
