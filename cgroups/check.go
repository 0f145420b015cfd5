package cgroups

import (
	"fmt"
	"slices"
	"strings"

	"github.com/minidock/minidock/steps"
)

const (
	// minMemory is Docker's least memory limit, 6 MiB: with less, the runtime's
	// own first process is killed before it becomes the container's.
	minMemory = 6 << 20
	// minQuota, minPeriod and maxPeriod bound cpu.max in microseconds (kernel
	// Documentation/scheduler/sched-bwc.rst).
	minQuota, minPeriod, maxPeriod = 1000, 1000, 1_000_000
	// nanosPerCPU is one CPU in the unit of [Limits.NanoCPUs].
	nanosPerCPU = 1_000_000_000
)

// Check refuses limits that contradict each other, are out of range, or can't be
// set on this host, with Docker's words where Docker refuses them too. The error
// is a [steps.Fault] with exit status 125.
func (l Limits) Check(h Host) error {
	for _, check := range []func(Host) error{
		l.checkMemory, l.checkMemorySoft, l.checkCPU, l.checkPeriod, l.checkHost, l.checkCpuset,
	} {
		if err := check(h); err != nil {
			return err
		}
	}
	return nil
}

func refuse(msg, hint string) error {
	return &steps.Fault{Msg: msg, Hint: hint, Code: 125}
}

func (l Limits) checkMemory(Host) error {
	switch {
	case l.Memory != 0 && l.Memory < minMemory:
		return refuse("Minimum memory limit allowed is 6MB", "Give --memory at least 6m: starting a container takes that much.")
	case l.Memory > 0 && l.MemorySwap > 0 && l.MemorySwap < l.Memory:
		return refuse("Minimum memoryswap limit should be larger than memory limit, see usage",
			"--memory-swap is memory and swap together: equal to --memory for no swap, -1 for unlimited swap.")
	case l.Memory == 0 && l.MemorySwap > 0:
		return refuse("You should always set the Memory limit when using Memoryswap limit, see usage",
			"--memory-swap is memory and swap together: add --memory.")
	}
	return nil
}

func (l Limits) checkMemorySoft(Host) error {
	switch {
	case l.MemoryReservation != 0 && l.MemoryReservation < minMemory:
		return refuse("Minimum memory reservation allowed is 6MB", "Give --memory-reservation at least 6m, or leave it out.")
	case l.Memory > 0 && l.MemoryReservation > l.Memory:
		return refuse("Minimum memory limit can not be less than memory reservation limit, see usage",
			"--memory-reservation is the protected part of --memory: make it smaller.")
	case l.MemoryHigh != 0 && l.MemoryHigh < minMemory:
		return refuse("Minimum memory high limit allowed is 6MB", "Give --memory-high at least 6m: starting a container takes that much.")
	case l.Memory > 0 && l.MemoryHigh > l.Memory:
		return refuse("memory high limit can not be larger than memory limit",
			"--memory-high slows the container down before --memory kills: make it smaller.")
	}
	return nil
}

const cpusHint = "--cpus 0.5 means --cpu-period 100000 --cpu-quota 50000: give one or the other."

func (l Limits) checkCPU(h Host) error {
	switch {
	case l.NanoCPUs > 0 && l.CPUPeriod > 0:
		return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set", cpusHint)
	case l.NanoCPUs > 0 && l.CPUQuota > 0:
		return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set", cpusHint)
	case l.NanoCPUs != 0 && (l.NanoCPUs < minQuota*nanosPerMicro || l.NanoCPUs > int64(h.CPUs)*nanosPerCPU):
		return refuse(fmt.Sprintf("range of CPUs is from 0.01 to %[1]d.00, as there are only %[1]d CPUs available", h.CPUs),
			"Give --cpus a number in that range.")
	case l.CPUShares < 0:
		return refuse(fmt.Sprintf("invalid CPU shares (%d): value must be a positive integer", l.CPUShares),
			"1024 is the default weight: give more or less than that.")
	}
	return nil
}

func (l Limits) checkPeriod(Host) error {
	switch {
	case l.CPUPeriod != 0 && (l.CPUPeriod < minPeriod || l.CPUPeriod > maxPeriod):
		return refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)", "--cpu-period is in microseconds; 100000 is usual.")
	case l.CPUQuota > 0 && l.CPUQuota < minQuota:
		return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)", "--cpu-quota is in microseconds of CPU time in each period; --cpus is easier.")
	}
	return nil
}

// need is a limit that holds something back, so that it takes a controller.
type need struct{ flag, controller string }

func (l Limits) needs() []need {
	var needs []need
	add := func(set bool, flag, controller string) {
		if set {
			needs = append(needs, need{flag, controller})
		}
	}
	add(l.NanoCPUs != 0, "--cpus", "cpu")
	add(l.CPUQuota > 0, "--cpu-quota", "cpu")
	add(l.CPUPeriod != 0, "--cpu-period", "cpu")
	add(l.CPUShares != 0, "--cpu-shares", "cpu")
	add(l.CpusetCpus != "", "--cpuset-cpus", "cpuset")
	add(l.Memory != 0, "--memory", "memory")
	add(l.MemorySwap > 0, "--memory-swap", "memory")
	add(l.MemoryReservation != 0, "--memory-reservation", "memory")
	add(l.MemoryHigh != 0, "--memory-high", "memory")
	add(l.PidsLimit > 0, "--pids-limit", "pids")
	return needs
}

func (l Limits) checkHost(h Host) error {
	var flags, controllers []string
	for _, n := range l.needs() {
		if h.HasController(n.controller) {
			continue
		}
		flags = append(flags, n.flag)
		if !slices.Contains(controllers, n.controller) {
			controllers = append(controllers, n.controller)
		}
	}
	if len(flags) == 0 {
		return nil
	}
	return h.lacks(controllers, flags)
}

func (h Host) lacks(controllers, flags []string) error {
	names, asked := plural("controller", controllers), and(flags)
	switch h.Mode {
	case Unified:
		return refuse(fmt.Sprintf("this kernel offers no %s on cgroup v2; %s %s", names, asked, verb(flags, "needs it", "need it")),
			"Compare /sys/fs/cgroup/cgroup.controllers; some boards want cgroup_enable=memory on the kernel's command line.")
	case None:
		return refuse(fmt.Sprintf("no cgroup file system is mounted at %s; %s %s cgroup v2", h.Mountpoint, asked, verb(flags, "needs", "need")),
			"Mount it: mount -t cgroup2 none "+h.Mountpoint+"; or run it in the lab VM: scripts/vagrant/run minidock run …")
	}
	return refuse(fmt.Sprintf("this host's %s %s on cgroup v1; %s %s cgroup v2",
		names, verb(controllers, "is", "are"), asked, verb(flags, "needs", "need")), LabHint)
}

// LabHint says where limits work when they don't work on a host whose
// controllers are on version 1.
const LabHint = "Run it in the lab VM: make demo VM=1, or scripts/vagrant/run minidock run …; " +
	"or boot this host with systemd.unified_cgroup_hierarchy=1 on the kernel's command line."

func (l Limits) checkCpuset(h Host) error {
	asked, err := parseCPUList(l.CpusetCpus)
	if err != nil {
		return &steps.Fault{
			Msg:  fmt.Sprintf("Invalid value %s for cpuset cpus: %v", l.CpusetCpus, err),
			Hint: "Give numbers and ranges, such as 0-2,4.", Code: 125, Err: err,
		}
	}
	if l.CpusetCpus == "" {
		return nil
	}
	available, err := h.AvailableCPUs()
	if err != nil {
		return err
	}
	have, err := parseCPUList(available)
	if err != nil {
		return fmt.Errorf("read available CPUs: %w", err)
	}
	if !have.contains(asked) {
		return refuse(fmt.Sprintf("Requested CPUs are not available - requested %s, available: %s", l.CpusetCpus, available),
			"Give --cpuset-cpus numbers out of "+available+".")
	}
	return nil
}

func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

func plural(noun string, names []string) string {
	return and(names) + " " + verb(names, noun, noun+"s")
}

func verb(subjects []string, one, many string) string {
	if len(subjects) == 1 {
		return one
	}
	return many
}
