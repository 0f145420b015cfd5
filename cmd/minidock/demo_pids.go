package main

import (
	"fmt"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
)

func pidsScenes(s demoSettings) []scene {
	return []scene{{
		heading: "PIDs: a fork bomb that can't spread",
		why: "In this container every shell starts another one, twice a second, and those do the same: a fork bomb. On a host " +
			"without limits it goes on until nobody can start a process any more. --pids-limit 50 makes fork fail, there alone, " +
			"while 50 tasks are alive. After 6 seconds PID 1 ends, and the kernel ends all others with it.",
		image: s.image, args: []string{
			"--pids-limit", "50", "--name", "demo-pids", s.image,
			"sh", "-c", "bomb() { while sleep 0.5; do bomb & done; }; bomb & sleep 6; exit",
		},
		watch: runtime.Watch{Every: 250 * time.Millisecond}, lasts: 6 * time.Second,
		chart: pidsChart, judge: judgePids, files: "pids.max pids.current pids.peak pids.events",
	}}
}

func pidsChart(s seen) chart {
	c := chart{label: "time", left: "0", right: fmt.Sprintf("limit %d", s.limits.PidsLimit), notes: []string{"tasks", "refused"}}
	for _, one := range s.samples {
		share := float64(one.PidsCurrent) / float64(s.limits.PidsLimit)
		c.bars = append(c.bars, bar{
			label: fmt.Sprintf("%.1f s", s.since(one)),
			parts: []part{{share, fullCell, busy}, rest(share, freeCell, faint)},
			notes: []string{fmt.Sprint(one.PidsCurrent), fmt.Sprint(one.PidsEventsMax)},
		})
	}
	c.legend = line{{busy, "  █"}, {normal, " alive   "}, {faint, "·"}, {normal, " still allowed"}}
	return c
}

type pidsFigures struct {
	Limit   int64  `json:"limit"`
	Peak    uint64 `json:"peak"`
	Refused uint64 `json:"refused"`
}

func judgePids(s seen) judgement {
	c := *s.exit.Cgroup
	f := pidsFigures{Limit: s.limits.PidsLimit, Peak: mostTasks(s), Refused: c.PidsEventsMax}
	j := judgement{figures: f, counters: pidsCounters(c), shown: f.Refused > 0 && f.Peak <= uint64(f.Limit)}
	switch {
	case f.Peak > uint64(f.Limit):
		j.verdict = fmt.Sprintf("It was allowed %d tasks and had %d.", f.Limit, f.Peak)
	case f.Refused == 0:
		j.verdict = fmt.Sprintf("It had no more than %d tasks and was refused none.", f.Peak)
	default:
		j.verdict = fmt.Sprintf("It never had more than %d tasks: fork was refused %d times. Inside, that reads: %q.", f.Peak, f.Refused, s.said)
	}
	return j
}

// mostTasks is pids.peak, and before Linux 6.1, which brought that, the most
// that was seen.
func mostTasks(s seen) uint64 {
	most := s.exit.Cgroup.PidsPeak
	for _, one := range s.samples {
		most = max(most, one.PidsCurrent)
	}
	return most
}

func pidsCounters(c cgroups.Counters) []counter {
	return []counter{
		{"pids.peak", c.PidsPeak, "the most tasks it ever had at once"},
		{"pids.events max", c.PidsEventsMax, "how often fork was refused for the limit"},
	}
}
