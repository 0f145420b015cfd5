package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
)

// What a monitor may cost while its container does nothing: proportional memory
// (proc_pid_smaps(5): pages that others have, too, count in part), and wake-ups.
const (
	mostPSS     = 8 << 20
	mostWakeUps = 1
	idleTime    = 5 * time.Second
)

func TestAnIdleMonitorSleepsAndIsSmall(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	require.Layers(t, "nothing in it depends on cgroup v2", "native")
	w := newWorld(t)
	w.importProbe()
	var monitors []int
	for i := range 10 {
		name := fmt.Sprintf("idle%d", i)
		w.must("run", "-d", "--name", name, "probe", "/probe", "ignore-term")
		monitors = append(monitors, monitorOf(name))
	}
	w.eventually(func() bool { return most(wakeUps(t, monitors, time.Second)) == 0 }, "the monitors have come to rest")
	// Something may happen once, such as a collection of garbage; not again and again.
	woken := wakeUps(t, monitors, idleTime)
	for range 2 {
		if most(woken) > mostWakeUps {
			woken = wakeUps(t, monitors, idleTime)
		}
	}
	var sizes []int
	for i, pid := range monitors {
		size := number(t, filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"), "Pss") << 10
		sizes = append(sizes, size)
		if size > mostPSS || woken[i] > mostWakeUps {
			t.Errorf("a monitor has a PSS of %d bytes and was woken %d times in %s", size, woken[i], idleTime)
		}
	}
	t.Logf("ten monitors: PSS %d to %d KiB each; wake-ups in %s: %v", -most(negated(sizes))>>10, most(sizes)>>10, idleTime, woken)
}

func most(list []int) int {
	highest := list[0]
	for _, n := range list {
		highest = max(highest, n)
	}
	return highest
}

func negated(list []int) (all []int) {
	for _, n := range list {
		all = append(all, -n)
	}
	return all
}

// wakeUps counts how often each process went to sleep meanwhile, which it does
// after each time that it was woken: proc_pid_status(5), voluntary_ctxt_switches.
func wakeUps(t *testing.T, pids []int, meanwhile time.Duration) (counts []int) {
	t.Helper()
	for _, pid := range pids {
		counts = append(counts, -sleeps(t, pid))
	}
	time.Sleep(meanwhile)
	for i, pid := range pids {
		counts[i] += sleeps(t, pid)
	}
	return counts
}

func sleeps(t *testing.T, pid int) (sum int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	for _, status := range threads {
		sum += number(t, status, "voluntary_ctxt_switches")
	}
	return sum
}

// number reads a line as in "Pss:  123 kB".
func number(t *testing.T, path, name string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+)`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no %s", path, name)
	}
	n, _ := strconv.Atoi(string(found[1])) // Digits, as matched.
	return n
}
