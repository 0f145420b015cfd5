package main

import (
	"bufio"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

// A cp that is killed at any of its steps leaves at most a mount. The next cp
// takes it back, system cleanup does, and rm; the story of the run stays.
func TestKilledCopyLeavesNothing(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	w.must("run", "--name", "box", "probe", "/probe", "exit", "0")
	story := w.must("explain", "box")
	after := map[string]func(){
		"next": func() { w.must("cp", "box:/probe", t.TempDir()) },
		"cleanup": func() {
			if out := w.must("system", "cleanup"); !strings.Contains(out, "undone mount") {
				t.Errorf("cleanup found\n%s", out)
			}
		},
	}
	for name, then := range after {
		for _, step := range []string{`^ ?\d+\. mount`, `^ ?\d+\. view`, `done in .*`} {
			w.killCopy(step, syscall.SIGKILL)
			if name == "next" || strings.Contains(w.must("system", "cleanup", "--dry-run"), "mount") {
				then()
			}
			if out := w.must("system", "cleanup", "--dry-run"); out != "nothing left behind\n" {
				t.Errorf("killed at %s, after %s:\n%s", step, name, out)
			}
			if again := w.must("explain", "box"); again != story {
				t.Errorf("killed at %s, after %s the story is\n%s", step, name, again)
			}
		}
	}
	w.killCopy(`^ ?\d+\. view`, syscall.SIGKILL)
	w.must("rm", "box")
}

// An interrupted cp takes its mount back itself, and ends with the signal's status.
func TestInterruptedCopyTakesItsMountBack(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	w.must("run", "--name", "box", "probe", "/probe", "exit", "0")
	for signal, status := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		if code := w.killCopy(`^ ?\d+\. view`, signal); code != status {
			t.Errorf("%v: exit status %d", signal, code)
		}
		if out := w.must("system", "cleanup", "--dry-run"); out != "nothing left behind\n" {
			t.Errorf("%v leaves\n%s", signal, out)
		}
	}
}

// killCopy starts a cp that waits for its input, sends it a signal when it tells
// this, and returns its exit status.
func (w *world) killCopy(told string, signal syscall.Signal) int {
	w.t.Helper()
	in, out, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	defer out.Close()
	cmd := w.command("cp", "--explain", "-", "box:/")
	cmd.Stdin = in
	said, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	in.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	lines, tells := bufio.NewScanner(said), regexp.MustCompile(told)
	for lines.Scan() && !tells.MatchString(lines.Text()) {
	}
	if err := cmd.Process.Signal(signal); err != nil {
		w.t.Fatal(err)
	}
	for lines.Scan() {
	}
	_ = cmd.Wait() // Killed, as it was asked for.
	return cmd.ProcessState.ExitCode()
}
