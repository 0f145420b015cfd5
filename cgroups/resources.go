package cgroups

import (
	"strconv"

	"github.com/containerd/cgroups/v3/cgroup2"
)

// resources puts the one file into containerd/cgroups' terms, such that its
// Update writes that file and no other; ok is false for what it can't write.
func (f File) resources() (r *cgroup2.Resources, ok bool) {
	switch f.Name {
	case "cpu.max":
		return &cgroup2.Resources{CPU: &cgroup2.CPU{Max: cgroup2.CPUMax(f.Value)}}, true
	case "cpuset.cpus":
		return &cgroup2.Resources{CPU: &cgroup2.CPU{Cpus: f.Value}}, f.Value != ""
	}
	n, err := strconv.ParseInt(f.Value, 10, 64)
	if err != nil && f.Name == "pids.max" {
		n, err = -1, nil
	}
	if err != nil {
		return nil, false
	}
	return numbered(f.Name, n)
}

func numbered(name string, n int64) (*cgroup2.Resources, bool) {
	switch name {
	case "cpu.weight":
		weight := uint64(n)
		return &cgroup2.Resources{CPU: &cgroup2.CPU{Weight: &weight}}, true
	case "memory.max":
		return &cgroup2.Resources{Memory: &cgroup2.Memory{Max: &n}}, true
	case "memory.swap.max":
		return &cgroup2.Resources{Memory: &cgroup2.Memory{Swap: &n}}, true
	case "memory.high":
		return &cgroup2.Resources{Memory: &cgroup2.Memory{High: &n}}, true
	case "memory.low":
		return &cgroup2.Resources{Memory: &cgroup2.Memory{Low: &n}}, true
	case "pids.max":
		return &cgroup2.Resources{Pids: &cgroup2.Pids{Max: n}}, true
	}
	return nil, false
}
