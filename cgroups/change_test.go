package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// newFiles is what a group without limits holds.
func newFiles() map[string]string {
	return map[string]string{
		"minidock/cpuset.cpus.effective": "0-1\n",
		"minidock/x/cpu.weight":          "100\n",
		"minidock/x/cpu.max":             "max 100000\n",
		"minidock/x/cpuset.cpus":         "\n",
		"minidock/x/memory.swap.max":     "max\n",
		"minidock/x/memory.max":          "max\n",
		"minidock/x/memory.high":         "max\n",
		"minidock/x/memory.low":          "0\n",
		"minidock/x/pids.max":            "max\n",
	}
}

// held reads the limits that the files of a group hold.
func held(t *testing.T, g *Group) map[string]string {
	t.Helper()
	got := map[string]string{}
	for name := range defaults {
		text, err := os.ReadFile(filepath.Join(g.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		got[name] = strings.TrimSpace(string(text))
	}
	return got
}

// written lists the limits that a ledger tells of.
func written(l *steps.Ledger) []string {
	var list []string
	for _, r := range l.Records() {
		if r.Kind == KindLimit {
			_, value, _ := strings.Cut(r.Call[0], ", ")
			list = append(list, filepath.Base(r.Target)+"="+strings.Trim(value, `")`))
		}
	}
	return list
}

var someLimits = Limits{
	CPUShares: 512, NanoCPUs: 5e8, CpusetCpus: "0", Memory: 64 * mib,
	MemoryHigh: 48 * mib, MemoryReservation: 32 * mib, PidsLimit: 50,
}

func TestOnlyWhatChangesIsWrittenLooseningFirst(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new Limits
		want     []string
	}{
		{"nothing", someLimits, someLimits, nil},
		{"a first limit", Limits{}, Limits{NanoCPUs: 5e8}, []string{"cpu.max=50000 100000"}},
		{
			"more of both",
			Limits{Memory: 32 * mib},
			Limits{Memory: 64 * mib},
			[]string{"memory.swap.max=67108864", "memory.max=67108864"},
		},
		{
			"less of both",
			Limits{Memory: 64 * mib},
			Limits{Memory: 32 * mib},
			[]string{"memory.swap.max=33554432", "memory.max=33554432"},
		},
		{
			"more memory, less swap: memory first",
			Limits{Memory: 32 * mib, MemorySwap: 96 * mib},
			Limits{Memory: 64 * mib, MemorySwap: 96 * mib},
			[]string{"memory.max=67108864", "memory.swap.max=33554432"},
		},
		{
			"less memory, more swap: swap first",
			Limits{Memory: 64 * mib, MemorySwap: 96 * mib},
			Limits{Memory: 32 * mib, MemorySwap: 96 * mib},
			[]string{"memory.swap.max=67108864", "memory.max=33554432"},
		},
		{
			"no limit any more: all defaults", someLimits,
			Limits{},
			[]string{
				"cpu.weight=100", "memory.swap.max=max", "memory.max=max", "memory.high=max", "pids.max=max",
				"cpu.max=max 100000", "cpuset.cpus=0-1", "memory.low=0",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := fakeGroup(t, Unified, newFiles())
			if err := g.Change(newLedger(t), Limits{}, c.old); err != nil {
				t.Fatal(err)
			}
			l := newLedger(t)
			if err := g.Change(l, c.old, c.new); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, written(l)); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			want := map[string]string{}
			for name, value := range defaults {
				want[name] = value
			}
			for _, f := range c.new.Files() {
				want[f.Name] = f.Value
			}
			if c.old.CpusetCpus != "" && c.new.CpusetCpus == "" {
				want["cpuset.cpus"] = "0-1"
			}
			if diff := cmp.Diff(want, held(t, g)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestARefusedChangeLeavesTheOldLimits(t *testing.T) {
	old := Limits{Memory: 64 * mib, NanoCPUs: 5e8}
	for _, refusing := range []string{"cpu.max", "memory.max", "memory.high", "pids.max"} {
		g := fakeGroup(t, Unified, newFiles())
		if err := g.Change(newLedger(t), Limits{}, old); err != nil {
			t.Fatal(err)
		}
		before := held(t, g)
		// Nobody can write to a directory.
		file := filepath.Join(g.Dir(), refusing)
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
			t.Fatal(err)
		}
		l := newLedger(t)
		err := g.Change(l, old, Limits{Memory: 32 * mib, NanoCPUs: 1e9, MemoryHigh: 16 * mib, PidsLimit: 9})
		if !errors.Is(err, unix.EISDIR) || !strings.Contains(err.Error(), refusing) {
			t.Errorf("%s: got %v", refusing, err)
		}
		if err := errors.Join(os.Remove(file), os.WriteFile(file, []byte(before[refusing]), 0o600)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, held(t, g)); diff != "" {
			t.Errorf("%s refused (-before +after):\n%s", refusing, diff)
		}
	}
}

func TestLimitsOfVersion1AreNotChanged(t *testing.T) {
	g := fakeGroup(t, Hybrid, nil)
	if err := g.Change(newLedger(t), Limits{}, Limits{}); err != nil {
		t.Error(err)
	}
	expect(t, g.Change(newLedger(t), Limits{}, Limits{Memory: 32 * mib}), "this host's memory controller is on cgroup v1; --memory needs cgroup v2")
}

func TestLimitsOfARunningGroupChangeAndAreLifted(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "changed")
	w := startWorker(t, "wait")
	w.putInto(t, g.Dir())
	tighter := Limits{
		CPUShares: 256, CPUQuota: 20_000, CPUPeriod: 50_000, CpusetCpus: "0", Memory: 48 * mib, MemorySwap: 48 * mib,
		MemoryHigh: 40 * mib, MemoryReservation: 16 * mib, PidsLimit: 20,
	}
	if err := g.Apply(l, someLimits); err != nil {
		t.Fatal(err)
	}
	now := someLimits
	for _, next := range []Limits{tighter, someLimits, {PidsLimit: -1, CPUQuota: -1, MemorySwap: -1}, tighter, {}} {
		if err := g.Change(l, now, next); err != nil {
			t.Fatal(err)
		}
		expectFiles(t, g, next)
		now = next
	}
	all, err := fields(filepath.Join(g.host.Dir(parentOf(g.path)), "cpuset.cpus.effective"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range defaults {
		if name == "cpuset.cpus" {
			want = strings.Join(all, "")
		}
		if got := strings.TrimSpace(readText(filepath.Join(g.Dir(), name))); got != want {
			t.Errorf("%s holds %q after all limits were lifted, want %q", name, got, want)
		}
	}
}

// PIDS_MAX is 4194305: that file is refused after others were written.
func TestWhatTheKernelRefusesIsTakenBack(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "taken-back")
	w := startWorker(t, "wait")
	w.putInto(t, g.Dir())
	if err := g.Apply(l, someLimits); err != nil {
		t.Fatal(err)
	}
	before := held(t, g)
	err := g.Change(l, someLimits, Limits{CPUShares: 1024, Memory: 128 * mib, PidsLimit: 4_194_306})
	expect(t, err, `the kernel refuses "4194306" for pids.max`)
	if diff := cmp.Diff(before, held(t, g)); diff != "" {
		t.Errorf("after a refused change (-before +after):\n%s", diff)
	}
}
