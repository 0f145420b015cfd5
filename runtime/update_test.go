package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/cgroups"
)

const mib = 1 << 20

type limits = cgroups.Limits

type mergeCase struct {
	name       string
	old, asked limits
	given      []string
	want       limits
	refused    string
}

var mergeCases = []mergeCase{
	{"nothing given, nothing changes", limits{CPUShares: 512}, limits{}, nil, limits{CPUShares: 512}, ""},
	{
		"one of several",
		limits{CPUShares: 512, PidsLimit: 10},
		limits{PidsLimit: 20},
		[]string{"pids-limit"},
		limits{CPUShares: 512, PidsLimit: 20},
		"",
	},
	{"zero takes away", limits{CPUShares: 512, CpusetCpus: "0"}, limits{}, []string{"cpu-shares", "cpuset-cpus"}, limits{}, ""},
	{
		"less memory keeps memory and swap together",
		limits{Memory: 64 * mib},
		limits{Memory: 32 * mib},
		[]string{"memory"},
		limits{Memory: 32 * mib, MemorySwap: 128 * mib},
		"",
	},
	{
		"more than memory and swap together",
		limits{Memory: 64 * mib},
		limits{Memory: 256 * mib},
		[]string{"memory"},
		limits{},
		"Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
	},
	{
		"a first limit needs both",
		limits{},
		limits{Memory: 64 * mib},
		[]string{"memory"},
		limits{},
		"Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
	},
	{
		"both",
		limits{},
		limits{Memory: 64 * mib, MemorySwap: 64 * mib},
		[]string{"memory", "memory-swap"},
		limits{Memory: 64 * mib, MemorySwap: 64 * mib},
		"",
	},
	{
		"unlimited swap holds any memory",
		limits{Memory: 64 * mib, MemorySwap: -1},
		limits{Memory: 256 * mib},
		[]string{"memory"},
		limits{Memory: 256 * mib, MemorySwap: -1},
		"",
	},
	{"no memory limit any more", limits{Memory: 64 * mib, MemorySwap: 96 * mib}, limits{}, []string{"memory"}, limits{}, ""},
	{
		"swap as at first",
		limits{Memory: 64 * mib, MemorySwap: 96 * mib},
		limits{},
		[]string{"memory-swap"},
		limits{Memory: 64 * mib},
		"",
	},
	{
		"cpus beside a quota",
		limits{CPUQuota: 5000},
		limits{NanoCPUs: 1e9},
		[]string{"cpus"},
		limits{},
		"Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
	},
	{
		"cpus beside a period",
		limits{CPUPeriod: 5000},
		limits{NanoCPUs: 1e9},
		[]string{"cpus"},
		limits{},
		"Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
	},
	{
		"a quota beside cpus",
		limits{NanoCPUs: 1e9},
		limits{CPUQuota: 5000},
		[]string{"cpu-quota"},
		limits{},
		"Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
	},
	{
		"a period beside cpus",
		limits{NanoCPUs: 1e9},
		limits{CPUPeriod: 5000},
		[]string{"cpu-period"},
		limits{},
		"Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
	},
	{
		"cpus in place of a quota",
		limits{CPUQuota: 5000},
		limits{NanoCPUs: 1e9},
		[]string{"cpus", "cpu-quota"},
		limits{NanoCPUs: 1e9},
		"",
	},
	{"cpus beside a quota that was lifted", limits{CPUQuota: -1}, limits{NanoCPUs: 1e9}, []string{"cpus"}, limits{CPUQuota: -1, NanoCPUs: 1e9}, ""},
}

func TestLimitsMergeAsInDocker(t *testing.T) {
	for _, c := range mergeCases {
		t.Run(c.name, func(t *testing.T) {
			got, err := mergeLimits(c.old, c.asked, c.given)
			if c.refused != "" {
				if err == nil || err.Error() != c.refused {
					t.Errorf("got %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARestartPolicyIsNotGivenToWhatRemovesItself(t *testing.T) {
	c := Config{ID: "abc", AutoRemove: true}
	_, err := c.changed(Changes{Restart: &RestartPolicy{Name: "always"}}, cgroups.Host{})
	if err == nil || err.Error() != "Cannot update container abc: Restart policy cannot be updated because AutoRemove is enabled for the container" {
		t.Errorf("got %v", err)
	}
	if _, err := c.changed(Changes{Restart: &RestartPolicy{Name: "no"}}, cgroups.Host{}); err != nil {
		t.Error(err)
	}
	next, err := Config{Limits: cgroups.Limits{Memory: 64 * mib}}.changed(Changes{Restart: &RestartPolicy{Name: "always"}}, cgroups.Host{Mode: cgroups.Hybrid})
	if err != nil || next.Restart.Name != "always" || next.Limits.Memory != 64*mib || next.Limits.MemorySwap != 0 {
		t.Errorf("got %+v (%v)", next, err)
	}
}
