package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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

// killing plays episodes one after another, in a world of its own, and kills
// somebody each time at another moment.
type killing struct {
	*world
	*group
	files []string // of the root, when nothing is left
	look  func(testing.TB)

	mu       sync.Mutex // held while a gate asks
	plays    bool       // the episode's own command runs
	at       *moment    // when to kill; nil is never
	struck   bool
	gates    []*gate.Gate
	command  int // pid; so is monitor
	monitor  int
	inits    map[int]bool // by pid
	acts     []moment
	counts   map[string]int
	strikeAt func(gate.Act) bool // in a setUp, instead of at
}

func newKilling(t *testing.T) *killing {
	t.Helper()
	k := &killing{world: newWorld(t)}
	k.look = leftover.Canaries(t, filepath.Join(filepath.Dir(k.layout.Root), "foreign"), k.layout.Instance)
	k.before = leftover.Snapshot(k.ties...)
	k.importProbe()
	// A first run, and a first network, make the directories that stay.
	k.must("run", "--rm", "--name", "victim", "probe", "/probe", "exit", "0")
	k.network()
	k.must("network", "rm", "victims")
	k.must("system", "cleanup")
	k.files = k.listFiles()
	return k
}

// play plays the episode once, and judges what is there afterwards.
func (k *killing) play(g *group, at *moment) []moment {
	outer := k.t
	k.t = &during{TB: outer, what: at.String()}
	defer func() { k.t = outer }()
	k.group, k.at, k.gates, k.command, k.monitor, k.struck = g, nil, nil, 0, 0, false
	k.acts, k.counts, k.inits = nil, map[string]int{}, map[int]bool{}
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
	k.awaitEnd(r)
	if k.whole {
		k.awaitGone()
	}
	k.mu.Lock()
	k.plays = false
	k.mu.Unlock()
	said := r.err.String()
	switch status := r.cmd.ProcessState; {
	case strings.Contains(said, "Conflict"):
		k.t.Errorf("the name was taken: %s", said)
	case k.at == nil && !status.Success():
		k.t.Errorf("minidock %s: %s: %s", k.args, status, said)
	}
}

// awaitGone waits until nobody is left to act, unless somebody has been killed.
func (k *killing) awaitGone() {
	k.t.Helper()
	k.eventually(func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, g := range k.gates {
			if gone, _ := g.Gone(0); !gone {
				return k.struck
			}
		}
		return true
	}, "all processes end")
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

func (k *killing) awaitEnd(r *running) {
	k.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		k.t.Errorf("minidock %s has not ended after %s; it said: %s", k.args, patience, r.err.String())
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
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
	if k.at == nil {
		k.acts = append(k.acts, moment{actor, k.counts[actor], k.pattern(a), k.monitor != 0})
		if actor != "init" && !k.ours(a) {
			k.t.Errorf("the %s leaves its place: %s", actor, a)
		}
		return true
	}
	if actor != k.at.actor || k.counts[actor] != k.at.n {
		return true
	}
	if k.victim == "monitor" {
		return k.strike(k.monitor)
	}
	return k.strike(k.command)
}

// ours says whether an act makes or writes a file only where minidock's files are,
// and the one directory that this test has it write to; a kill would leave it
// where nobody looks for it.
func (k *killing) ours(a gate.Act) bool {
	target := a.Target()
	if !makesFile.MatchString(a.Call) || !filepath.IsAbs(target) {
		return true
	}
	const insideTheContainer = "/copy"                // by cp, which takes the container's root for its own
	const allNetworks = "/run/minidock-networks.lock" // guards what installations share
	for _, place := range []string{k.layout.Root, k.layout.Run, k.otherDir(), "/sys/fs/cgroup", "/proc", insideTheContainer, allNetworks} {
		if strings.HasPrefix(target+"/", place+"/") {
			return true
		}
	}
	return false
}

// makesFile matches the calls that make a name or content.
var makesFile = regexp.MustCompile("^(open|openat|openat2|creat|mk.*|symlink.*|link.*|rename.*|p?writev?(64)?)$")

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
	case !k.inits[pid] && parentOf(pid) == k.command:
		k.monitor = pid
		return "monitor"
	}
	k.inits[pid] = true
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
	// anyTree is one of the trees of cgroup version 1.
	anyTree = regexp.MustCompile(`/sys/fs/cgroup/[a-z_,]+/`)
)

// legacyTree stands for any of them.
const legacyTree = "/sys/fs/cgroup/TREE/"

// pattern is what is the same in every play, and in every world.
func (k *killing) pattern(a gate.Act) string {
	text := strings.NewReplacer(k.layout.Root, "ROOT", k.layout.Instance, "minidock", filepath.Dir(k.layout.Root), "BASE").Replace(a.String())
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		text = anyTree.ReplaceAllString(text, legacyTree)
	}
	return anyNumber.ReplaceAllString(anyID.ReplaceAllString(text, "ID"), "N")
}

// begin starts a container that runs on, and so that its monitor is behind a gate.
func (k *killing) begin(args ...string) {
	k.t.Helper()
	k.awaitEnd(k.start(append([]string{"run", "-d", "--name", "victim", "probe", "/probe"}, args...)...))
	if k.monitor == 0 {
		k.t.Fatal("no monitor was seen")
	}
	k.eventually(k.saidReady, "the container's program runs, and its first line is logged")
}

// saidReady says whether a container has logged something.
func (k *killing) saidReady() bool {
	logs, _ := filepath.Glob(filepath.Join(k.layout.Container("*"), "*-json.log")) // The pattern is a good one.
	for _, log := range logs {
		if info, err := os.Stat(log); err == nil && info.Size() > 0 {
			return true
		}
	}
	return false
}

// running makes a container that ends when it is told to.
func (k *killing) running() { k.begin("sleep", "300") }

// stubborn makes one that does not.
func (k *killing) stubborn() { k.begin("ignore-term") }

// stopped makes a container that has ended.
func (k *killing) stopped() {
	k.t.Helper()
	k.must("run", "--name", "victim", "probe", "/probe", "exit", "0")
}

// paused makes a container that is frozen.
func (k *killing) paused() {
	k.t.Helper()
	k.running()
	k.must("pause", "victim")
}

// halted makes a container that comes back at the next boot.
func (k *killing) halted() {
	k.t.Helper()
	k.must("run", "-d", "--restart", "always", "--name", "victim", "probe", "/probe", "sleep", "300")
	id := k.inspect("victim").ID
	k.must("system", "halt")
	file := filepath.Join(k.layout.Container(id), "last.json")
	text, err := os.ReadFile(file)
	if err != nil {
		k.t.Fatal(err)
	}
	text = regexp.MustCompile(`"Boot": ".*"`).ReplaceAll(text, []byte(`"Boot": "an earlier one"`))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// dangling makes an image without a name.
func (k *killing) dangling() {
	k.t.Helper()
	k.must("image", "import", k.other())
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
	k.awaitEnd(k.start("run", "--rm", "--name", "victim", "probe", "/probe", "exit", "0"))
	k.strikeAt = func(a gate.Act) bool { return strings.HasSuffix(a.Target(), "index.json") }
	k.awaitEnd(k.start("image", "import", k.other(), "other"))
}

// otherImage makes a second image.
func (k *killing) otherImage() {
	k.t.Helper()
	k.must("image", "import", k.other(), "other")
}

// besideNetwork makes a running container, and a network that it is not on.
func (k *killing) besideNetwork() {
	k.t.Helper()
	k.network()
	k.running()
}

func (k *killing) stoppedBesideNetwork() {
	k.t.Helper()
	k.network()
	k.stopped()
}

// onNetwork makes a container on two networks.
func (k *killing) onNetwork() {
	k.t.Helper()
	k.besideNetwork()
	k.must("network", "connect", "victims", "victim")
}

// network makes a network of the user's.
func (k *killing) network() {
	k.t.Helper()
	k.must("network", "create", "victims")
}

// other is a directory to make a second image of, and to copy to.
func (k *killing) other() string {
	k.t.Helper()
	dir := k.otherDir()
	if err := errors.Join(
		os.RemoveAll(dir),
		os.MkdirAll(filepath.Join(dir, "etc"), 0o755),
		os.WriteFile(filepath.Join(dir, "etc", "motd"), []byte("other\n"), 0o644),
	); err != nil {
		k.t.Fatal(err)
	}
	return dir
}

func (k *killing) otherDir() string { return filepath.Join(filepath.Dir(k.layout.Root), "other") }

// during is a test whose every complaint says in which play it arose.
type during struct {
	testing.TB
	what string
}

func (d *during) Errorf(format string, args ...any) {
	d.Helper()
	d.TB.Errorf("%s: %s", d.what, fmt.Sprintf(format, args...))
}

func (d *during) Fatalf(format string, args ...any) {
	d.Helper()
	d.TB.Fatalf("%s: %s", d.what, fmt.Sprintf(format, args...))
}

func (d *during) Error(args ...any) { d.Helper(); d.Errorf("%s", fmt.Sprintln(args...)) }

func (d *during) Fatal(args ...any) { d.Helper(); d.Fatalf("%s", fmt.Sprintln(args...)) }
