package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/hosts"
	"github.com/minidock/minidock/internal/leftover"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// TestScripts runs testdata/script/*.txtar against the built binary, each with
// a root directory of its own. Beside testscript's own commands they have:
//
//	needs NEED…             skip (or fail) where the machine lacks it: root, cgroupv2, cgroupv1, …
//	natively                leave it out of the VM: nothing in it depends on cgroup v2, and there it takes a minute
//	probe-image             import the test program as the image "probe"
//	small-disk MIB          give it a root directory on a disk of this size
//	exits STATUS CMD…       run a command that must end with this status
//	eventually REGEXP CMD…  run a command again and again until its output matches
//	start NAME CMD…         run a command in the background, its stdin open
//	terminal NAME RxC CMD…  run a command in the background, in a window of this size
//	types NAME TEXT         press keys there: \x10 is ctrl-p, \r the return key
//	resizes NAME RxC        change the size of its window
//	says NAME REGEXP        wait until that command has written this
//	send NAME TEXT          write a line to its stdin; with no text, close it
//	signal NAME TERM        send it a signal
//	ends NAME STATUS        wait for its end; stdout and stderr are then its output
//	json FILE PATH VALUE    compare a value, as in: json stdout .[0].State.ExitCode 7
//	json FILE PATH -> VAR   put a value into the environment
//
// $ROOT is the script's root directory, $RUN its run directory, $INSTANCE the
// name of its cgroup, $PROBE the test program. What a script leaves behind in the kernel fails it.
func TestScripts(t *testing.T) {
	require.Layers(t, "needs bin/minidock", "native", "vm")
	bin := binaries(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			if err := leaveOut(env.T().(testing.TB)); err != nil {
				return err
			}
			return setUp(env, bin)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"needs": needs, "natively": natively, "probe-image": probeImage, "small-disk": smallDisk, "exits": exits, "eventually": eventually,
			"start": start, "says": says, "send": send, "signal": sendSignal, "ends": ends, "json": compareJSON,
			"terminal": startOnTerminal, "types": types, "resizes": resizes,
		},
	})
}

// programs are the files under test.
type programs struct{ minidock, probe string }

// binaries finds what make build made: MINIDOCK_BIN, or bin/ of this checkout,
// or on a machine to which tests are copied, the installed ones.
func binaries(t *testing.T) programs {
	t.Helper()
	minidock := os.Getenv("MINIDOCK_BIN")
	if minidock == "" {
		minidock = firstThere("../../bin/minidock", "/usr/local/bin/minidock")
	}
	minidock, err := filepath.Abs(minidock)
	if err != nil {
		t.Fatal(err)
	}
	p := programs{minidock, filepath.Join(filepath.Dir(minidock), "minidock-probe")}
	for _, file := range []string{p.minidock, p.probe} {
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: run make build, or set MINIDOCK_BIN", err)
		}
	}
	return p
}

func firstThere(paths ...string) string {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return paths[0]
}

// world is what belongs to one running script.
type world struct {
	programs
	t      testing.TB
	layout runtime.Layout
	ties   []string
	// host is nil where the test's own network namespace is the host's.
	host    *hosts.Host
	before  []leftover.Object
	running map[string]*running
	// engine is what a script calls docker: minidock, or Docker's command line.
	engine string
	// said is what it has said in a script that compares the two.
	said []exchange
	// undo holds what takes back what a script's command made on the host.
	undo []func() error
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// setUp gives a script its root below /var/tmp, which is on a disk where /tmp
// may be in memory: layers and their upper directories are then on the file
// system that users have them on.
func setUp(env *testscript.Env, bin programs) error {
	base, err := os.MkdirTemp("/var/tmp", "minidock-script-")
	if err != nil {
		return err
	}
	layout, err := runtime.LayoutOf(filepath.Join(base, "root"))
	if err != nil {
		return err
	}
	w := &world{programs: bin, t: env.T().(testing.TB), layout: layout, ties: []string{base, layout.Instance}, running: map[string]*running{}}
	if os.Geteuid() == 0 {
		if err := w.moveOut(base); err != nil {
			return err
		}
	}
	w.engine = w.minidock
	w.before = w.snapshot()
	env.Values[worldKey{}] = w
	env.Setenv("PATH", filepath.Dir(w.minidock)+":"+os.Getenv("PATH"))
	if w.host != nil {
		env.Setenv("HOST", w.host.File)
	}
	env.Setenv("MINIDOCK_ROOT", layout.Root)
	env.Setenv("ROOT", layout.Root)
	env.Setenv("RUN", layout.Run)
	env.Setenv("INSTANCE", layout.Instance)
	env.Setenv("PROBE", bin.probe)
	env.Setenv("PROGRAM", bin.minidock)
	env.Defer(func() { w.tearDown(base) })
	return nil
}

// moveOut gives the script a host of its own, a network namespace: scripts run side
// by side, and would take each other's addresses.
func (w *world) moveOut(base string) error {
	w.host = hosts.New(w.t, "host")
	enter := fmt.Sprintf("#!/bin/sh\nexec nsenter --net=%s %s \"$@\"\n", steps.ShellQuote(w.host.File), steps.ShellQuote(w.minidock))
	w.minidock = filepath.Join(base, "bin", "minidock")
	return errors.Join(os.Mkdir(filepath.Dir(w.minidock), 0o755), os.WriteFile(w.minidock, []byte(enter), 0o755))
}

// snapshot is what the script's host has.
func (w *world) snapshot() (all []leftover.Object) {
	if w.host == nil {
		return leftover.Snapshot(w.ties...)
	}
	w.host.Must(func() error { all = leftover.Snapshot(w.ties...); return nil })
	return all
}

// tearDown removes what the script made the way a user would, and then looks
// whether anything is left.
func (w *world) tearDown(base string) {
	for _, r := range w.running {
		r.stop()
	}
	if ids := strings.Fields(w.own("ps", "-aq")); len(ids) > 0 {
		w.own(append([]string{"rm", "-f"}, ids...)...)
	}
	w.own("network", "prune", "-f")
	for _, undo := range w.undo {
		if err := undo(); err != nil {
			w.t.Error(err)
		}
	}
	w.settle(append(w.shared(), w.before...))
	if os.Geteuid() == 0 && !w.t.Skipped() {
		if said := w.own("system", "cleanup", "--dry-run"); said != "nothing left behind\n" {
			w.t.Errorf("left for system cleanup:\n%s", said)
		}
	}
	w.own("system", "cleanup")
	w.settle(w.before)
	w.delete(base)
}

// settle waits until nothing is left that was not there before.
func (w *world) settle(before []leftover.Object) {
	if w.host == nil {
		leftover.Settle(w.t, before, w.ties...)
		return
	}
	w.host.Must(func() error { leftover.Settle(w.t, before, w.ties...); return nil })
}

// shared are the groups that all containers of an instance have in common. The
// last monitor is in one of them, so it can't remove it: system cleanup does.
func (w *world) shared() []leftover.Object {
	group := "/sys/fs/cgroup/" + w.layout.Instance
	return []leftover.Object{{Kind: "cgroup", Name: group}, {Kind: "cgroup", Name: group + "/monitors"}}
}

// delete removes the script's files, but never through a mount that was left.
func (w *world) delete(base string) {
	for _, o := range leftover.Snapshot(base) {
		if o.Kind == "mount" {
			return
		}
	}
	for _, dir := range []string{base, w.layout.Run} {
		if err := os.RemoveAll(dir); err != nil {
			w.t.Error(err)
		}
	}
}

// own runs minidock outside of the script; its errors show in what is left.
func (w *world) own(args ...string) string {
	cmd := exec.Command(w.minidock, args...)
	cmd.Env = append(os.Environ(), "MINIDOCK_ROOT="+w.layout.Root)
	text, _ := cmd.CombinedOutput()
	return string(text)
}

func needs(ts *testscript.TestScript, neg bool, args []string) {
	var list []require.Need
	for _, a := range args {
		list = append(list, require.Need(a))
	}
	if neg || len(list) == 0 {
		ts.Fatalf("usage: needs NEED…")
	}
	require.Needs(worldOf(ts).t, list...)
}

// natively is obeyed by leaveOut: in the VM even the world around a script takes
// seconds.
func natively(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: natively")
	}
}

// leaveOut skips a script that says natively where that is not.
func leaveOut(t testing.TB) error {
	text, err := os.ReadFile(filepath.Join("testdata/script", filepath.Base(t.Name())+".txtar"))
	if err == nil && strings.Contains(string(text), "\nnatively\n") {
		require.Layers(t, "nothing in it depends on cgroup v2", "native")
	}
	return err
}

// smallDisk puts the root directory on a tmpfs, which can be filled.
func smallDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: small-disk MIB")
	}
	w := worldOf(ts)
	ts.Check(os.MkdirAll(w.layout.Root, 0o700))
	ts.Check(unix.Mount("none", w.layout.Root, "tmpfs", 0, "size="+args[0]+"m"))
	w.undo = append(w.undo, func() error { return unix.Unmount(w.layout.Root, 0) })
}

// probeImage makes a root file system of the test program alone, and a few files
// to look up users in and to fail on.
func probeImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: probe-image")
	}
	program, err := os.ReadFile(worldOf(ts).probe)
	ts.Check(err)
	file := ts.MkAbs(".probe.tar")
	ts.Check(os.WriteFile(file, probeTar(ts, program), 0o600))
	ts.Check(ts.Exec("minidock", "image", "import", file, "probe"))
}

func probeTar(ts *testscript.TestScript, program []byte) []byte {
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, h := range []struct {
		header  tar.Header
		content string
	}{
		{header: tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}},
		{header: tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}},
		{header: tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}},
		{header: tar.Header{Name: "probe", Typeflag: tar.TypeReg, Mode: 0o755}, content: string(program)},
		{header: tar.Header{Name: "bin/probe", Typeflag: tar.TypeLink, Linkname: "probe", Mode: 0o755}},
		{header: tar.Header{Name: "etc/motd", Typeflag: tar.TypeReg, Mode: 0o644}, content: "hello\n"},
		{header: tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, content: "root:x:0:0::/root:/probe\napp:x:1000:1000::/home/app:/probe\n"},
		{header: tar.Header{Name: "etc/group", Typeflag: tar.TypeReg, Mode: 0o644}, content: "root:x:0:\napp:x:1000:\nstaff:x:50:app\n"},
	} {
		h.header.Size = int64(len(h.content))
		ts.Check(w.WriteHeader(&h.header))
		_, err := io.WriteString(w, h.content)
		ts.Check(err)
	}
	ts.Check(w.Close())
	return buffer.Bytes()
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND [ARG…]")
	}
	if got := statusOf(ts, ts.Exec(args[1], args[2:]...)); got != args[0] {
		ts.Fatalf("exit status %s, not %s", got, args[0])
	}
}

// statusOf is the exit status as a shell would show it.
func statusOf(ts *testscript.TestScript, err error) string {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return "0"
	case errors.As(err, &ended):
		return statusText(ended.ProcessState)
	}
	ts.Fatalf("run command: %v", err)
	return ""
}

// patience is how long a script waits for what is under way; an emulated
// machine takes seconds to start a container.
const patience = 60 * time.Second

func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually REGEXP COMMAND [ARG…]")
	}
	pattern := compile(ts, args[0])
	text := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		out, _ := command(ts, args[1:]).CombinedOutput()
		if text = string(out); pattern.MatchString(text) {
			return
		}
	}
	ts.Fatalf("after %s there is no %#q in:\n%s", patience, args[0], text)
}

// command runs in the script's directory and environment.
func command(ts *testscript.TestScript, words []string) *exec.Cmd {
	program := words[0]
	switch program {
	case "minidock":
		program = worldOf(ts).minidock
	case "docker":
		program = worldOf(ts).engine
	}
	cmd := exec.Command(program, words[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	return cmd
}

// environ is what a command needs of a script's environment.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "MINIDOCK_ROOT", "DOCKER_HOST"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func compareJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 && (neg || len(args) != 4 || args[2] != "->") {
		ts.Fatalf("usage: json FILE PATH VALUE | json FILE PATH -> NAME")
	}
	got, err := lookUpJSON([]byte(ts.ReadFile(args[0])), args[1])
	if err != nil {
		ts.Fatalf("%v", err)
	}
	if len(args) == 4 {
		ts.Setenv(args[3], got)
		return
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %s", args[1], got)
	}
}

func statusText(state *os.ProcessState) string {
	if code := state.ExitCode(); code >= 0 {
		return strconv.Itoa(code)
	}
	return state.String()
}
