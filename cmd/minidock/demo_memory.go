package main

import (
	"fmt"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
)

func memoryScenes(s demoSettings) []scene {
	limits := func(name string) []string {
		return []string{"-m", "32m", "--memory-swap", "32m", "--name", name, s.image, "sh", "-c"}
	}
	watch := runtime.Watch{Every: 250 * time.Millisecond}
	return []scene{{
		heading: "Memory: a container that outgrows its limit is not slowed down, it is killed",
		why: "The shell in this container remembers another MiB five times a second, and may have 32 MiB, with no swap to " +
			"turn to. At the limit the kernel takes back what it can (reclaim). When nothing is left to take, its OOM killer " +
			"ends the largest process: here that is PID 1, and the container ends with it.",
		image: s.image, args: append(limits("demo-memory"),
			`mb=$(head -c 1048576 /dev/zero | tr "\0" x)
     while :; do n=$((n+1)); eval "keep$n=\$mb"; sleep 0.2; done`),
		watch: watch, lasts: 8 * time.Second,
		chart: memoryChart, judge: judgeMemory, files: "memory.max memory.current memory.peak memory.events",
	}, {
		heading: "Memory, second act: a child is killed, and PID 1 lives on",
		why: "The same limit, but now a child takes the memory: tail waits for the end of a line that never comes, and keeps " +
			"all of it. The kernel kills that process, not the container. PID 1 sees a child end, goes on, " +
			"and decides alone how the container ends.",
		image: s.image, args: append(limits("demo-memory-child"), `tail /dev/zero; echo "tail ended with $?"; sleep 3`),
		watch: watch, lasts: 4 * time.Second,
		chart: memoryChart, judge: judgeChild,
	}}
}

func memoryChart(s seen) chart {
	limit := float64(s.limits.Memory)
	c := chart{label: "time", left: "0", right: "limit " + mebibytes(uint64(limit)), notes: []string{"in use", "oom_kill"}}
	kills := uint64(0)
	for _, one := range s.samples {
		b := memoryBar(fmt.Sprintf("%.1f s", s.since(one)), one.Counters, one.MemoryCurrent, limit)
		b.alarm = one.MemoryEvents.OOMKill > kills
		kills = one.MemoryEvents.OOMKill
		c.bars = append(c.bars, b)
	}
	if s.exit != nil && killed(*s.exit) {
		b := memoryBar("killed", *s.exit.Cgroup, s.exit.Cgroup.MemoryPeak, limit)
		b.alarm, b.parts[0].style = true, bad
		c.bars = append(c.bars, b)
	}
	c.legend = line{{busy, "  █"}, {normal, " in use   "}, {faint, "·"}, {normal, " still allowed"}}
	return c
}

func memoryBar(label string, c cgroups.Counters, used uint64, limit float64) bar {
	share := float64(used) / limit
	return bar{
		label: label,
		parts: []part{{share, fullCell, busy}, rest(share, freeCell, faint)},
		notes: []string{mebibytes(used), fmt.Sprint(c.MemoryEvents.OOMKill)},
	}
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// killed says whether PID 1 died of the OOM killer's signal.
func killed(e runtime.Exit) bool { return e.OOMKilled && e.ExitCode == killStatus }

// killStatus is 128 + SIGKILL (signal(7)).
const killStatus = 137

// memoryFigures are in bytes.
type memoryFigures struct {
	Limit   int64  `json:"limit"`
	Peak    uint64 `json:"peak"`
	OOMKill uint64 `json:"oom_kill"`
}

func memoryFiguresOf(s seen) memoryFigures {
	return memoryFigures{Limit: s.limits.Memory, Peak: s.exit.Cgroup.MemoryPeak, OOMKill: s.exit.Cgroup.MemoryEvents.OOMKill}
}

func judgeMemory(s seen) judgement {
	f := memoryFiguresOf(s)
	j := judgement{figures: f, counters: memoryCounters(*s.exit.Cgroup), shown: killed(*s.exit) && f.OOMKill > 0}
	if j.shown {
		j.verdict = fmt.Sprintf("It was allowed %s, asked for more, and PID 1 was killed: exit status %d (128 + 9, SIGKILL), OOMKilled true.",
			mebibytes(uint64(f.Limit)), s.exit.ExitCode)
	} else {
		j.verdict = fmt.Sprintf("It ended with exit status %d, and %d processes were killed.", s.exit.ExitCode, f.OOMKill)
	}
	return j
}

func judgeChild(s seen) judgement {
	f := memoryFiguresOf(s)
	j := judgement{
		figures: f, counters: memoryCounters(*s.exit.Cgroup),
		shown: s.exit.OOMKilled && s.exit.ExitCode != killStatus && f.OOMKill > 0,
	}
	if j.shown {
		j.verdict = fmt.Sprintf("The child was killed (PID 1 says: %q) and PID 1 lived on: exit status %d, as if nothing had happened, "+
			"but OOMKilled true. The exit status alone does not tell; look at both.", s.said, s.exit.ExitCode)
	} else {
		j.verdict = fmt.Sprintf("It ended with exit status %d, and %d processes were killed.", s.exit.ExitCode, f.OOMKill)
	}
	return j
}

func memoryCounters(c cgroups.Counters) []counter {
	return []counter{
		{"memory.peak", c.MemoryPeak, "the most it ever had: " + mebibytes(c.MemoryPeak)},
		{"memory.events max", c.MemoryEvents.Max, "how often it met its limit"},
		{"memory.events oom", c.MemoryEvents.OOM, "how often nothing could be taken back then"},
		{"memory.events oom_kill", c.MemoryEvents.OOMKill, "processes killed for it"},
	}
}
