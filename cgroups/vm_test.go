package cgroups

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

func TestEveryLimitReachesItsFile(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "limits")
	limits := allLimits
	if err := limits.Check(g.host); err != nil {
		t.Fatal(err)
	}
	if err := g.Apply(l, limits); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, g, limits)
	told := map[string]string{}
	for _, r := range l.Records() {
		if r.Kind == KindLimit {
			told[filepath.Base(r.Target)] = r.Call[0]
		}
	}
	for _, f := range limits.Files() {
		if want := writeCall(filepath.Join(g.Dir(), f.Name), f.Value); told[f.Name] != want {
			t.Errorf("told %s, want %s", told[f.Name], want)
		}
	}
}

func expectFiles(t *testing.T, g *Group, limits Limits) {
	t.Helper()
	for _, f := range limits.Files() {
		if got := strings.TrimSpace(readText(filepath.Join(g.Dir(), f.Name))); got != f.Value {
			t.Errorf("%s holds %q, want %q", f.Name, got, f.Value)
		}
	}
}

func TestLimitsCanBeLifted(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "lifted")
	if err := g.Apply(l, Limits{CPUQuota: 5000, Memory: 32 * mib, PidsLimit: 9}); err != nil {
		t.Fatal(err)
	}
	lifted := Limits{CPUQuota: -1, MemorySwap: -1, PidsLimit: -1}
	if err := g.Apply(l, lifted); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, g, lifted)
}

func TestWhatTheKernelRefusesIsAFault(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "refused")
	// PIDS_MAX in kernel/cgroup/pids.c is PID_MAX_LIMIT + 1, 4194305.
	err := g.Apply(l, Limits{PidsLimit: 4_194_306})
	expect(t, err, `the kernel refuses "4194306" for pids.max`)
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestAQuotaThrottlesAndIsCounted(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "throttled")
	w := startWorker(t, "burn")
	w.putInto(t, g.Dir())
	if err := g.Apply(l, Limits{NanoCPUs: 200_000_000}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	var first, last Counters
	waitFor(t, g, func(c Counters) bool { first = c; return c.NrPeriods > 3 })
	began := time.Now()
	waitFor(t, g, func(c Counters) bool { last = c; return c.NrPeriods >= first.NrPeriods+20 })
	share := float64(last.UsageUsec-first.UsageUsec) / float64(time.Since(began).Microseconds())
	if throttled := last.NrThrottled - first.NrThrottled; throttled < 15 {
		t.Errorf("throttled in %d of 20 periods", throttled)
	}
	// Two seconds read at no period's edge: a tenth of a period more or less.
	if share < 0.17 || share > 0.23 {
		t.Errorf("got %.3f of a CPU, want 0.2", share)
	}
	if last.ThrottledUsec <= first.ThrottledUsec {
		t.Errorf("throttled for %d µs", last.ThrottledUsec-first.ThrottledUsec)
	}
}

func waitFor(t *testing.T, g *Group, holds func(Counters) bool) {
	t.Helper()
	err := until(30*time.Second, func() (bool, error) {
		c, err := g.Counters()
		return holds(c), err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnOOMKillIsToldAndCounted(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	for _, who := range []string{"itself", "child"} {
		t.Run(who, func(t *testing.T) {
			l := newLedger(t)
			g := newGroup(t, l, probe(t), "oom-"+who)
			w := startWorker(t, "hog "+who)
			w.putInto(t, g.Dir())
			if err := g.Apply(l, Limits{Memory: 16 * mib, MemorySwap: 16 * mib}); err != nil {
				t.Fatal(err)
			}
			kills := g.Watch(t.Context())
			w.begin()
			select {
			case n := <-kills:
				if n != 1 {
					t.Errorf("told of %d kills, want 1", n)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("no kill was told")
			}
			if who == "itself" {
				expectKilled(t, w)
			} else if line, _ := w.out.ReadString('\n'); line != "child: signal: killed\n" {
				t.Errorf("the parent says %q", line)
			}
			// A dying process may go over the limit by some pages.
			c, err := g.Counters()
			if err != nil || c.MemoryEvents.OOMKill != 1 || c.MemoryEvents.Max == 0 || c.MemoryPeak > 17*mib || c.MemoryPeak < 15*mib {
				t.Errorf("%+v (%v)", c, err)
			}
		})
	}
}

// The kernel sends its notification late or, when the group is removed first, not
// at all: the last reading makes up for it.
func TestAKillRightBeforeTheEndIsNotMissed(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "late")
	w := startWorker(t, "hog")
	w.putInto(t, g.Dir())
	if err := g.Apply(l, Limits{Memory: 16 * mib, MemorySwap: 16 * mib}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextOf(t)
	kills := g.Watch(ctx)
	w.begin()
	expectKilled(t, w)
	cancel()
	last := uint64(0)
	for n := range kills {
		last = n
	}
	if last != 1 {
		t.Errorf("told of %d kills", last)
	}
}

func TestAWatchThatBeginsLateTellsWhatWas(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "before")
	w := startWorker(t, "hog")
	w.putInto(t, g.Dir())
	if err := g.Apply(l, Limits{Memory: 16 * mib, MemorySwap: 16 * mib}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	expectKilled(t, w)
	select {
	case n := <-g.Watch(t.Context()):
		if n != 1 {
			t.Errorf("told of %d kills", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("not told")
	}
}

func TestAForkBeyondThePidsLimitIsRefusedAndCounted(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "pids")
	w := startWorker(t, "fork 60")
	w.putInto(t, g.Dir())
	if err := g.Apply(l, Limits{PidsLimit: 30}); err != nil {
		t.Fatal(err)
	}
	w.begin()
	if line, _ := w.out.ReadString('\n'); !strings.Contains(line, "resource temporarily unavailable") {
		t.Errorf("worker says %q", line)
	}
	c, err := g.Counters()
	if err != nil || c.PidsEventsMax == 0 || c.PidsCurrent > 30 || c.PidsPeak > 30 {
		t.Errorf("%+v (%v)", c, err)
	}
}

// A group that passes controllers on can't hold processes, and the other way
// round: the step fails, the group is made all the same, and a limit says why not.
func TestAParentWithProcessesPassesNothingOn(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	h := probe(t)
	parent := h.Dir("/" + testInstance)
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Rmdir(parent) })
	w := startWorker(t, "wait")
	w.putInto(t, parent)
	l := newLedger(t)
	g := newGroup(t, l, h, "busy")
	err := g.Apply(l, Limits{PidsLimit: 5})
	var fault *steps.Fault
	if !errors.As(err, &fault) || !errors.Is(err, unix.EBUSY) || !strings.Contains(errors.Unwrap(fault).Error(), "processes sit in /"+testInstance) {
		t.Errorf("got %v: %v", err, errors.Unwrap(fault))
	}
	failed := false
	for _, r := range l.Records() {
		failed = failed || r.Kind == KindControllers && r.State == steps.Failed
	}
	if !failed {
		t.Error("the refused step is not recorded as failed")
	}
	_ = w.Process.Kill()
	_ = w.Wait()
}

func TestAKernelWithoutSwapAccountingIsWarnedOf(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV2)
	l := newLedger(t)
	g := newGroup(t, l, probe(t), "swap")
	limits := Limits{Memory: 32 * mib}
	if got := g.Warnings(limits); len(got) > 0 {
		t.Errorf("warned although memory.swap.max is there: %q", got)
	}
	// A directory with the one file stands for a group of such a kernel.
	without := t.TempDir()
	if err := os.WriteFile(filepath.Join(without, "memory.max"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := g.host
	h.Mountpoint = filepath.Dir(without)
	bare := Open(h, "/"+filepath.Base(without))
	if got := bare.Warnings(limits); len(got) != 1 || !strings.Contains(got[0], "Memory limited without swap") {
		t.Errorf("warned %q", got)
	}
	if err := bare.Apply(l, limits); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(filepath.Join(without, "memory.max")); !bytes.Equal(text, []byte("33554432")) {
		t.Errorf("memory.max holds %q", text)
	}
	if exists(filepath.Join(without, "memory.swap.max")) {
		t.Error("memory.swap.max was made")
	}
}
