package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

func TestAVolatileMountIsWritableToldAndLeavesNothing(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Overlay)
	dir := t.TempDir()
	layer := makeLayer(t, filepath.Join(t.TempDir(), "layer"), map[string]string{"a": "lower"})
	ledger := newLedger(t, dir)
	if err := MountVolatile(ledger, []string{layer}, dir); err != nil {
		t.Fatal(err)
	}
	merged := filepath.Join(dir, "merged")
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(merged))
	if err != nil || len(mounts) != 1 || !strings.Contains(mounts[0].VFSOptions, "volatile") {
		t.Errorf("mounted %v, %v; want the option volatile", mounts, err)
	}
	mustMake(t, filepath.Join(merged, "a"), "written", 0o644)
	wantText(t, filepath.Join(merged, "a"), "written")
	wantText(t, filepath.Join(layer, "a"), "lower")
	records := ledger.Records()
	if told := records[len(records)-1].Call[0]; !strings.Contains(told, ",volatile") {
		t.Errorf("told %s; want the option volatile in it", told)
	}
	if err := ledger.Undo(Undos(), steps.Boot, steps.Kept); err != nil {
		t.Fatal(err)
	}
	wantNotMountedBelow(t, dir)
	for _, path := range writablePaths(dir) {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s stays: %v", path, err)
		}
	}
}
