package leftover

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
)

// watched is a test that only notes its failures.
type watched struct {
	testing.TB
	failures int
}

func (w *watched) Helper()               {}
func (w *watched) Errorf(string, ...any) { w.failures++ }

func found(objects []Object, text string) bool {
	return slices.ContainsFunc(objects, func(o Object) bool { return strings.Contains(o.String(), text) })
}

func TestCompareCountsTwins(t *testing.T) {
	a, b := Object{Kind: "mount", Name: "/a"}, Object{Kind: "mount", Name: "/b"}
	for _, c := range []struct {
		before, after, want []Object
	}{
		{nil, nil, nil},
		{[]Object{a}, []Object{a}, nil},
		{[]Object{a}, nil, nil},
		{[]Object{a}, []Object{b}, []Object{b}},
		{[]Object{a}, []Object{a, a}, []Object{a}},
	} {
		if got := Compare(c.before, c.after); !slices.Equal(got, c.want) {
			t.Errorf("%v to %v leaves %v", c.before, c.after, got)
		}
	}
}

func TestMountsAreFoundByTheirTie(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	dir := t.TempDir()
	before := Snapshot(dir)
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatal(err)
	}
	left := Compare(before, Snapshot(dir))
	other := Snapshot("no such tie")
	if err := syscall.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].String() != "mount "+dir+" (tmpfs)" {
		t.Errorf("found %v", left)
	}
	if len(other) > 0 {
		t.Errorf("another tie finds %v", other)
	}
	Settle(t, before, dir)
}

func TestProcessesAreFoundByTheirEnvironment(t *testing.T) {
	require.Needs(t, require.Linux)
	dir := t.TempDir()
	program := filepath.Join(dir, "minidock-sleeper")
	if err := os.Symlink("/bin/cat", program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = []string{"MINIDOCK_ROOT=/tie/of/this/test"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := Snapshot("/tie/of/this/test")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	left := Compare(before, Snapshot("/tie/of/this/test"))
	if !found(left, "minidock-sleeper") {
		t.Errorf("found %v", left)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	Settle(t, before, "/tie/of/this/test")
}

func TestWhatStaysFailsTheTest(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	dir := filepath.Join("/run", "minidock-leftover-test")
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &watched{TB: t}
	before := Snapshot("minidock-leftover-test")
	if err := os.MkdirAll(dir+"/ledgers", 0o700); err != nil {
		t.Fatal(err)
	}
	Settle(w, before, "minidock-leftover-test")
	if w.failures > 0 {
		t.Error("an empty run directory counts")
	}
	if err := os.WriteFile(dir+"/ledgers/x.jsonl", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	settle(w, 100*time.Millisecond, before, "minidock-leftover-test")
	if w.failures != 1 {
		t.Errorf("a ledger left behind failed the test %d times", w.failures)
	}
}

func TestGroupsAndNamespacesAreFound(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	group := "/sys/fs/cgroup/minidock-leftover-test"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		group = "/sys/fs/cgroup/pids/minidock-leftover-test"
	}
	before := Snapshot("minidock-leftover-test")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	if left := Compare(before, Snapshot("minidock-leftover-test")); !found(left, "cgroup "+group) {
		t.Errorf("found %v", left)
	}
}

func TestTouchedCanariesFailTheTest(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	dir, instance := t.TempDir(), "minidock-canary-test"
	look := Canaries(t, dir, instance)
	w := &watched{TB: t}
	look(w)
	if w.failures > 0 {
		t.Error("untouched canaries count as touched")
	}
	for i, touch := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "containers", "foreign", "file"), nil, 0o600) },
		func() error { return os.Remove("/run/" + instance + "-foreign/ledgers/foreign.jsonl") },
		func() error {
			return syscall.Mount("none", filepath.Join(dir, "merged"), "", syscall.MS_REMOUNT, "size=8k")
		},
	} {
		if err := touch(); err != nil {
			t.Fatal(err)
		}
		w.failures = 0
		look(w)
		if w.failures != i+1 {
			t.Errorf("%d canaries are touched, %d are found", i+1, w.failures)
		}
	}
}
