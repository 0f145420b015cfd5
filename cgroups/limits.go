package cgroups

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/docker/go-units"
)

// Limits are what a container may use, in Docker's terms and units. The zero
// value of each means that it is not set.
type Limits struct {
	// NanoCPUs is --cpus in billionths of a CPU: 500000000 is half of one.
	NanoCPUs int64 `json:"nanoCpus,omitempty"`
	// CPUQuota is the CPU time in microseconds in each period; below 0 unlimited.
	CPUQuota int64 `json:"cpuQuota,omitempty"`
	// CPUPeriod is the length of a period in microseconds.
	CPUPeriod int64 `json:"cpuPeriod,omitempty"`
	// CPUShares is the weight against others on version 1's scale, 2 to 262144
	// with a default of 1024 (kernel Documentation/scheduler/sched-design-CFS.rst).
	CPUShares int64 `json:"cpuShares,omitempty"`
	// CpusetCpus lists the processors to run on: "0-2,4".
	CpusetCpus string `json:"cpusetCpus,omitempty"`
	// Memory is the limit in bytes.
	Memory int64 `json:"memory,omitempty"`
	// MemorySwap is memory and swap together, in bytes; -1 leaves swap unlimited.
	MemorySwap int64 `json:"memorySwap,omitempty"`
	// MemoryReservation is the amount in bytes that is protected from reclaim.
	MemoryReservation int64 `json:"memoryReservation,omitempty"`
	// MemoryHigh is the amount in bytes above which the container is slowed down
	// and its memory reclaimed. Docker has no flag for it.
	MemoryHigh int64 `json:"memoryHigh,omitempty"`
	// PidsLimit is the number of tasks (processes and threads); below 0 unlimited.
	PidsLimit int64 `json:"pidsLimit,omitempty"`
}

// Any says whether a limit is set at all.
func (l Limits) Any() bool { return l != Limits{} }

// File is one file of a group, and what is to be written to it.
type File struct {
	Name  string
	Value string
	// Why is a sentence for a learner.
	Why string
}

const (
	// defaultPeriod is the period of cpu.max in microseconds, which the kernel
	// and Docker use alike (cgroup-v2.rst, "CPU Interface Files").
	defaultPeriod = 100_000
	// nanosPerMicro turns billionths of a CPU into microseconds of a period:
	// quota = nanoCPUs × period ÷ 10⁹.
	nanosPerMicro = 1_000_000_000 / defaultPeriod
	// unlimited is what cgroup v2 files hold where there is no limit.
	unlimited = "max"
)

// Files maps the limits to the files of a cgroup v2 group, in the order in which
// they are to be written: swap before memory, so that what the lower memory limit
// pushes out does not fill the swap first.
func (l Limits) Files() []File {
	var files []File
	add := func(set bool, name, value, why string) {
		if set {
			files = append(files, File{Name: name, Value: value, Why: why})
		}
	}
	add(l.CPUShares != 0, "cpu.weight", l.weight(), l.whyWeight())
	add(l.NanoCPUs != 0 || l.CPUQuota != 0 || l.CPUPeriod != 0, "cpu.max", l.cpuMax(), l.whyCPU())
	add(l.CpusetCpus != "", "cpuset.cpus", l.CpusetCpus,
		"Run the container on these processors only, whatever the others do.")
	swap, set := l.swap()
	add(set, "memory.swap.max", swap, whySwap(swap))
	add(l.Memory != 0, "memory.max", number(l.Memory),
		"Above "+size(l.Memory)+" the kernel takes back what it can, and then kills a process (OOM).")
	add(l.MemoryHigh != 0, "memory.high", number(l.MemoryHigh),
		"Above "+size(l.MemoryHigh)+" the container is slowed down and its memory reclaimed; nothing is killed.")
	add(l.MemoryReservation != 0, "memory.low", number(l.MemoryReservation),
		"Below "+size(l.MemoryReservation)+" its memory is reclaimed only when nobody else has any to give.")
	add(l.PidsLimit != 0, "pids.max", limitOf(l.PidsLimit), l.whyPids())
	return files
}

// weight follows the curve of Docker and runc since 2025, which maps the default
// 1024 to the default 100: ⌈10^((l² + 125·l)/612 − 7/34)⌉ with l = log₂(shares),
// within 1 and 10000 (cgroup-v2.rst, cpu.weight).
func (l Limits) weight() string {
	return strconv.FormatUint(cgroup2.ConvertCPUSharesToCgroupV2Value(uint64(max(l.CPUShares, 0))), 10)
}

func (l Limits) whyWeight() string {
	return fmt.Sprintf("When CPUs are short, give the container %s parts where another has 100; %d shares on version 1's scale.",
		l.weight(), l.CPUShares)
}

// quota returns the CPU time in each period, and the period, in microseconds; a
// quota of 0 or less is no limit.
func (l Limits) quota() (quota, period int64) {
	if l.NanoCPUs != 0 {
		return l.NanoCPUs / nanosPerMicro, defaultPeriod
	}
	return l.CPUQuota, cmp.Or(l.CPUPeriod, defaultPeriod)
}

func (l Limits) cpuMax() string {
	quota, period := l.quota()
	return limitOf(quota) + " " + number(period)
}

func (l Limits) whyCPU() string {
	quota, period := l.quota()
	if quota <= 0 {
		return fmt.Sprintf("Count CPU time in periods of %s ms, without a limit.", millis(period))
	}
	return fmt.Sprintf("Give the container %s ms of CPU time in each %s ms; once used up, all its tasks wait for the next period (throttling).",
		millis(quota), millis(period))
}

// swap is what memory.swap.max gets. Version 2 counts swap alone, Docker's flag
// memory and swap together; not set, Docker makes it twice the memory.
func (l Limits) swap() (value string, set bool) {
	switch {
	case l.MemorySwap < 0:
		return unlimited, true
	case l.Memory == 0:
		return "", false
	case l.MemorySwap == 0:
		return number(l.Memory), true
	}
	return number(max(l.MemorySwap-l.Memory, 0)), true
}

func whySwap(value string) string {
	switch value {
	case unlimited:
		return "Let the kernel move as much of the container's memory to swap as the host has."
	case "0":
		return "Let none of the container's memory move to swap: the memory limit is then the whole limit."
	}
	n, _ := strconv.ParseInt(value, 10, 64)
	return "Let at most " + size(n) + " of the container's memory move to swap."
}

func (l Limits) whyPids() string {
	if l.PidsLimit < 0 {
		return "Let the container start as many tasks as the host allows."
	}
	return fmt.Sprintf("Let at most %d tasks (processes and threads) be in the container: fork fails beyond, with EAGAIN.", l.PidsLimit)
}

func limitOf(n int64) string {
	if n <= 0 {
		return unlimited
	}
	return number(n)
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func size(bytes int64) string { return units.BytesSize(float64(bytes)) }

func millis(micros int64) string {
	return strconv.FormatFloat(float64(micros)/1000, 'f', -1, 64)
}
