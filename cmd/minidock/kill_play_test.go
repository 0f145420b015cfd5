package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/minidock/minidock/internal/gate"
	"github.com/minidock/minidock/internal/leftover"
)

// moment is just before an act, known by the actor and the number of the act
// among the actor's own, which is the same in every play.
type moment struct {
	actor string
	n     int
	// what the act is, without IDs and numbers.
	what string
	// monitored says that there was a monitor to kill.
	monitored bool
}

func (m *moment) String() string {
	if m == nil {
		return "undisturbed"
	}
	return fmt.Sprintf("before act %d of the %s (%s)", m.n, m.actor, m.what)
}

// killing plays an episode again and again, in a world of its own, and kills the
// victim each time at another moment.
type killing struct {
	*world
	episode
	victim string
	files  []string // of the root, when nothing is left
	others []leftover.Object

	mu       sync.Mutex // held while a gate asks
	plays    bool       // the episode's own command runs
	at       *moment    // when to kill; nil is never
	struck   bool
	gates    []*gate.Gate
	command  int // pid; so is monitor
	monitor  int
	acts     []moment
	counts   map[string]int
	strikeAt func(gate.Act) bool // in a setUp, instead of at
}

func newKilling(t *testing.T, e episode, victim string) *killing {
	t.Helper()
	k := &killing{world: newWorld(t), episode: e, victim: victim}
	k.importProbe()
	// A first run makes the directories that stay.
	k.must("run", "--rm", "--name", "victim", "probe", "/probe", "exit", "0")
	k.must("system", "cleanup")
	k.files = k.listFiles()
	return k
}

// play plays the episode once, and judges what is there afterwards.
func (k *killing) play(at *moment) []moment {
	outer := k.t
	k.t = &during{TB: outer, what: fmt.Sprintf("%s, %s killed %s", k.name, k.victim, at)}
	defer func() { k.t = outer }()
	k.gates, k.command, k.monitor, k.struck = nil, 0, 0, false
	k.acts, k.counts = nil, map[string]int{}
	if k.setUp != nil {
		k.setUp(k)
	}
	k.at = at
	k.perform(strings.Fields(strings.ReplaceAll(k.args, "$OTHER", k.other())))
	k.judge()
	return k.acts
}

// perform runs the episode's command to its end.
func (k *killing) perform(args []string) {
	k.t.Helper()
	k.mu.Lock()
	k.plays = true
	k.mu.Unlock()
	r := k.start(args...)
	k.awaitEnd(r, k.stays)
	k.mu.Lock()
	k.plays = false
	k.mu.Unlock()
	said := r.err.String()
	switch status := r.cmd.ProcessState; {
	case strings.Contains(said, "Conflict"):
		k.t.Errorf("the name was taken: %s", said)
	case k.at == nil && !k.stays && !status.Success():
		k.t.Errorf("minidock %s: %s: %s", k.args, status, said)
	}
}

// start starts a minidock command behind a gate.
func (k *killing) start(args ...string) *running {
	k.t.Helper()
	r := &running{cmd: k.world.command(args...), ended: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	k.mu.Lock() // No act is seen before we know who is who.
	defer k.mu.Unlock()
	g, err := gate.Start(r.cmd, func(a gate.Act) bool { return k.see(a) })
	if err != nil {
		k.t.Fatal(err)
	}
	k.command = r.cmd.Process.Pid
	k.gates = append(k.gates, g)
	go func() {
		_ = r.cmd.Wait() // Its status is in ProcessState.
		close(r.ended)
	}()
	return r
}

// awaitEnd waits for the command's end. One that stays is killed as soon as its
// container says that it runs, which then goes on with its monitor alone.
func (k *killing) awaitEnd(r *running, stays bool) {
	k.t.Helper()
	ended := func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	}
	k.eventually(func() bool {
		return ended() || stays && strings.Contains(r.out.String(), "ready")
	}, "the command ends; "+r.err.String())
	if stays {
		if err := gate.Kill(r.cmd.Process.Pid, patience); err != nil {
			k.t.Error(err)
		}
	}
	<-r.ended
}

// see is asked before each act of the command, its monitor, and its container.
func (k *killing) see(a gate.Act) (more bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	actor := k.roleOf(a.Pid)
	if !k.plays {
		if k.strikeAt != nil && k.strikeAt(a) {
			k.strikeAt = nil
			return k.strike(a.Pid)
		}
		return true
	}
	k.counts[actor]++
	m := moment{actor, k.counts[actor], k.pattern(a), k.monitor != 0}
	k.acts = append(k.acts, m)
	if k.at == nil || m.actor != k.at.actor || m.n != k.at.n {
		return true
	}
	if k.victim == "monitor" {
		return k.strike(k.monitor)
	}
	return k.strike(k.command)
}

// strike kills; what comes then needs no watching.
func (k *killing) strike(pid int) (more bool) {
	k.struck = true
	if pid != 0 {
		if err := gate.Kill(pid, patience); err != nil {
			k.t.Error(err)
		}
	}
	return false
}

// roleOf says who a process is: the command, the monitor, which is the command's
// child, or a first process of the container, which one or the other made.
func (k *killing) roleOf(pid int) string {
	switch {
	case pid == k.command:
		return "command"
	case pid == k.monitor:
		return "monitor"
	case parentOf(pid) == k.command:
		k.monitor = pid
		return "monitor"
	}
	return "init"
}

// parentOf reads field 4 of /proc/PID/stat, the second behind the name in
// brackets (proc_pid_stat(5)).
func parentOf(pid int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

var (
	anyID     = regexp.MustCompile(`[0-9a-f]{12,}`)
	anyNumber = regexp.MustCompile(`[0-9]+`)
)

// pattern is what is the same in every play, and in every world.
func (k *killing) pattern(a gate.Act) string {
	text := strings.NewReplacer(k.layout.Root, "ROOT", k.layout.Instance, "minidock").Replace(a.String())
	return anyNumber.ReplaceAllString(anyID.ReplaceAllString(text, "ID"), "N")
}

// running makes a container that runs, with its monitor alone.
func (k *killing) running() {
	k.t.Helper()
	k.awaitEnd(k.start("run", "--name", "victim", "probe", "/probe", "ignore-term"), true)
	k.eventually(func() bool { return k.inspect("victim").State.Running }, "victim runs")
}

// stopped makes a container that has ended.
func (k *killing) stopped() {
	k.t.Helper()
	k.must("run", "--name", "victim", "probe", "/probe", "exit", "0")
}

// orphan makes a container that runs without its monitor.
func (k *killing) orphan() {
	k.t.Helper()
	k.running()
	if err := gate.Kill(k.monitor, patience); err != nil {
		k.t.Error(err)
	}
}

// lost makes a container whose monitor did not live to see its end.
func (k *killing) lost() {
	k.t.Helper()
	k.orphan()
	if err := gate.Kill(k.inspect("victim").State.Pid, patience); err != nil {
		k.t.Error(err)
	}
}

// half makes a container and an image that were begun and not finished.
func (k *killing) half() {
	k.t.Helper()
	k.strikeAt = func(a gate.Act) bool { return a.Call == "execve" && k.roleOf(a.Pid) == "init" }
	k.awaitEnd(k.start("run", "--rm", "--name", "victim", "probe", "/probe", "exit", "0"), false)
	k.strikeAt = func(a gate.Act) bool { return strings.HasSuffix(a.Target, "index.json") }
	k.awaitEnd(k.start("image", "import", k.other(), "other"), false)
}

// otherImage makes a second image.
func (k *killing) otherImage() {
	k.t.Helper()
	k.must("image", "import", k.other(), "other")
}

// other is a directory to make a second image of.
func (k *killing) other() string {
	dir := filepath.Join(filepath.Dir(k.layout.Root), "other")
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc", "motd"), []byte("other\n"), 0o644); err != nil {
		k.t.Fatal(err)
	}
	return dir
}

// during is a test whose every complaint says in which play it arose.
type during struct {
	testing.TB
	what string
}

func (d *during) Errorf(format string, args ...any) {
	d.TB.Helper()
	d.TB.Errorf("%s: %s", d.what, fmt.Sprintf(format, args...))
}

func (d *during) Fatalf(format string, args ...any) {
	d.TB.Helper()
	d.TB.Fatalf("%s: %s", d.what, fmt.Sprintf(format, args...))
}

func (d *during) Error(args ...any) { d.TB.Helper(); d.Errorf("%s", fmt.Sprintln(args...)) }

func (d *during) Fatal(args ...any) { d.TB.Helper(); d.Fatalf("%s", fmt.Sprintln(args...)) }
