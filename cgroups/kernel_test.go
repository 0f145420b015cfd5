package cgroups

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// testInstance keeps these tests apart from an installation and from other tests.
const testInstance = "minidock-7e57c6c6"

// load is what this test binary does when it is started as a process to be put
// into a group.
const load = "MINIDOCK_TEST_LOAD"

func TestMain(m *testing.M) {
	switch kind, argument, _ := strings.Cut(os.Getenv(load), " "); kind {
	case "":
		os.Exit(m.Run())
	case "apply":
		os.Exit(applyLikeRunc(argument))
	case "create":
		os.Exit(createLikeMonitor(argument))
	case "churn":
		os.Exit(churn(argument))
	default:
		os.Exit(work(kind, argument))
	}
}

// work waits until it is told, so that it can be put into a group first.
func work(kind, argument string) int {
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	switch kind {
	case "burn":
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		}
	case "hog":
		return hog(argument)
	case "fork":
		return fork(argument)
	case "wait":
		time.Sleep(time.Minute)
	}
	return 0
}

// hog takes memory for good; that of a child process if the argument says so.
func hog(argument string) int {
	if argument == "child" {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), load+"=hog")
		cmd.Stdin = strings.NewReader("\n")
		err := cmd.Run()
		fmt.Println("child:", err)
		return 0
	}
	memory, err := unix.Mmap(-1, 0, 256*mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 3
	}
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	return 0
}

// fork starts processes until one is refused, and says how many it got.
func fork(argument string) int {
	want, _ := strconv.Atoi(argument)
	started := 0
	for range want {
		pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, nil)
		if err != nil {
			fmt.Println("refused:", err)
			break
		}
		started++
		defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	}
	fmt.Println("started:", started)
	return 0
}

// worker is a process of this binary, waiting to begin.
type worker struct {
	*exec.Cmd
	in  *os.File
	out *bufio.Reader
}

func startWorker(t *testing.T, what string) *worker {
	t.Helper()
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{Cmd: exec.Command("/proc/self/exe"), in: ours}
	w.Env = append(os.Environ(), load+"="+what)
	w.Stdin = theirs
	w.Stderr = os.Stderr
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.out = bufio.NewReader(out)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() {
		_ = w.Process.Kill()
		_ = w.Wait()
		_ = ours.Close()
	})
	if line, err := w.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("worker says %q (%v)", line, err)
	}
	return w
}

func (w *worker) begin() { _, _ = w.in.WriteString("\n") }

func (w *worker) putInto(t *testing.T, dir string) {
	t.Helper()
	if err := overwrite(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(w.Process.Pid)); err != nil {
		t.Fatal(err)
	}
}

func newLedger(t *testing.T) *steps.Ledger {
	t.Helper()
	dir := t.TempDir()
	l, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot"), Kept: filepath.Join(dir, "kept")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// newGroup makes a group that is taken back at the end of the test.
func newGroup(t *testing.T, l *steps.Ledger, h Host, id string) *Group {
	t.Helper()
	t.Cleanup(func() {
		if err := l.Undo(Undos(), steps.Boot); err != nil {
			t.Error(err)
		}
	})
	g, err := Create(l, h, "/"+testInstance+"/"+id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func probe(t *testing.T) Host {
	t.Helper()
	h, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// inUnified has the calling test see a version 2 tree at /sys/fs/cgroup, on hybrid
// hosts too: in a mount namespace of its thread, which ends with the test. On such
// a host the tree has no cpu, memory and pids controllers. The test must not use
// t.Run, which runs on other threads.
func inUnified(t *testing.T) Host {
	t.Helper()
	require.Needs(t, require.Root, require.Namespaces)
	if h := probe(t); h.Unified() {
		return h
	}
	goruntime.LockOSThread()
	for _, err := range []error{
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
		unix.Unmount(mountpoint, unix.MNT_DETACH),
		unix.Mount("none", mountpoint, "cgroup2", 0, ""),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return probe(t)
}

func TestProbeTellsWhatTheHostHas(t *testing.T) {
	require.Needs(t, require.Linux)
	h := probe(t)
	if h.CPUs < 1 || h.Memory < 16*mib {
		t.Errorf("%d processors, %d bytes", h.CPUs, h.Memory)
	}
	switch h.Mode {
	case Unified, None:
		if len(h.Legacy()) > 0 {
			t.Errorf("%s, with version 1 trees %v", h.Mode, h.Legacy())
		}
	case Hybrid, Legacy:
		if len(h.Legacy()) == 0 {
			t.Errorf("%s, without version 1 trees", h.Mode)
		}
	}
}

func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := Probe(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAUnifiedHostIsRecognised(t *testing.T) {
	h := inUnified(t)
	if !h.Unified() || h.Mode != Unified || len(h.dirs("/minidock/x")) != 1 || h.Dir("/minidock/x") != "/sys/fs/cgroup/minidock/x" {
		t.Errorf("%+v", h)
	}
}

func TestAGroupIsMadeToldAndTakenBack(t *testing.T) {
	h := inUnified(t)
	l := newLedger(t)
	g := newGroup(t, l, h, "made")
	if !exists(g.Dir()) {
		t.Fatal("no directory")
	}
	var kinds []string
	for _, r := range l.Records() {
		if r.State != steps.Done || r.Why == "" || len(r.Call) != 1 || len(r.Shell) != 1 {
			t.Errorf("step %+v", r)
		}
		kinds = append(kinds, string(r.Kind)+" "+r.Target)
	}
	if want := "shared-cgroup /" + testInstance + ",cgroup /" + testInstance + "/made"; !strings.HasPrefix(strings.Join(kinds, ","), want) {
		t.Errorf("told %q, want first %q", kinds, want)
	}
	if _, err := Create(l, h, g.Path()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	if err := l.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	if exists(g.Dir()) || exists(filepath.Dir(g.Dir())) {
		t.Error("something is left")
	}
	if err := undoGroup(g.Path()); err != nil {
		t.Errorf("a second undo: %v", err)
	}
}

func TestControllersArePassedOnAndToldAsTheyAre(t *testing.T) {
	h := inUnified(t)
	l := newLedger(t)
	newGroup(t, l, h, "one")
	newGroup(t, l, h, "two")
	told := map[string]int{}
	for _, r := range l.Records() {
		if r.Kind == KindControllers {
			told[r.Target]++
		}
	}
	atMost := map[string]int{"/": 1, "/" + testInstance: 2}
	for dir, most := range atMost {
		_, missing, err := controllersOf(h.Dir(dir))
		if err != nil || len(missing) > 0 {
			t.Errorf("%s does not pass on %v (%v)", dir, missing, err)
		}
		if n := told[filepath.Join(h.Dir(dir), "cgroup.subtree_control")]; n > most {
			t.Errorf("%s was told %d times", dir, n)
		}
	}
}

func TestAnUndoKillsWhoIsInTheGroupAndBelow(t *testing.T) {
	h := inUnified(t)
	l := newLedger(t)
	g := newGroup(t, l, h, "full")
	below := filepath.Join(g.Dir(), "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	one, two := startWorker(t, "wait"), startWorker(t, "wait")
	one.putInto(t, filepath.Dir(below))
	two.putInto(t, below)
	if err := l.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	expectKilled(t, one)
	expectKilled(t, two)
	if exists(g.Dir()) {
		t.Error("the group is left")
	}
}

func expectKilled(t *testing.T, w *worker) {
	t.Helper()
	_ = w.Wait()
	status, ok := w.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("process ended with %v, not killed", w.ProcessState)
	}
}

// Without cgroup.kill (Linux before 5.14, version 1) processes are killed one by
// one; those of other groups are left alone.
func TestKillingOneByOneTakesOnlyMembers(t *testing.T) {
	h := inUnified(t)
	l := newLedger(t)
	g, other := newGroup(t, l, h, "each"), newGroup(t, l, h, "other")
	in, out := startWorker(t, "wait"), startWorker(t, "wait")
	in.putInto(t, g.Dir())
	out.putInto(t, other.Dir())
	if err := killEach(g.Dir(), []int{in.Process.Pid, out.Process.Pid, 1 << 22}); err != nil {
		t.Fatal(err)
	}
	expectKilled(t, in)
	if pids, err := members(other.Dir()); err != nil || len(pids) != 1 {
		t.Errorf("the other group has %v (%v)", pids, err)
	}
}

func TestTheParentStaysAsLongAsAnotherContainerIsThere(t *testing.T) {
	h := inUnified(t)
	first, second := newLedger(t), newLedger(t)
	newGroup(t, first, h, "first")
	g := newGroup(t, second, h, "second")
	if err := first.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	if !exists(g.Dir()) {
		t.Fatal("the other container's group is gone")
	}
	if err := second.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Dir(g.Dir())) {
		t.Error("the parent is left, although it was made by another ledger")
	}
}

func TestAParentThatVanishesIsMadeAgain(t *testing.T) {
	h := inUnified(t)
	path := "/" + testInstance + "/again"
	t.Cleanup(func() {
		if err := undoGroup(path); err != nil {
			t.Error(err)
		}
	})
	if err := mkdirBelow(h, path); err != nil {
		t.Fatal(err)
	}
	if !exists(h.Dir(path)) {
		t.Error("no group")
	}
}

// churn makes groups and takes them back, again and again.
func churn(id string) int {
	h, err := Probe()
	for range 20 {
		if err != nil {
			break
		}
		err = churnOnce(h, id)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func churnOnce(h Host, id string) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	l, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot"), Kept: filepath.Join(dir, "kept")}, nil)
	if err != nil {
		return err
	}
	g, err := Create(l, h, "/"+testInstance+"/"+id)
	if err == nil && h.HasController("pids") {
		err = g.Apply(l, Limits{PidsLimit: 5})
	}
	return errors.Join(err, l.Undo(Undos(), steps.Boot), l.Close())
}

// Each takes the parent away when it finds it empty, and all need it.
func TestContainersThatComeAndGoTogetherDoNotDisturbEachOther(t *testing.T) {
	h := inUnified(t)
	var all []*exec.Cmd
	var outputs []*strings.Builder
	for i := range 4 {
		cmd, out := exec.Command("/proc/self/exe"), &strings.Builder{}
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=churn %d", load, i))
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all, outputs = append(all, cmd), append(outputs, out)
	}
	for i, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, outputs[i])
		}
	}
	if exists(h.Dir("/" + testInstance)) {
		t.Error("something is left")
	}
}

func TestTheMonitorMovesToAPlaceOfItsOwn(t *testing.T) {
	h := inUnified(t)
	if MonitorGroup(nil, h, "elsewhere") == nil {
		t.Error("a group that is not ours is taken")
	}
	before := ownGroup(t)
	leave := func() {
		if err := overwrite(filepath.Join(h.Dir(before), "cgroup.procs"), "0"); err != nil {
			t.Error(err)
		}
	}
	l := newLedger(t)
	t.Cleanup(func() {
		leave()
		if err := l.Undo(Undos(), steps.Boot); err != nil {
			t.Error(err)
		}
		if exists(h.Dir("/" + testInstance)) {
			t.Error("a group is left")
		}
	})
	if err := MonitorGroup(l, h, testInstance); err != nil {
		t.Fatal(err)
	}
	if got, want := ownGroup(t), "/"+testInstance+"/monitors"; got != want {
		t.Errorf("in %s, want %s", got, want)
	}
	if err := undoShared("/" + testInstance); err != nil {
		t.Errorf("a group that is in use: %v", err)
	}
	leave()
	if err := RemoveUnused(testInstance); err != nil || exists(h.Dir("/"+testInstance)) {
		t.Errorf("an unused group is left (%v)", err)
	}
	// Taken away between its making and the move.
	path := "/" + testInstance + "/monitors"
	if err := joinMonitors(h, path, filepath.Join(h.Dir(path), "cgroup.procs")); err != nil || ownGroup(t) != path {
		t.Errorf("in %s (%v)", ownGroup(t), err)
	}
}

func ownGroup(t *testing.T) string {
	t.Helper()
	text := readText("/proc/self/cgroup")
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path
		}
	}
	t.Fatalf("no version 2 group in %q", text)
	return ""
}

func TestCountersOfAGroupThatIsGoneAreAnError(t *testing.T) {
	h := inUnified(t)
	if c, err := Open(h, "/"+testInstance+"/none").Counters(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Open(Host{Mode: None}, "/minidock/none").Counters(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without cgroups: %v", err)
	}
}

// cpu.stat is there without the cpu controller.
func TestCPUTimeIsCounted(t *testing.T) {
	h := inUnified(t)
	g := newGroup(t, newLedger(t), h, "counted")
	w := startWorker(t, "burn")
	w.putInto(t, g.Dir())
	w.begin()
	var c Counters
	err := until(10*time.Second, func() (bool, error) {
		var err error
		c, err = g.Counters()
		return c.UsageUsec > 20_000, err
	})
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	if sum := c.UserUsec + c.SystemUsec; sum < c.UsageUsec*9/10 || sum > c.UsageUsec*11/10 {
		t.Errorf("user and system are %d of %d", sum, c.UsageUsec)
	}
}

// Nothing is passed on below a container's own group, so a group there lacks the
// files on every host.
func TestALimitWithoutItsControllerIsAFaultNotAFile(t *testing.T) {
	h := inUnified(t)
	l := newLedger(t)
	g := newGroup(t, l, h, "without")
	h.Controllers = strings.Fields(wanted)
	below := Open(h, g.Path()+"/below")
	if err := os.Mkdir(below.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	err := below.Apply(l, Limits{Memory: 32 * mib, MemorySwap: 32 * mib})
	var fault *steps.Fault
	if !errors.As(err, &fault) || !strings.Contains(fault.Msg, "the memory controller is not passed on") {
		t.Errorf("got %v", err)
	}
	if exists(filepath.Join(below.Dir(), "memory.max")) {
		t.Error("a file was made")
	}
	if w := below.Warnings(Limits{Memory: 32 * mib}); w != nil {
		t.Errorf("warned of swap, where memory is missing: %q", w)
	}
	gone := Open(h, g.Path()+"/gone")
	if err := gone.Apply(l, Limits{PidsLimit: 5}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a group that is gone: %v", err)
	}
}

func TestAWatchWithoutNotificationsEndsWithItsContext(t *testing.T) {
	h := inUnified(t)
	g := newGroup(t, newLedger(t), h, "quiet")
	select {
	case kills, open := <-g.Watch(t.Context()):
		t.Fatalf("told %d (%v)", kills, open)
	case <-time.After(20 * time.Millisecond):
	}
	ctx, cancel := contextOf(t)
	kills := g.Watch(ctx)
	cancel()
	for n := range kills {
		t.Errorf("told %d kills", n)
	}
}
