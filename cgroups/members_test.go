package cgroups

import (
	"os"
	"slices"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

func TestEveryProcessIsAMemberOfTheRoot(t *testing.T) {
	require.Needs(t, require.Linux)
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if h.Mode == None {
		require.Lacks(t, "no cgroups here")
	}
	pids, err := h.Members("/")
	if err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Errorf("this process is not among %d, %v", len(pids), err)
	}
	if !slices.IsSorted(pids) || len(slices.Compact(slices.Clone(pids))) != len(pids) {
		t.Errorf("not in order, or twice: %v", pids)
	}
	if pids, err := h.Members("/minidock-00000000/none"); len(pids) != 0 || err != nil {
		t.Errorf("of a group that is not there: %v, %v", pids, err)
	}
}
