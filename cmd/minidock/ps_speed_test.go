package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/runtime"
)

// stoppedContainers are so many that an answer which looks at each is seen to be slow.
const stoppedContainers = 1000

// TestListingDoesNotPayForStoppedContainers holds ps against a ps with nothing to
// list. The bound is ten times its time; the best of several measurements counts,
// so that a busy machine can't fail it.
func TestListingDoesNotPayForStoppedContainers(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	require.Layers(t, "nothing in it depends on cgroup v2", "native")
	w := newWorld(t)
	empty := best(t, w, "ps")
	w.importProbe()
	w.run("run", "--name", "ended", "probe", "/probe", "exit", "3")
	w.multiply(t, "ended")
	beside := best(t, w, "ps")
	if beside > 10*empty {
		t.Errorf("ps takes %s beside %d stopped containers, and %s without", beside, stoppedContainers, empty)
	}
	if shown := strings.Count(w.must("ps", "-a"), "Exited (3)"); shown != stoppedContainers+1 {
		t.Errorf("ps -a shows %d containers", shown)
	}
	all := best(t, w, "ps", "-a")
	if all > 50*empty {
		t.Errorf("ps -a takes %s to show %d containers, and ps %s to show none", all, stoppedContainers, empty)
	}
	w.background("running", "probe", "/probe", "ignore-term")
	if running := w.must("ps", "--format", "{{.Names}}"); running != "running\n" {
		t.Errorf("ps shows %q", running)
	}
	t.Logf("ps: %s with nothing to list, %s beside %d stopped containers; ps -a: %s", empty, beside, stoppedContainers, all)
}

// best is the shortest time that a command took.
func best(t *testing.T, w *world, args ...string) time.Duration {
	t.Helper()
	shortest := time.Hour
	for range 7 {
		begin := time.Now()
		w.must(args...)
		shortest = min(shortest, time.Since(begin))
	}
	return shortest
}

// multiply copies the state of a stopped container. Logs and ledgers are fifos
// that nobody writes to: who reads one hangs.
func (w *world) multiply(t *testing.T, name string) {
	t.Helper()
	original, err := runtime.Find(w.layout, name)
	if err != nil {
		t.Fatal(err)
	}
	from := w.layout.Container(original.Config.ID)
	for i := range stoppedContainers {
		config := original.Config
		config.ID = strings.Repeat(string("0123456789abcdef"[i%16]), 58) + fmt.Sprintf("%06x", i)
		config.Name = "copy_" + config.ID[58:]
		dir := w.layout.Container(config.ID)
		t.Cleanup(func() { os.RemoveAll(dir); os.Remove(w.layout.Ledger(config.ID).Kept) })
		text, err := json.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		w.put(t, filepath.Join(dir, "config.json"), text)
		for _, file := range []string{"exit.json", "last.json", "story.json"} {
			if text, err := os.ReadFile(filepath.Join(from, file)); err == nil {
				w.put(t, filepath.Join(dir, file), text)
			}
		}
		for _, path := range []string{filepath.Join(dir, config.ID+"-json.log"), w.layout.Ledger(config.ID).Kept} {
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (w *world) put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
