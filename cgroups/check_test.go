package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minidock/minidock/steps"
)

// fakeRoot is a unified host with two processors, as far as checks look at it.
func fakeRoot(t *testing.T) Host {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cpuset.cpus.effective"), []byte("0-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Host{Mode: Unified, Mountpoint: dir, Controllers: strings.Fields(wanted), CPUs: 2}
}

func TestBadLimitsAreRefusedInDockersWords(t *testing.T) {
	h := fakeRoot(t)
	for _, c := range []struct {
		name   string
		limits Limits
		want   string // empty: accepted
	}{
		{"no limits", Limits{}, ""},
		{"6 MiB is the least memory", Limits{Memory: 6 * mib}, ""},
		{"less than 6 MiB", Limits{Memory: 6*mib - 1}, "Minimum memory limit allowed is 6MB"},
		{"swap below memory", Limits{Memory: 64 * mib, MemorySwap: 32 * mib}, "Minimum memoryswap limit should be larger than memory limit, see usage"},
		{"swap equal to memory", Limits{Memory: 64 * mib, MemorySwap: 64 * mib}, ""},
		{"unlimited swap", Limits{Memory: 64 * mib, MemorySwap: -1}, ""},
		{"swap without memory", Limits{MemorySwap: 64 * mib}, "You should always set the Memory limit when using Memoryswap limit, see usage"},
		{"reservation above memory", Limits{Memory: 32 * mib, MemoryReservation: 64 * mib}, "Minimum memory limit can not be less than memory reservation limit, see usage"},
		{"reservation below 6 MiB", Limits{MemoryReservation: mib}, "Minimum memory reservation allowed is 6MB"},
		{"reservation alone", Limits{MemoryReservation: 64 * mib}, ""},
		{"high above memory", Limits{Memory: 32 * mib, MemoryHigh: 64 * mib}, "memory high limit can not be larger than memory limit"},
		{"high below 6 MiB", Limits{MemoryHigh: mib}, "Minimum memory high limit allowed is 6MB"},
		{"cpus and period", Limits{NanoCPUs: 1e9, CPUPeriod: 100_000}, "Conflicting options: Nano CPUs and CPU Period cannot both be set"},
		{"cpus and quota", Limits{NanoCPUs: 1e9, CPUQuota: 100_000}, "Conflicting options: Nano CPUs and CPU Quota cannot both be set"},
		{"all CPUs", Limits{NanoCPUs: 2e9}, ""},
		{"more than all CPUs", Limits{NanoCPUs: 2e9 + 1}, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"},
		{"the least CPU", Limits{NanoCPUs: 1e7}, ""},
		{"less than the kernel takes", Limits{NanoCPUs: 1e7 - 1}, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"},
		{"negative CPUs", Limits{NanoCPUs: -1e9}, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"},
		{"negative shares", Limits{CPUShares: -1}, "invalid CPU shares (-1): value must be a positive integer"},
		{"short period", Limits{CPUPeriod: 999}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"},
		{"long period", Limits{CPUPeriod: 1_000_001}, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"},
		{"small quota", Limits{CPUQuota: 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"},
		{"no quota", Limits{CPUQuota: -1}, ""},
		{"processors that are there", Limits{CpusetCpus: "0-1"}, ""},
		{"a processor that is not there", Limits{CpusetCpus: "0-2"}, "Requested CPUs are not available - requested 0-2, available: 0-1"},
		{"no list of processors", Limits{CpusetCpus: "1--2"}, "Invalid value 1--2 for cpuset cpus: invalid format: 1--2"},
		{"a list without end", Limits{CpusetCpus: "0-2147483647"}, "Invalid value 0-2147483647 for cpuset cpus: value of out range, maximum is 8192"},
		{"no limit on tasks", Limits{PidsLimit: -1}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, c.limits.Check(h), c.want)
		})
	}
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var fault *steps.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("got %v, want the fault %q", err, want)
	}
	if fault.Msg != want {
		t.Errorf("got  %q\nwant %q", fault.Msg, want)
	}
	if fault.Code != 125 || fault.Hint == "" || strings.Contains(fault.Msg+fault.Hint, "\n") {
		t.Errorf("code %d, hint %q: want 125 and one line", fault.Code, fault.Hint)
	}
}

func TestALimitThatTheHostCannotKeepNamesFlagAndController(t *testing.T) {
	hybrid := Host{Mode: Hybrid, Mountpoint: "/sys/fs/cgroup", CPUs: 2, Controllers: []string{"hugetlb"}}
	for _, c := range []struct {
		name   string
		host   Host
		limits Limits
		want   string
		hint   string
	}{
		{"one flag", hybrid, Limits{Memory: 64 * mib}, "this host's memory controller is on cgroup v1; --memory needs cgroup v2", "lab VM"},
		{"two flags of one controller", hybrid, Limits{Memory: 64 * mib, MemorySwap: 64 * mib}, "this host's memory controller is on cgroup v1; --memory and --memory-swap need cgroup v2", "scripts/vagrant/run"},
		{
			"flags of three", hybrid,
			Limits{NanoCPUs: 1e9, CpusetCpus: "0", PidsLimit: 5},
			"this host's cpu, cpuset and pids controllers are on cgroup v1; --cpus, --cpuset-cpus and --pids-limit need cgroup v2", "systemd.unified_cgroup_hierarchy=1",
		},
		{"what limits nothing is no matter", hybrid, Limits{PidsLimit: -1, CPUQuota: -1, MemorySwap: -1}, "", ""},
		{"legacy", Host{Mode: Legacy, CPUs: 1}, Limits{CPUShares: 5}, "this host's cpu controller is on cgroup v1; --cpu-shares needs cgroup v2", "lab VM"},
		{"a bad value is told first", hybrid, Limits{Memory: 1}, "Minimum memory limit allowed is 6MB", "6m"},
		{
			"unified without the controller",
			Host{Mode: Unified, CPUs: 1, Controllers: []string{"cpu"}},
			Limits{MemoryHigh: 64 * mib, MemoryReservation: 64 * mib},
			"this kernel offers no memory controller on cgroup v2; --memory-reservation and --memory-high need it", "cgroup_enable=memory",
		},
		{"nothing mounted", Host{Mode: None, Mountpoint: "/sys/fs/cgroup", CPUs: 1}, Limits{CPUQuota: 5000, CPUPeriod: 5000}, "no cgroup file system is mounted at /sys/fs/cgroup; --cpu-quota and --cpu-period need cgroup v2", "mount -t cgroup2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.limits.Check(c.host)
			expect(t, err, c.want)
			if hint := steps.HintOf(err); !strings.Contains(hint, c.hint) {
				t.Errorf("hint %q does not name %q", hint, c.hint)
			}
		})
	}
}

func TestAnUnreadableListOfProcessorsIsAnErrorNotAMatch(t *testing.T) {
	h := fakeRoot(t)
	if err := os.WriteFile(filepath.Join(h.Mountpoint, "cpuset.cpus.effective"), []byte("garbage\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Limits{CpusetCpus: "0"}).Check(h); err == nil || !strings.Contains(err.Error(), "read available CPUs") {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(h.Mountpoint, "cpuset.cpus.effective")); err != nil {
		t.Fatal(err)
	}
	expect(t, Limits{CpusetCpus: "0"}.Check(h), "Requested CPUs are not available - requested 0, available: ")
	if err := os.Mkdir(filepath.Join(h.Mountpoint, "cpuset.cpus.effective"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (Limits{CpusetCpus: "0"}).Check(h); err == nil {
		t.Error("a list that can't be read is accepted")
	}
}
