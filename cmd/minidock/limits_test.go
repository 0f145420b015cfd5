package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
)

// The share that a busy container gets is the share it was promised: measured
// from cpu.stat at period edges against the monotonic clock.
func TestCPUShareIsWithin3PercentOfTheQuota(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	const periods = 150
	for _, cpus := range []float64{0.2, 0.5, 1.5} {
		t.Run(fmt.Sprint(cpus), func(t *testing.T) {
			w := newWorld(t)
			w.importProbe()
			text := strconv.FormatFloat(cpus, 'f', -1, 64)
			w.background("burner", "--cpus", text, "probe", "/probe", "cpuburn", "600", "--threads", "2")
			file := filepath.Join("/sys/fs/cgroup", w.layout.CgroupPath(w.inspect("burner").ID), "cpu.stat")
			first, last := busyWindow(t, file, periods)
			share := float64(last.usage-first.usage) / float64(last.at.Sub(first.at).Microseconds())
			t.Logf("--cpus %s: %.4f of a CPU over %d periods, throttled in %d", text, share, last.periods-first.periods, last.throttled-first.throttled)
			if math.Abs(share-cpus)/cpus > 0.03 {
				t.Errorf("--cpus %s gives %.4f of a CPU", text, share)
			}
		})
	}
}

// busyWindow measures over that many periods. A window in which the load met its
// quota in fewer than 95% of the periods says nothing about the quota: others
// took the processors (an emulated machine shares them with its host). Then it
// measures again, a few times.
func busyWindow(t *testing.T, file string, periods int64) (first, last cpuReading) {
	t.Helper()
	last = atPeriodEdge(t, file, 2)
	for range 4 {
		first, last = last, atPeriodEdge(t, file, last.periods+periods)
		met := float64(last.throttled-first.throttled) / float64(last.periods-first.periods)
		if met >= 0.95 {
			return first, last
		}
		t.Logf("throttled in only %.0f%% of the periods: measured again", 100*met)
	}
	t.Fatal("the load never got enough of the processors to meet its quota")
	return first, last
}

// cpuReading is cpu.stat at one moment: counts, and microseconds of CPU.
type cpuReading struct {
	at                        time.Time
	periods, throttled, usage int64
}

// atPeriodEdge polls until nr_periods has just reached least or more. Far from
// the edge it leaves the processor to the load: looking costs time, too.
func atPeriodEdge(t *testing.T, file string, least int64) cpuReading {
	t.Helper()
	const period = 100 * time.Millisecond
	var before cpuReading
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); {
		now := readCPU(t, file)
		if before.periods > 0 && now.periods > before.periods && now.periods >= least {
			return now
		}
		before = now
		time.Sleep(max(2*time.Millisecond, time.Duration(least-now.periods-2)*period))
	}
	t.Fatalf("%s did not come to %d periods", file, least)
	return cpuReading{}
}

func readCPU(t *testing.T, file string) cpuReading {
	t.Helper()
	at := time.Now()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		keys[name], _ = strconv.ParseInt(value, 10, 64)
	}
	return cpuReading{at: at, periods: keys["nr_periods"], throttled: keys["nr_throttled"], usage: keys["usage_usec"]}
}

func TestMemoryHogIsKilledAndItIsSaid(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	w := newWorld(t)
	w.importProbe()
	_, _, code := w.run("run", "--name", "hog", "-m", "32m", "--memory-swap", "32m", "probe", "/probe", "memhog", "200")
	i := w.inspect("hog")
	if code != 137 || i.State.ExitCode != 137 || !i.State.OOMKilled {
		t.Errorf("exit status %d, recorded %d, OOMKilled %v", code, i.State.ExitCode, i.State.OOMKilled)
	}
	if i.Cgroup == nil || i.Cgroup.MemoryEvents.OOMKill < 1 {
		t.Errorf("counters: %+v", i.Cgroup)
	}
	if i.HostConfig.Memory != 32<<20 || i.HostConfig.MemorySwap != 32<<20 {
		t.Errorf("limits: %+v", i.HostConfig)
	}
}

func TestKilledChildIsSaidThoughPID1LivesOn(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	w := newWorld(t)
	w.importProbe()
	_, errOut, code := w.run("run", "--name", "parent", "-m", "64m", "--memory-swap", "64m", "probe", "/probe", "memhog", "300", "--child", "--exit", "5")
	i := w.inspect("parent")
	if code != 5 || i.State.ExitCode != 5 || !i.State.OOMKilled || i.Cgroup.MemoryEvents.OOMKill < 1 {
		t.Errorf("exit status %d, state %+v, %s", code, i.State, errOut)
	}
}

func TestForkBombNeverHasMoreTasksThanItsLimit(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	w := newWorld(t)
	w.importProbe()
	w.must("run", "--name", "bomb", "--pids-limit", "50", "probe", "/probe", "forkbomb", "150")
	c := w.inspect("bomb").Cgroup
	if c == nil || c.PidsPeak > 50 || c.PidsEventsMax == 0 {
		t.Errorf("counters: %+v", c)
	}
}
