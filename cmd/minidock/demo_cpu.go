package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
)

// The period of cpu.max, which --cpus does not change (cgroup-v2.rst).
const cpuPeriod = 100 * time.Millisecond

func cpuScenes(s demoSettings) []scene {
	return []scene{{
		heading: "CPU: a limit does not make a container slow, it makes it stand still",
		why: "The shell in this container does nothing but loop: alone it would take 100% of a CPU. " +
			"--cpus 0.2 lets it run for 20 ms in each period of 100 ms. Once they are used up, the kernel stops " +
			"everything in the container until the next period begins: it is throttled.",
		image: s.image,
		args:  []string{"--cpus", "0.2", "--name", "demo-cpu", s.image, "sh", "-c", "while :; do :; done & sleep " + strconv.Itoa(s.seconds)},
		watch: runtime.Watch{Every: cpuPeriod, Period: cpuPeriod},
		lasts: time.Duration(s.seconds) * time.Second,
		chart: cpuChart, judge: judgeCPU, files: "cpu.max cpu.stat",
	}}
}

func cpuChart(s seen) chart {
	c := chart{label: "period", left: "0 ms", right: "100 ms", notes: []string{"ran", "stopped"}}
	for i := 1; i < len(s.samples); i++ {
		if b, ok := cpuBar(s.samples[i-1], s.samples[i]); ok {
			c.bars = append(c.bars, b)
		}
	}
	f := cpuFiguresOf(s)
	c.legend = line{
		{busy, "  █"},
		{normal, " running   "},
		{held, "░"},
		{normal, " stopped by the kernel"},
		{strong, fmt.Sprintf("      %s of a CPU", percent(f.Share))},
		{normal, ", limit " + percent(f.Limit)},
	}
	return c
}

// cpuBar is what happened between two samples, for one period; of several it is
// the mean. The kernel adds a wait to its count when the wait is over, so what is
// shown as stopped is the wait that ended in the period.
func cpuBar(from, to runtime.Sample) (bar, bool) {
	n := to.NrPeriods - from.NrPeriods
	if n == 0 {
		return bar{}, false
	}
	label := fmt.Sprint(to.NrPeriods)
	if n > 1 {
		label = fmt.Sprintf("%d-%d", from.NrPeriods+1, to.NrPeriods)
	}
	ran, stopped := perPeriod(to.UsageUsec-from.UsageUsec, n), perPeriod(to.ThrottledUsec-from.ThrottledUsec, n)
	return bar{
		label: label,
		parts: []part{{shareOf(ran, cpuPeriod), fullCell, busy}, {shareOf(stopped, cpuPeriod), lightCell, held}},
		notes: []string{millis(ran), millis(stopped)},
	}, true
}

func perPeriod(usec, periods uint64) time.Duration {
	return time.Duration(usec) * time.Microsecond / time.Duration(periods)
}

func shareOf(d, whole time.Duration) float64 { return float64(d) / float64(whole) }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) + "%" }

// cpuFigures are what was measured between two samples, both taken just before
// the end of a period, against the monotonic clock.
type cpuFigures struct {
	// Limit and Share are parts of one CPU.
	Limit         float64 `json:"limit"`
	Share         float64 `json:"share"`
	Seconds       float64 `json:"seconds"`
	UsageUsec     uint64  `json:"usage_usec"`
	NrPeriods     uint64  `json:"nr_periods"`
	NrThrottled   uint64  `json:"nr_throttled"`
	ThrottledUsec uint64  `json:"throttled_usec"`
}

func cpuFiguresOf(s seen) cpuFigures {
	f := cpuFigures{Limit: float64(s.limits.NanoCPUs) / 1e9}
	from, to, ok := s.window()
	if !ok {
		return f
	}
	f.Seconds, f.UsageUsec = to.At.Sub(from.At).Seconds(), to.UsageUsec-from.UsageUsec
	f.Share = float64(f.UsageUsec) / 1e6 / f.Seconds
	f.NrPeriods, f.NrThrottled = to.NrPeriods-from.NrPeriods, to.NrThrottled-from.NrThrottled
	f.ThrottledUsec = to.ThrottledUsec - from.ThrottledUsec
	return f
}

// window returns the first and the last sample that were taken in time; on a
// machine so busy that there are no such two, the first and the last of all.
func (s seen) window() (from, to runtime.Sample, ok bool) {
	inTime := slices.DeleteFunc(slices.Clone(s.samples), func(one runtime.Sample) bool { return one.Late })
	if len(inTime) < 2 {
		inTime = s.samples
	}
	if len(inTime) < 2 {
		return from, to, false
	}
	return inTime[0], inTime[len(inTime)-1], true
}

func judgeCPU(s seen) judgement {
	f, c := cpuFiguresOf(s), *s.exit.Cgroup
	j := judgement{figures: f, counters: cpuCounters(c), shown: c.NrThrottled > 0 && f.Seconds > 0}
	switch {
	case f.Seconds == 0:
		j.verdict = "It ended before it could be measured."
	case c.NrThrottled == 0:
		j.verdict = fmt.Sprintf("It got %s of a CPU and was never stopped: it asked for less than its limit.", percent(f.Share))
	default:
		j.verdict = fmt.Sprintf("It asked for 100%% of a CPU and got %s: in %d of %d periods the kernel stopped it, for %s in all.",
			percent(f.Share), c.NrThrottled, c.NrPeriods, seconds(c.ThrottledUsec))
	}
	return j
}

func cpuCounters(c cgroups.Counters) []counter {
	return []counter{
		{"cpu.stat nr_periods", c.NrPeriods, "periods in which it had something to run"},
		{"cpu.stat nr_throttled", c.NrThrottled, "of these, how many saw its time used up"},
		{"cpu.stat throttled_usec", c.ThrottledUsec, "how long it then stood still: " + seconds(c.ThrottledUsec)},
	}
}

func seconds(usec uint64) string { return fmt.Sprintf("%.1f s", float64(usec)/1e6) }
