package cgroups

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	runc "github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/cgroups/manager"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// applyLikeRunc does to a group what libcontainer does at a start. It runs in a
// process of its own, so that nothing but that is traced.
func applyLikeRunc(path string) int {
	rule := &devices.Rule{Type: 'c', Major: 1, Minor: 3, Permissions: "rwm", Allow: true}
	config := &runc.Cgroup{Path: path, Resources: &runc.Resources{Devices: []*devices.Rule{rule}}}
	m, err := manager.New(config)
	if err == nil {
		err = m.Apply(os.Getpid())
	}
	if err == nil {
		err = m.Set(config.Resources)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// createLikeMonitor does what a monitor does, and prints the calls that it tells.
func createLikeMonitor(id string) int {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot"), Kept: filepath.Join(dir, "kept")}, nil)
	if err != nil {
		return 1
	}
	h, err := Probe()
	if err != nil {
		return 1
	}
	err = MonitorGroup(l, h, testInstance)
	g, createErr := Create(l, h, "/"+testInstance+"/"+id)
	if err = errors.Join(err, createErr); err == nil && h.HasController("memory") {
		err = g.Apply(l, allLimits)
	}
	for _, r := range l.Records() {
		fmt.Println(strings.Join(r.Call, "\n"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// allLimits are those of a container with every flag.
var allLimits = Limits{
	CPUShares: 512, NanoCPUs: 250_000_000, CpusetCpus: "0", Memory: 64 * mib, MemorySwap: -1,
	MemoryHigh: 48 * mib, MemoryReservation: 8 * mib, PidsLimit: 20,
}

// traced runs this binary as what, and returns the mkdir and write calls on cgroup
// files that it makes, in [steps.Step.Call]'s notation, successful ones only, and
// what it prints.
func traced(t *testing.T, what string) (calls []string, output string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-y", "-s", "4096", "-e", "trace=mkdir,mkdirat,write", "-e", "signal=none", "-o", trace, "/proc/self/exe")
	// strace would start itself by that name.
	cmd.Args[len(cmd.Args)-1], _ = os.Executable()
	cmd.Env = append(os.Environ(), load+"="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if call := callOf(line); call != "" {
			calls = append(calls, call)
		}
	}
	return calls, string(out)
}

// callOf turns a line of strace's output into our notation: `12 write(5</sys/fs/cgroup/x/cgroup.procs>, "77", 2) = 2`.
func callOf(line string) string {
	_, call, _ := strings.Cut(strings.TrimSpace(line), " ")
	if !strings.Contains(call, mountpoint) || strings.Contains(call, "= -1 ") {
		return ""
	}
	if dir, ok := strings.CutPrefix(strings.TrimSpace(call), "mkdirat(AT_FDCWD"); ok {
		_, dir, _ = strings.Cut(dir, ", ")
		dir, _, _ = strings.Cut(dir, ",")
		return "mkdirat(AT_FDCWD, " + dir + ", 0755)"
	}
	_, rest, ok := strings.Cut(call, "write(")
	if !ok {
		return ""
	}
	_, rest, _ = strings.Cut(rest, "<")
	file, rest, _ := strings.Cut(rest, ">, ")
	if !strings.HasPrefix(file, mountpoint) {
		return ""
	}
	value := rest[:strings.LastIndex(rest, `"`)+1]
	if strings.HasSuffix(file, "cgroup.procs") && value != `"0"` {
		value = `"PID"`
	}
	return "write(" + steps.Quote(file) + ", " + value + ")"
}

func callsOf(list []steps.Step) []string {
	var calls []string
	for _, s := range list {
		for _, call := range s.Call {
			// Device programs and their checks are no files.
			if !strings.HasPrefix(call, "bpf(") {
				calls = append(calls, call)
			}
		}
	}
	return calls
}

func expectSameCalls(t *testing.T, told, done []string) {
	t.Helper()
	slices.Sort(told)
	slices.Sort(done)
	told, done = slices.Compact(told), slices.Compact(done)
	for _, call := range told {
		if !slices.Contains(done, call) {
			t.Errorf("told, not done: %s", call)
		}
	}
	for _, call := range done {
		if !slices.Contains(told, call) {
			t.Errorf("done, not told: %s", call)
		}
	}
	if t.Failed() {
		t.Logf("traced:\n%s", strings.Join(done, "\n"))
	}
}

func TestWhatWeDoIsWhatWeTell(t *testing.T) {
	require.Needs(t, require.Strace)
	inUnified(t)
	t.Cleanup(func() {
		if err := undoGroup("/" + testInstance + "/told"); err != nil {
			t.Error(err)
		}
	})
	done, told := traced(t, "create told")
	if len(done) < 4 {
		t.Errorf("the trace shows no more than %q", done)
	}
	expectSameCalls(t, strings.Split(strings.TrimSpace(told), "\n"), done)
}

func TestJoiningAUnifiedGroupIsToldAsLibcontainerDoesIt(t *testing.T) {
	require.Needs(t, require.Strace)
	h := inUnified(t)
	if len(h.Controllers) == 0 {
		require.Lacks(t, "this kernel has no controller for version 2")
	}
	g := newGroup(t, newLedger(t), h, "joined")
	told := callsOf(append(JoinSteps(h, g.Path()), DeviceSteps(h, g.Path(), []string{"c 1:3 rwm"})...))
	done, _ := traced(t, "apply "+g.Path())
	expectSameCalls(t, told, done)
}

func TestJoiningVersion1GroupsIsToldAsLibcontainerDoesIt(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV1, require.Strace)
	h := probe(t)
	path := "/" + testInstance + "/joined"
	l := newLedger(t)
	t.Cleanup(func() { _ = undoGroup(path) })
	for turn := range 2 {
		list := append(JoinSteps(h, path), DeviceSteps(h, path, []string{"c 1:3 rwm"})...)
		batch, err := l.Announce(list)
		if err != nil {
			t.Fatal(err)
		}
		done, _ := traced(t, "apply "+path)
		if err := batch.End(nil); err != nil {
			t.Fatal(err)
		}
		expectSameCalls(t, callsOf(list), done)
		if turn == 0 {
			// The second turn finds the parent, and tells that it makes it no more.
			if err := removeAll(h.dirs(path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	expectNothingLeft(t, h, path)
}

func expectNothingLeft(t *testing.T, h Host, path string) {
	t.Helper()
	for _, dir := range append(h.dirs(path), h.dirs(parentOf(path))...) {
		if exists(dir) {
			t.Errorf("%s is left", dir)
		}
	}
}

func TestVersion1GroupsAreCountedAndTakenBack(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV1)
	h := probe(t)
	path := "/" + testInstance + "/counted"
	t.Cleanup(func() {
		if err := undoGroup(path); err != nil {
			t.Error(err)
		}
		expectNothingLeft(t, h, path)
	})
	if _, err := Open(h, path).Counters(); err == nil {
		t.Error("a group that is not there is counted")
	}
	w := startWorker(t, "burn")
	for _, tree := range []string{"cpuacct", "memory", "pids", "freezer"} {
		dir := filepath.Join(h.Mountpoint, tree, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		w.putInto(t, dir)
	}
	w.begin()
	waitFor(t, Open(h, path), func(c Counters) bool { return c.UsageUsec > 10_000 && c.PidsCurrent > 0 })
	frozen := filepath.Join(h.Mountpoint, "freezer", path, "freezer.state")
	if err := overwrite(frozen, "FROZEN"); err != nil {
		t.Fatal(err)
	}
	if err := undoGroup(path); err != nil {
		t.Fatal(err)
	}
	expectKilled(t, w)
	if err := undoGroup(path); err != nil {
		t.Errorf("a second undo: %v", err)
	}
}

func TestOnAHybridHostNothingIsMadeByUs(t *testing.T) {
	require.Needs(t, require.Root, require.CgroupV1)
	h, l := probe(t), newLedger(t)
	if _, err := Create(l, h, "/"+testInstance+"/none"); err == nil {
		t.Error("made a group")
	}
	if err := MonitorGroup(l, h, testInstance); err != nil {
		t.Error(err)
	}
	err := Open(h, "/"+testInstance+"/none").Apply(l, Limits{Memory: 32 * mib})
	expect(t, err, "this host's memory controller is on cgroup v1; --memory needs cgroup v2")
	if err := Open(h, "/"+testInstance+"/none").Apply(l, Limits{PidsLimit: -1}); err != nil {
		t.Error(err)
	}
	if n := len(l.Records()); n > 0 {
		t.Errorf("%d steps were told", n)
	}
	expectNothingLeft(t, h, "/"+testInstance+"/none")
}

func TestWithoutCgroupsThereIsNothingToTell(t *testing.T) {
	h := Host{Mode: None, Mountpoint: t.TempDir()}
	if len(JoinSteps(h, "/minidock/x"))+len(DeviceSteps(h, "/minidock/x", nil))+len(h.dirs("/minidock/x")) > 0 {
		t.Error("steps in trees that are not there")
	}
	if err := MonitorGroup(nil, h, "minidock"); err != nil {
		t.Error(err)
	}
}

func TestDeviceRulesCloseAllAndOpenSome(t *testing.T) {
	h := Host{Mode: Legacy, Mountpoint: mountpoint}
	closed := DeviceSteps(h, "/minidock/x", []string{"c 1:5 rwm", "c 1:3 rwm", "c 1:3 rwm"})[0].Call
	if len(closed) != 3 || !strings.Contains(closed[0], "devices.deny\", \"a *:* rwm") || !strings.Contains(closed[1], "c 1:3 rwm") {
		t.Errorf("%q", closed)
	}
	open := DeviceSteps(h, "/minidock/x", []string{"c 1:5 rwm", allDevices})[0].Call
	if len(open) != 1 || !strings.Contains(open[0], "devices.allow\", \"a *:* rwm") {
		t.Errorf("%q", open)
	}
}

// The shell commands of a step do what its system calls do.
func TestTheToldShellCommandsDoTheSame(t *testing.T) {
	h := inUnified(t)
	if len(h.Controllers) == 0 {
		require.Lacks(t, "this kernel has no controller for version 2")
	}
	l := newLedger(t)
	g := newGroup(t, l, h, "shell")
	var script bytes.Buffer
	for _, r := range l.Records() {
		if !slices.Contains([]steps.Kind{KindGroup, KindShared, KindControllers}, r.Kind) {
			continue
		}
		fmt.Fprintln(&script, strings.Join(r.Shell, "\n"))
	}
	w := startWorker(t, "wait")
	for _, s := range JoinSteps(h, g.Path()) {
		fmt.Fprintln(&script, strings.ReplaceAll(strings.Join(s.Shell, "\n"), "PID", strconv.Itoa(w.Process.Pid)))
	}
	if err := l.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-e")
	cmd.Stdin = &script
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() {
		if err := undoGroup(g.Path()); err != nil {
			t.Error(err)
		}
	}()
	pids, err := members(g.Dir())
	if err != nil || len(pids) != 1 || pids[0] != w.Process.Pid {
		t.Errorf("in the group: %v (%v)", pids, err)
	}
}
