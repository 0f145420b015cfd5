package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/leftover"
	"github.com/minidock/minidock/internal/require"
)

// ofEither is the size of a test on a real machine, or on an emulated one, where
// each command takes seconds.
func ofEither(real, emulated int) int {
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		return emulated
	}
	return real
}

// noDeadlock is longer than any command may take, however busy the machine is.
const noDeadlock = 3 * time.Minute

func TestManyContainersComeAndGoAtOnce(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	cycles, begin := ofEither(200, 12), time.Now()
	inParallel(cycles, ofEither(8, 3), func(i int) {
		name := fmt.Sprintf("c%d", i)
		for _, args := range [][]string{{"run", "-d", "--name", name, "probe", "/probe", "ignore-term"}, {"rm", "-f", name}} {
			if said, code := w.inTime(args...); code != 0 {
				t.Errorf("minidock %s: exit status %d\n%s", strings.Join(args, " "), code, said)
			}
		}
	})
	t.Logf("%d cycles of run -d and rm -f in %s", cycles, time.Since(begin).Round(time.Millisecond))
	if left, err := os.ReadDir(w.layout.Containers()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// inParallel does something n times, so many at a time.
func inParallel(n, atOnce int, do func(i int)) {
	next := make(chan int)
	var group sync.WaitGroup
	for range atOnce {
		group.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

// inTime runs a command and returns all that it wrote. One that does not end is a
// deadlock: it fails the test, and gets SIGQUIT, at which Go tells where it waits.
func (w *world) inTime(args ...string) (said string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), noDeadlock)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.minidock, args...)
	cmd.Env = append(os.Environ(), "MINIDOCK_ROOT="+w.layout.Root)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) || ctx.Err() != nil {
		w.t.Errorf("minidock %s: %v\n%s", strings.Join(args, " "), errors.Join(err, ctx.Err()), &out)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// aboutOne are commands that people give for one container, all at once.
var aboutOne = [][]string{
	{"inspect", "one"},
	{"exec", "one", "/probe", "echo", "hello"},
	{"pause", "one"},
	{"unpause", "one"},
	{"stop", "-t", "0", "one"},
	{"start", "one"},
	{"exec", "one", "/probe", "exit", "3"},
	{"kill", "one"},
	{"start", "one"},
	{"ps", "-a"},
	{"restart", "-t", "0", "one"},
}

// commandAboutOne is the i-th of them. Now and then the container is removed, so
// others make it anew.
func commandAboutOne(i int) []string {
	switch i % 30 {
	case 0, 15, 22:
		return []string{"run", "-d", "--name", "one", "probe", "/probe", "ignore-term"}
	case 14:
		return []string{"rm", "one"}
	case 29:
		return []string{"rm", "-f", "one"}
	}
	return aboutOne[i%len(aboutOne)]
}

// refusals are what such a command may answer when another came first.
var refusals = regexp.MustCompile(strings.Join([]string{
	`No such (container|object): one$`,
	`Conflict\. The container name "/one" is already in use by container `,
	`Container [0-9a-f]{64} is not running$`,
	`Container [0-9a-f]{64} is already paused$`,
	`Container [0-9a-f]{64} is not paused$`,
	`Container one is paused, unpause the container before exec$`,
	`cannot start a paused container, try unpause instead$`,
	`cannot remove container "/one": container is (running|paused): `,
	`container one is busy: another command works on it$`,
	`container one was started by another command$`,
}, "|"))

func TestManyCommandsOnOneContainerAtOnce(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	w.must(commandAboutOne(0)...)
	stop := w.readStateUntil()
	commands, counts := ofEither(100, 20), map[string]int{}
	var mu sync.Mutex
	inParallel(commands, ofEither(20, 5), func(i int) {
		args := commandAboutOne(i)
		said, code := w.inTime(args...)
		w.judge(args, said, code)
		mu.Lock()
		defer mu.Unlock()
		counts[fmt.Sprintf("%s: %d", args[0], code)]++
	})
	stop()
	t.Logf("commands and exit statuses: %v", counts)
	w.must("rm", "-f", "one")
	if left, err := os.ReadDir(w.layout.Names()); err != nil || len(left) > 0 {
		t.Errorf("names that stay taken: %v, %v", left, err)
	}
}

// The kernel ends a container's first process only when all others of its PID
// namespace have been waited for, also those that were on their way in.
func TestAContainerThatIsKilledWhileItIsEnteredEnds(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	w.must("create", "--name", "one", "probe", "/probe", "ignore-term")
	for round := range ofEither(10, 3) {
		w.must("start", "one")
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				args := []string{"exec", "one", "/probe", "echo", "hello"}
				if said, code := w.inTime(args...); said != "hello\n" {
					w.judge(args, said, code)
				}
			})
		}
		time.Sleep(time.Duration(ofEither(20, 100)*round) * time.Millisecond) // At another point of their way in each time.
		if said, code := w.inTime("stop", "-t", "0", "one"); code != 0 {
			t.Errorf("stop: exit status %d\n%s", code, said)
		}
		group.Wait()
	}
}

// judge says whether a command did what it should, or refused in so many words.
func (w *world) judge(args []string, said string, code int) {
	said = strings.TrimPrefix(said, "[]\n") // What inspect found.
	first, _, _ := strings.Cut(strings.TrimPrefix(said, "minidock: "), "\n")
	switch {
	case code == 0 && args[0] == "inspect" && !json.Valid([]byte(said)):
		w.t.Errorf("inspect says %s", said)
	case code == 0, args[0] == "exec" && (code == 3 || code == 137) && said == "":
	case strings.HasPrefix(said, "minidock: ") && refusals.MatchString(first):
	default:
		w.t.Errorf("minidock %s: exit status %d\n%s", strings.Join(args, " "), code, said)
	}
}

// readStateUntil looks all the time whether every state file is whole JSON.
func (w *world) readStateUntil() (stop func()) {
	enough, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, pattern := range []string{filepath.Join(w.layout.Containers(), "*/*.json"), filepath.Join(w.layout.RunContainer("*"), "*.json")} {
				w.readState(pattern)
			}
			select {
			case <-enough:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() { close(enough); <-done }
}

func (w *world) readState(pattern string) {
	files, _ := filepath.Glob(pattern)
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && !json.Valid(text) {
			w.t.Errorf("%s holds %q", file, text)
		}
	}
}

// A monitor serves command after command, also such as are killed in the middle,
// and keeps nothing of them: no file descriptor, no process.
func TestAMonitorKeepsNothingOfItsCommands(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	w.must("run", "-d", "--name", "one", "probe", "/probe", "ignore-term")
	monitor := monitorOf("one")
	round := func() {
		w.must("exec", "one", "/probe", "echo", "hello")
		w.must("pause", "one")
		w.must("unpause", "one")
		w.must("kill", "-s", "WINCH", "one")
		w.must("update", "--restart", "no", "one")
		w.run("exec", "one", "/no/such/program")
		w.killed("", "attach", "one")
		w.killed("", "wait", "one")
		w.killed("hello\n", "exec", "-i", "one", "/probe", "cat")
		w.killed("", "logs", "-f", "one")
	}
	round()
	files, processes := descriptors(t, monitor), w.processes()
	for range ofEither(5, 1) {
		round()
	}
	w.eventually(func() bool { return len(descriptors(t, monitor)) <= len(files) }, "the monitor has closed what it opened")
	w.eventually(func() bool { return w.processes() <= processes }, "no process is left of the commands")
	t.Logf("descriptors before and after: %d, %d", len(files), len(descriptors(t, monitor)))
}

// killed runs a command, kills it when it has said something or a moment has
// passed, and its monitor has to go on.
func (w *world) killed(input string, args ...string) {
	w.t.Helper()
	cmd := w.command(args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out := &transcript{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	if _, err := stdin.Write([]byte(input)); err != nil {
		w.t.Fatal(err)
	}
	until := time.Now().Add(200 * time.Millisecond)
	for input != "" && out.String() != input || input == "" && time.Now().Before(until) {
		time.Sleep(5 * time.Millisecond)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	_ = stdin.Close()
}

func descriptors(t *testing.T, pid int) []string {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("process %d has no open files: %v", pid, err)
	}
	return links
}

// processes counts what runs in this world.
func (w *world) processes() int {
	all := leftover.Snapshot(w.ties...)
	return len(slices.DeleteFunc(all, func(o leftover.Object) bool { return o.Kind != "process" }))
}
