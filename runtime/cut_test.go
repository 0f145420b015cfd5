package runtime

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// madeUp is an installation that holds one container, without anything of it in
// the kernel: its first process is this test.
func madeUp(t *testing.T) (Layout, string) {
	t.Helper()
	dir := t.TempDir()
	l := Layout{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Instance: "minidock-made-up"}
	id := strings.Repeat("0123456789abcdef", 4)
	for _, d := range []string{l.Container(id), l.RunContainer(id), l.Names()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join("..", "containers", id), filepath.Join(l.Names(), "web")); err != nil {
		t.Fatal(err)
	}
	start, _, err := processStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	now, patience := time.Now().UTC(), 3
	counters := cgroups.Counters{UsageUsec: 12345, MemoryPeak: 1 << 20}
	save(t, filepath.Join(l.Container(id), configFile), Config{
		ID: id, Name: "web", Created: now, Image: "probe", Args: []string{"/probe", "say", `a "word"`}, Env: []string{"A=1", "PATH=/bin"},
		Labels: map[string]string{"stage": "test"}, StopTimeout: &patience, Restart: RestartPolicy{Name: "on-failure", MaximumRetryCount: 3},
		Ulimits: []Ulimit{{"nofile", 10, 20}}, Limits: cgroups.Limits{Memory: 64 << 20},
	})
	save(t, filepath.Join(l.Container(id), exitFile), Exit{ExitCode: 3, StartedAt: now, FinishedAt: now, Cgroup: &counters})
	save(t, filepath.Join(l.Container(id), lastFile), LastRun{StartedAt: now, Boot: bootID(), RestartCount: 2})
	save(t, filepath.Join(l.RunContainer(id), liveFile), Live{Pid: os.Getpid(), PidStart: start, Monitor: 1, StartedAt: now})
	save(t, filepath.Join(l.Container(id), storyFile), []steps.Record{{Step: steps.Step{Kind: "mount", Target: "/m"}, N: 1, State: steps.Undone}})
	return l, id
}

func save(t *testing.T, path string, v any) {
	t.Helper()
	if err := writeJSON(path, v, false); err != nil {
		t.Fatal(err)
	}
}

// A state file that was cut short, wherever, is named by every command that needs
// it, and nothing is done to its container.
func TestAStateFileThatWasCutShortIsNamed(t *testing.T) {
	l, id := madeUp(t)
	if _, err := Find(l, "web"); err != nil {
		t.Fatalf("the whole state: %v", err)
	}
	for _, path := range []string{
		filepath.Join(l.Container(id), configFile), filepath.Join(l.Container(id), exitFile),
		filepath.Join(l.Container(id), lastFile), filepath.Join(l.RunContainer(id), liveFile),
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			eachCut(t, path, func(t *testing.T, length int) {
				for verb, do := range verbs(l) {
					if length%16 == 0 || readers[verb] {
						needName(t, verb, path, do())
					}
				}
			})
		})
	}
	if c, err := Find(l, "web"); err != nil || !c.Running() {
		t.Errorf("after all that the container runs no more: %v", err)
	}
}

// readers are the verbs that between them read the state in every way; they are
// tried with every length, the others with some.
var readers = map[string]bool{"ps -a": true, "ps": true, "inspect": true, "find ID": true, "rm -f": true}

// verbs are what a user may do with the container, by its name and by its ID.
func verbs(l Layout) map[string]func() error {
	const id = "0123456789ab"
	return map[string]func() error{
		"ps -a":   func() error { _, err := List(l); return err },
		"ps":      func() error { _, err := ListRunning(l); return err },
		"inspect": func() error { return findAndInspect(l, "web") },
		"find ID": func() error { return findAndInspect(l, id) },
		"start":   func() error { _, err := Start(l, "web", Streams{Detach: true}); return err },
		"exec": func() error {
			_, err := Exec(l, "web", ExecOptions{Command: []string{"/probe"}}, Streams{})
			return err
		},
		"stop":    func() error { return Stop(l, "web", 0, nil, nil) },
		"kill":    func() error { return Kill(l, "web", 0, nil) },
		"pause":   func() error { return Pause(l, "web", nil) },
		"wait":    func() error { _, err := Wait(l, "web"); return err },
		"rename":  func() error { return Rename(l, "web", "other", nil) },
		"update":  func() error { return Update(l, "web", Changes{}) },
		"rm -f":   func() error { return Remove(l, id, true, nil) },
		"explain": func() error { _, err := Story(l, "web"); return err },
		"boot":    func() error { return Boot(l, func(*Container) {}) },
		"halt":    func() error { return Halt(l, func(*Container) {}) },
	}
}

func findAndInspect(l Layout, ref string) error {
	c, err := Find(l, ref)
	if err == nil {
		_, err = Inspect(c)
	}
	return err
}

func needName(t *testing.T, verb, path string, err error) {
	t.Helper()
	var fault *steps.Fault
	if err == nil || !strings.Contains(err.Error(), path) || !errors.As(err, &fault) || fault.Hint == "" {
		t.Errorf("%s: error %v", verb, err)
	}
}

// eachCut does something with a file cut short at every length at which it is not
// whole JSON any more; that is all but the one that lacks its last newline.
func eachCut(t *testing.T, path string, do func(t *testing.T, length int)) {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) - 1 {
		if json.Valid(whole[:n]) {
			t.Fatalf("%d bytes of %s are whole", n, path)
		}
		overwrite(t, path, whole[:n])
		if do(t, n); t.Failed() {
			t.Fatalf("cut to %d of %d bytes:\n%s", n, len(whole), whole[:n])
		}
	}
	overwrite(t, path, whole)
}

func overwrite(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAStoryThatWasCutShortIsNamed(t *testing.T) {
	l, id := madeUp(t)
	if err := os.Remove(filepath.Join(l.RunContainer(id), liveFile)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(l.Container(id), storyFile)
	eachCut(t, path, func(t *testing.T, _ int) {
		_, err := Story(l, "web")
		needName(t, "explain", path, err)
	})
}

// JSON that is whole and says something else is named, too: it may have been
// edited by hand.
func TestStateOfAnotherMeaningIsNamed(t *testing.T) {
	l, id := madeUp(t)
	path := filepath.Join(l.Container(id), configFile)
	for _, text := range []string{`{}`, `null`, `[]`, `7`, `{"ID":"` + id + `"}`, `{"ID":"other","Args":["/probe"]}`, `{"ID":7}`} {
		overwrite(t, path, []byte(text))
		for verb, do := range verbs(l) {
			needName(t, verb+" of "+text, path, do())
		}
	}
}

// A ledger that was cut short has lost its last steps and no others: what was
// written before an act is there whole, or its act never began.
func TestALedgerThatWasCutShortHoldsItsFirstSteps(t *testing.T) {
	l, id := madeUp(t)
	paths := l.Ledger(id)
	ledger, err := steps.Open(paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, target := range []string{"/a", "/b", "/c"} {
		step := steps.Step{Kind: "fifo", Target: filepath.Join(t.TempDir(), target), Why: `say "why"`, Lifetime: steps.Lifetime(i % 2)}
		if err := ledger.Do(step, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	all := ledger.Records()
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{paths.Boot, paths.Kept} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range whole {
			overwrite(t, path, whole[:n])
			holdsNothingElse(t, paths, all)
			if t.Failed() {
				t.Fatalf("%s cut to %d of %d bytes", path, n, len(whole))
			}
		}
		overwrite(t, path, whole)
	}
}

// holdsNothingElse opens the ledger as every command does, and undoes what it says.
func holdsNothingElse(t *testing.T, paths steps.Paths, all []steps.Record) {
	t.Helper()
	records, err := steps.Load(paths)
	if err != nil {
		t.Error(err)
	}
	for _, r := range records {
		if was := all[r.N-1]; r.Target != was.Target || r.Kind != was.Kind {
			t.Errorf("step %d is %s %s", r.N, r.Kind, r.Target)
		}
	}
	ledger, err := steps.Open(paths, nil)
	if err != nil {
		t.Error(err)
		return
	}
	_ = ledger.Pending(Undos(), steps.Boot, steps.Kept)
	if err := ledger.Close(); err != nil {
		t.Error(err)
	}
}
