package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/leftover"
	"github.com/minidock/minidock/runtime"
)

// newWorld gives a Go test what setUp gives a script: a root directory of its
// own, and a look at the end whether anything is left.
func newWorld(t *testing.T) *world {
	t.Helper()
	base, err := os.MkdirTemp("/var/tmp", "minidock-test-")
	if err != nil {
		t.Fatal(err)
	}
	layout, err := runtime.LayoutOf(filepath.Join(base, "root"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{programs: binaries(t), t: t, layout: layout, ties: []string{base, layout.Instance}}
	w.before = leftover.Snapshot(w.ties...)
	t.Cleanup(func() { w.tearDown(base) })
	return w
}

// importProbe makes the image "probe" out of the test program.
func (w *world) importProbe() {
	w.t.Helper()
	dir := w.t.TempDir()
	program, err := os.ReadFile(w.probe)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "probe"), program, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.must("image", "import", dir, "probe")
}

// command prepares a minidock command in this world.
func (w *world) command(args ...string) *exec.Cmd {
	cmd := exec.Command(w.minidock, args...)
	cmd.Env = append(os.Environ(), "MINIDOCK_ROOT="+w.layout.Root)
	return cmd
}

// must runs a command that has to succeed, and returns its output.
func (w *world) must(args ...string) string {
	w.t.Helper()
	out, errOut, code := w.run(args...)
	if code != 0 {
		w.t.Fatalf("minidock %s: exit status %d\n%s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// run runs a command to its end.
func (w *world) run(args ...string) (out, errOut string, code int) {
	w.t.Helper()
	cmd := w.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		w.t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// inspect returns the container's inspection.
func (w *world) inspect(name string) runtime.Inspection {
	w.t.Helper()
	var list []runtime.Inspection
	if err := json.Unmarshal([]byte(w.must("inspect", name)), &list); err != nil || len(list) != 1 {
		w.t.Fatalf("inspect %s: %v", name, err)
	}
	return list[0]
}

// background starts a container and returns when its program runs.
func (w *world) background(name string, args ...string) {
	w.t.Helper()
	cmd := w.command(append([]string{"run", "--name", name}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	w.eventually(func() bool {
		out, _, code := w.run("inspect", "--format", "{{.State.Running}}", name)
		return code == 0 && strings.TrimSpace(out) == "true"
	}, name+" runs; "+stderr.String())
}

// eventually waits for what is under way.
func (w *world) eventually(holds func() bool, what string) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("after %s still not: %s", patience, what)
		}
	}
}
