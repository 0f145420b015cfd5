package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/containerd/cgroups/v3/cgroup2/stats"
)

// Counters are what the kernel counted for a group and all below it. Times are in
// microseconds, memory in bytes. A file that the kernel does not have (its version
// is too old, or the controller is not there) leaves its counters 0.
type Counters struct {
	// NrPeriods is how many periods of cpu.max had something to run; NrThrottled
	// in how many of them the quota was used up; ThrottledUsec how long tasks
	// then had to wait, all processors added up (cgroup-v2.rst, cpu.stat).
	NrPeriods, NrThrottled, ThrottledUsec uint64
	UsageUsec, UserUsec, SystemUsec       uint64
	// MemoryCurrent counts everything charged to the group, page cache too.
	MemoryCurrent uint64
	// MemoryPeak is the most that MemoryCurrent has been (Linux 5.19).
	MemoryPeak uint64 `json:",omitempty"`
	// MemoryInactiveFile is page cache that goes first under pressure: docker
	// stats shows MemoryCurrent without it.
	MemoryInactiveFile uint64
	MemoryAnon         uint64
	MemoryFile         uint64
	SwapCurrent        uint64
	MemoryEvents       MemoryEvents
	// PidsCurrent counts tasks: threads as well as processes.
	PidsCurrent uint64
	// PidsPeak is the most that PidsCurrent has been (Linux 6.1).
	PidsPeak uint64 `json:",omitempty"`
	// PidsEventsMax is how often a fork or clone was refused for pids.max.
	PidsEventsMax uint64
}

// MemoryEvents are how often each memory limit was met (cgroup-v2.rst,
// memory.events).
type MemoryEvents struct {
	// Low is reclaim although the group was below memory.low; High is slowing
	// down above memory.high; Max is an allocation that met memory.max.
	Low, High, Max uint64
	// OOM is an allocation about to fail; OOMKill a process killed for it.
	OOM, OOMKill uint64
	// OOMGroupKill is a group killed as a whole (memory.oom.group; Linux 5.17).
	OOMGroupKill uint64
}

// Counters reads what the kernel has counted. A group that does not exist gives
// an error that is [fs.ErrNotExist].
//
// containerd/cgroups reads most of it; it does not know pids.peak and
// pids.events. On version 1 the few files that say the same are read here.
func (g *Group) Counters() (Counters, error) {
	switch g.host.Mode {
	case Unified:
		return g.unifiedCounters()
	case Hybrid, Legacy:
		return g.legacyCounters()
	}
	return Counters{}, fmt.Errorf("read counters of %s: no cgroup file system: %w", g.path, fs.ErrNotExist)
}

func (g *Group) unifiedCounters() (Counters, error) {
	m, err := cgroup2.Load(g.path, cgroup2.WithMountpoint(g.host.Mountpoint))
	if err != nil {
		return Counters{}, fmt.Errorf("read counters of %s: %w", g.path, err)
	}
	metrics, err := m.StatFiltered(cgroup2.StatCPU | cgroup2.StatMemory | cgroup2.StatMemoryEvents | cgroup2.StatPids)
	// It takes missing files for a missing controller, so a group that went away
	// meanwhile would be all zeros.
	if err == nil && !exists(g.Dir()) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Counters{}, fmt.Errorf("read counters of %s: %w", g.path, err)
	}
	c := countersOf(metrics)
	c.PidsPeak = readNumber(filepath.Join(g.Dir(), "pids.peak"))
	c.PidsEventsMax = readKeys(filepath.Join(g.Dir(), "pids.events"))["max"]
	return c, nil
}

func countersOf(m *stats.Metrics) Counters {
	return Counters{
		NrPeriods: m.CPU.NrPeriods, NrThrottled: m.CPU.NrThrottled, ThrottledUsec: m.CPU.ThrottledUsec,
		UsageUsec: m.CPU.UsageUsec, UserUsec: m.CPU.UserUsec, SystemUsec: m.CPU.SystemUsec,
		MemoryCurrent: m.Memory.Usage, MemoryPeak: m.Memory.MaxUsage, SwapCurrent: m.Memory.SwapUsage,
		MemoryInactiveFile: m.Memory.InactiveFile, MemoryAnon: m.Memory.Anon, MemoryFile: m.Memory.File,
		MemoryEvents: MemoryEvents{
			Low: m.MemoryEvents.GetLow(), High: m.MemoryEvents.GetHigh(), Max: m.MemoryEvents.GetMax(),
			OOM: m.MemoryEvents.GetOom(), OOMKill: m.MemoryEvents.GetOomKill(), OOMGroupKill: m.MemoryEvents.GetOomGroupKill(),
		},
		PidsCurrent: m.Pids.Current,
	}
}

const nanosPerMicrosecond = 1000

// legacyCounters: times are in nanoseconds there (kernel
// Documentation/admin-guide/cgroup-v1/cpuacct.rst, scheduler/sched-bwc.rst).
func (g *Group) legacyCounters() (Counters, error) {
	file := func(tree, name string) string {
		return filepath.Join(g.host.Mountpoint, tree, g.path, name)
	}
	if !exists(file("cpuacct", "")) && !exists(file("memory", "")) && !exists(file("pids", "")) {
		return Counters{}, fmt.Errorf("read counters of %s: %w", g.path, fs.ErrNotExist)
	}
	cpu, memory := readKeys(file("cpu", "cpu.stat")), readKeys(file("memory", "memory.stat"))
	return Counters{
		NrPeriods: cpu["nr_periods"], NrThrottled: cpu["nr_throttled"], ThrottledUsec: cpu["throttled_time"] / nanosPerMicrosecond,
		UsageUsec:          readNumber(file("cpuacct", "cpuacct.usage")) / nanosPerMicrosecond,
		UserUsec:           readNumber(file("cpuacct", "cpuacct.usage_user")) / nanosPerMicrosecond,
		SystemUsec:         readNumber(file("cpuacct", "cpuacct.usage_sys")) / nanosPerMicrosecond,
		MemoryCurrent:      readNumber(file("memory", "memory.usage_in_bytes")),
		MemoryPeak:         readNumber(file("memory", "memory.max_usage_in_bytes")),
		MemoryInactiveFile: memory["total_inactive_file"], MemoryAnon: memory["total_rss"], MemoryFile: memory["total_cache"],
		SwapCurrent: memory["total_swap"],
		MemoryEvents: MemoryEvents{
			Max:     readNumber(file("memory", "memory.failcnt")),
			OOMKill: readKeys(file("memory", "memory.oom_control"))["oom_kill"],
		},
		PidsCurrent:   readNumber(file("pids", "pids.current")),
		PidsPeak:      readNumber(file("pids", "pids.peak")),
		PidsEventsMax: readKeys(file("pids", "pids.events"))["max"],
	}, nil
}

// readNumber reads a file that holds one number; 0 where it is missing.
func readNumber(file string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(readText(file)), 10, 64)
	return n
}

// readKeys reads a file with a name and a number in each line ("flat keyed" in
// cgroup-v2.rst); empty where it is missing.
func readKeys(file string) map[string]uint64 {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return parseKeys(string(text))
}

func parseKeys(text string) map[string]uint64 {
	keys := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			keys[name] = n
		}
	}
	return keys
}
