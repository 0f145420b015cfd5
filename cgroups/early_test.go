package cgroups

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

func earlyLedger(t *testing.T) *steps.Ledger {
	t.Helper()
	dir := t.TempDir()
	l, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot"), Kept: filepath.Join(dir, "kept")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestAnnouncingAMoveTellsTheWriteAndMovesNobody(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	dir := groupOfCaller(mountpoint)
	if dir == "" {
		require.Lacks(t, "no cgroup version 2 tree in which this process is to be seen")
	}
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	l := earlyLedger(t)
	if err := AnnounceMove(l); err != nil {
		t.Fatal(err)
	}
	records := l.Records()
	want := writeCall(filepath.Join(dir, "cgroup.procs"), "0")
	if len(records) != 1 || records[0].Call[0] != want {
		t.Errorf("told %v; want %s", records, want)
	}
	if pending := l.Pending(Undos(), steps.Boot, steps.Kept); len(pending) > 0 {
		t.Errorf("there is something to undo: %v", pending)
	}
	// Another move comes after the announced one: the kernel does one at a time.
	if err := overwrite(filepath.Join(dir, "cgroup.procs"), "0"); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile("/proc/self/cgroup"); err != nil || string(after) != string(before) {
		t.Errorf("was in %s, is in %s, %v", before, after, err)
	}
}

func TestWithoutAVersion2TreeNobodysGroupIsFound(t *testing.T) {
	if got := groupOfCaller(t.TempDir()); got != "" {
		t.Errorf("found %s", got)
	}
}

func TestEmptyGroupsAreRemovedAtOnceAndFullOnesStay(t *testing.T) {
	top := t.TempDir()
	empty, full, gone := filepath.Join(top, "empty"), filepath.Join(top, "full"), filepath.Join(top, "gone")
	if err := os.MkdirAll(filepath.Join(full, "child"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if left := removeEmpty([]string{empty, full, gone}); strings.Join(left, " ") != full {
		t.Errorf("left %v; want %s", left, full)
	}
	if exists(empty) || !exists(full) {
		t.Error("the empty one stays, or the full one went")
	}
}
