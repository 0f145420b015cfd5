package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
)

// actEnv makes the test binary act as the probe, so that each verb runs as a
// process of its own.
const actEnv = "MINIDOCK_TEST_ACT_AS_PROBE"

func TestMain(m *testing.M) {
	if os.Getenv(actEnv) == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

func probe(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	// The race detector otherwise waits a second at every exit.
	cmd.Env = append(os.Environ(), actEnv+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

type result struct {
	stdout, stderr string
	state          syscall.WaitStatus
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return result{out.String(), errOut.String(), cmd.ProcessState.Sys().(syscall.WaitStatus)}
}

func TestVerbsWriteAndEndAsAsked(t *testing.T) {
	file := t.TempDir() + "/file"
	for _, c := range []struct {
		args           []string
		stdin          string
		stdout, stderr string
		code           int
	}{
		{args: []string{"exit", "7"}, code: 7},
		{args: []string{"echo", "a  b", "c"}, stdout: "a  b c\n"},
		{args: []string{"cat"}, stdin: "in\nand out", stdout: "in\nand out"},
		{args: []string{"stdio", "O", "E"}, stdout: "O\n", stderr: "E\n"},
		{args: []string{"print-env", actEnv}, stdout: "1\n"},
		{args: []string{"print-env", "NOT_SET_ANYWHERE"}, code: 1},
		{args: []string{"touch", file}},
		{args: []string{"read", file}},
		{args: []string{"read", file + "-missing"}, code: 1, stderr: "probe: open " + file + "-missing: no such file or directory\n"},
		{args: []string{"sleep", "0.01"}, stdout: "ready\n"},
		{args: []string{"memhog", "3", "--step", "2"}, stdout: "2 MiB\n3 MiB\n"},
		{args: []string{"memhog", "1", "--child", "--exit", "5"}, stdout: "1 MiB\nchild: exit status 0\n", code: 5},
		{args: []string{"exit", "x"}, code: 2, stderr: "probe: exit needs a number, not x\n"},
		{args: []string{"signal", "65"}, code: 2, stderr: "probe: signals are numbered 1 to 64 (signal(7))\n"},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			cmd := probe(c.args...)
			cmd.Stdin = strings.NewReader(c.stdin)
			got := finish(t, cmd)
			if got.stdout != c.stdout || got.stderr != c.stderr || got.state.ExitStatus() != c.code {
				t.Errorf("got %q, %q, status %d", got.stdout, got.stderr, got.state.ExitStatus())
			}
		})
	}
}

func TestUnknownVerbNamesTheOthers(t *testing.T) {
	got := finish(t, probe("nonsense"))
	if got.state.ExitStatus() != 2 || !strings.Contains(got.stderr, "unknown verb nonsense") || !strings.Contains(got.stderr, "memhog MB") {
		t.Errorf("got %q, status %d", got.stderr, got.state.ExitStatus())
	}
}

func TestSignalKillsTheProcessWithThatSignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGSEGV, syscall.SIGKILL, syscall.SIGABRT} {
		cmd := probe("signal", decimal(s))
		if got := finish(t, cmd); !got.state.Signaled() || got.state.Signal() != s {
			t.Errorf("signal %d: ended with %#x: %s", s, got.state, got.stderr)
		}
	}
}

func decimal(s syscall.Signal) string { return strconv.Itoa(int(s)) }

// started runs a verb that says "ready" and leaves it running.
func started(t *testing.T, args ...string) (*exec.Cmd, *lines) {
	t.Helper()
	cmd := probe(args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	l := follow(out)
	if got := l.next(t); got != "ready" && !strings.HasPrefix(got, "listening on ") {
		t.Fatalf("%v began with %q", args, got)
	}
	return cmd, l
}

func TestSleepEndsOnASignalWithTheShellsStatus(t *testing.T) {
	cmd, out := started(t, "sleep", "60")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := out.next(t); got != "got SIGTERM" {
		t.Errorf("said %q", got)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit status %d", code)
	}
}

func TestIgnoreTermOutlivesSigterm(t *testing.T) {
	cmd, out := started(t, "ignore-term")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := out.next(t); got != "ignored SIGTERM" {
		t.Errorf("said %q", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v", cmd.ProcessState)
	}
}

func TestCPUBurnReportsTheTimeItUsed(t *testing.T) {
	got := finish(t, probe("cpuburn", "1"))
	var told struct {
		Wall float64 `json:"wall_seconds"`
		CPU  float64 `json:"cpu_seconds"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &told); err != nil {
		t.Fatal(err)
	}
	// A busy machine gives less, never more than the wall clock plus the start of
	// the program, which takes an emulated machine some 100 ms.
	if told.Wall < 1 || told.CPU <= 0.1 || told.CPU > told.Wall+0.5 {
		t.Errorf("told %+v", told)
	}
}

func TestForkbombIsHarmlessWithoutALimit(t *testing.T) {
	b := bombed(t, probe("forkbomb", "30"))
	if b.Forked != 30 || b.Refused != 0 || b.Peak <= 30 {
		t.Errorf("got %+v", b)
	}
}

func TestForkbombCountsRefusals(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	// RLIMIT_NPROC counts the processes of a user and does not bind root
	// (getrlimit(2)): a user id that nobody else here has.
	cmd := exec.Command("prlimit", "--nproc=40", "--", shared(t), "forkbomb", "100")
	cmd.Env = []string{actEnv + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	// The test binary needs more threads than a built probe, hence 40.
	b := bombed(t, cmd)
	if b.Refused == 0 || b.Errno != "EAGAIN" || b.Peak > 40 || b.Forked+b.Refused != 100 {
		t.Errorf("got %+v", b)
	}
}

func bombed(t *testing.T, cmd *exec.Cmd) bomb {
	t.Helper()
	got := finish(t, cmd)
	var b bomb
	if err := json.Unmarshal([]byte(got.stdout), &b); err != nil {
		t.Fatalf("%v: %q %q", err, got.stdout, got.stderr)
	}
	return b
}

// shared copies the test binary to where any user can execute it.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(dir+"/probe", self, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/probe"
}

func TestZombieStaysWhereTheFirstProcessDoesNotReap(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Namespaces)
	cmd := probe("zombie")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if got := finish(t, inOwnProc(cmd)); !strings.Contains(got.stdout, `"state":"zombie"`) {
		t.Errorf("got %q %q", got.stdout, got.stderr)
	}
}

// inOwnProc makes /proc/self of the new pid namespace right.
func inOwnProc(cmd *exec.Cmd) *exec.Cmd {
	wrapped := exec.Command("/bin/sh", append([]string{"-c", `mount -t proc proc /proc && exec "$@"`, "sh"}, append([]string{self()}, cmd.Args[1:]...)...)...)
	wrapped.Env = cmd.Env
	wrapped.SysProcAttr = cmd.SysProcAttr
	wrapped.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	return wrapped
}

func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

func TestServeAnswersHTTP(t *testing.T) {
	_, out := started(t, "serve", "0")
	_, port, _ := strings.Cut(out.first, "]:")
	if got := get(t, "127.0.0.1:"+port, "/hello"); !strings.Contains(got, "200 OK") || !strings.Contains(got, "GET /hello HTTP/1.1") {
		t.Errorf("got %q", got)
	}
}

// patience is how long a test waits for something that is under way.
const patience = 10 * time.Second
