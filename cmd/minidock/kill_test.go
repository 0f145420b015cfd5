package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

// Whoever is killed, at whichever step of a run: the commands that follow show
// no container that is not there, give the name back, and take the rest back.
// That nothing is left in the kernel, newWorld looks for itself.
func TestKilledAtAnyStepNothingIsLeft(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	stride := 4
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		stride = 20 // A sample: an emulated machine takes seconds for each command.
	}
	for _, victim := range []string{"command", "monitor"} {
		t.Run(victim, func(t *testing.T) {
			w := newWorld(t)
			w.importProbe()
			for step := 1; step <= 61; step += stride {
				w.killAt(victim, step)
				if out := w.must("ps", "-a"); strings.Count(out, "\n") > 2 {
					t.Errorf("killed at step %d, then ps -a shows\n%s", step, out)
				}
				w.must("rm", "-f", "victim")
				w.must("system", "cleanup")
				if out := w.must("system", "cleanup", "--dry-run"); out != "nothing left behind\n" {
					t.Errorf("killed at step %d, then after cleanup\n%s", step, out)
				}
				w.must("run", "--rm", "--name", "victim", "probe", "/probe", "exit", "0")
			}
		})
	}
}

// killAt runs a container and kills the command or the monitor when it hears of
// the step: then, or a little later.
func (w *world) killAt(victim string, step int) {
	w.t.Helper()
	cmd := w.command("run", "--explain", "--name", "victim", "probe", "/probe", "ignore-term")
	told, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	begins := regexp.MustCompile(fmt.Sprintf(`^ ?%d\. `, step))
	for lines := bufio.NewScanner(told); lines.Scan(); {
		if !begins.MatchString(lines.Text()) {
			continue
		}
		pid := cmd.Process.Pid
		if victim == "monitor" {
			if pid = monitorOf("victim"); pid == 0 {
				pid = cmd.Process.Pid // Not there yet: the command is all there is.
			}
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			w.t.Fatal(err)
		}
		break
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // Killed, or told that the monitor was.
}

// monitorOf finds the monitor of a container by its title; 0 where there is none.
func monitorOf(name string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if strings.HasPrefix(string(text), "minidock: monitor "+name+"\x00monitor\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}
