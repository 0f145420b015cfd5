package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// monitor is the process that starts a container, waits for it, keeps its log,
// serves the commands that want something of it, and takes everything back when
// it has ended.
type monitor struct {
	layout    Layout
	container *Container
	ledger    *steps.Ledger
	held      *lock
	host      cgroups.Host
	socket    *net.UnixListener
	callers   callers
	restarts  restarts
	// born is this process' start time, by which others know it.
	born uint64

	// Of the present run:
	group   *cgroups.Group // nil on a host without cgroup v2 controllers
	inner   *libcontainer.Container
	process *libcontainer.Process
	stdio   *stdio
	log     *logWriter
	// resolver, ports and published are nil for one without a network of its own.
	resolver  *resolver
	ports     heldPorts
	published []netns.Publication

	// entering is held for reading while a process joins the container.
	entering sync.RWMutex

	// freezing is held by who pauses the container, or lets it go on.
	freezing sync.Mutex

	// changing is held by whoever rewrites the configuration, and while a run begins or
	// ends: what is made of the configuration then is all of one version.
	changing sync.Mutex
	// retired, guarded by changing, says that there is no run to come, and no ledger.
	retired bool
	// serving counts the commands that have yet to hear all.
	serving sync.WaitGroup

	mu sync.Mutex // guards what follows, the container's state, and stdio
	// turned is told of every change of phase.
	turned   *sync.Cond
	phase    phase
	stopping bool
	// wake is closed to end a back-off.
	wake chan struct{}
}

// phase is how far a monitor has come with the present run.
type phase int

const (
	starting phase = iota
	running
	ending
	// resting is the time between two runs.
	resting
	over
)

// IsMonitor says whether this process was started by launch.
func IsMonitor(args []string) bool {
	return len(args) == 3 && args[1] == "monitor" && len(args[0]) > len(monitorTitle) && args[0][:len(monitorTitle)] == monitorTitle
}

// RunMonitor is the whole life of a monitor process. Whoever started it waits at
// the other end of file descriptor 3, and has left it the container's lock as
// file descriptor 4.
func RunMonitor(root string) error {
	surviveSignals()
	unix.CloseOnExec(monitorFd)
	unix.CloseOnExec(lockFd)
	conn, err := connOf(os.NewFile(monitorFd, "command"))
	if err != nil {
		return err
	}
	l, err := LayoutOf(root)
	if err != nil {
		return err
	}
	order, err := readRequest(conn)
	if errors.Is(err, io.EOF) {
		return nil // The command gave up before it had a container.
	}
	if err != nil {
		return err
	}
	first := newCaller(conn, order)
	defer first.spool.close()
	m := newMonitor(l, &lock{dir: os.NewFile(lockFd, "lock"), handed: true})
	m.callers.add(first)
	defer m.held.release()
	if err := m.open(order.ID); err != nil {
		first.fault(err)
		return nil
	}
	if order.Attach {
		m.container.emit("attach", nil)
	}
	go m.accept()
	go m.hear(first)
	m.live()
	m.held.release()
	m.serving.Wait()
	return nil
}

func newMonitor(l Layout, held *lock) *monitor {
	m := &monitor{layout: l, held: held, wake: make(chan struct{})}
	m.turned = sync.NewCond(&m.mu)
	return m
}

// surviveSignals keeps a hang-up or a general SIGTERM from taking the monitor
// from its container. They are caught, not ignored: an ignored signal would stay
// ignored in the container (signal(7), execve).
func surviveSignals() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
}

// open reads the container's state, and begins to listen.
func (m *monitor) open(id string) (err error) {
	if m.container, err = load(m.layout, id); err != nil {
		return err
	}
	if m.born, _, err = processStart(os.Getpid()); err != nil {
		return err
	}
	m.restarts.policy = m.container.Config.Restart
	if m.ledger, err = steps.Open(m.layout.Ledger(id), m.callers.tell); err != nil {
		return err
	}
	if m.host, err = cgroups.Probe(); err != nil {
		return err
	}
	return m.listen()
}

// live leads the container from run to run, until there is no next one.
func (m *monitor) live() {
	for m.run() {
		if !m.rest() {
			break
		}
	}
	m.turn(over)
	m.callers.end(m.tellEnd) // Who came after the last run had ended.
	m.socket.Close()
}

func (m *monitor) tellEnd(c *caller) { c.exit(m.container.Exit.ExitCode) }

// run leads the container from its directory to its exit record, and says
// whether there is to be another run.
func (m *monitor) run() (again bool) {
	m.turn(starting)
	m.changing.Lock()
	startErr := m.start()
	m.changing.Unlock()
	exit := Exit{}
	if startErr == nil {
		exit = m.wait()
	} else {
		exit = m.neverRan(startErr)
	}
	m.turn(ending)
	again, err := m.finish(exit, startErr == nil)
	m.callers.end(func(c *caller) {
		switch err := errors.Join(startErr, err); {
		case err != nil && c.asked.Op != opWait:
			c.fault(err)
		default:
			c.exit(exit.ExitCode)
		}
	})
	return again && err == nil
}

// finish writes down how a run ended, takes it back, and decides on another one, which
// there is none of where the container could not be started.
func (m *monitor) finish(exit Exit, ran bool) (again bool, err error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	again = ran && !m.stops() && m.restarts.next(exit.ExitCode, exit.FinishedAt.Sub(exit.StartedAt))
	err = errors.Join(m.record(exit), m.end(again))
	if again {
		err = errors.Join(err, m.showRestarting())
	}
	return again, err
}

// changed runs do, which changes the container's configuration, and with it the
// container if it runs.
func (m *monitor) changed(do func() error) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	if m.retired {
		return notRunning(m.container)
	}
	return do()
}

// wait stays until init has ended, and says how.
func (m *monitor) wait() Exit {
	m.turn(running)
	stopWatching := m.watchMemory()
	syncing := time.AfterFunc(m.syncDelay(), m.syncState)
	shrinking := time.AfterFunc(shrinkDelay, debug.FreeOSMemory)
	state, err := m.process.Wait()
	syncing.Stop()
	shrinking.Stop()
	stopWatching()
	exit := Exit{StartedAt: m.container.Live.StartedAt, FinishedAt: time.Now().UTC()}
	m.stdio.drain()
	m.count(&exit)
	switch {
	case state != nil:
		exit.ExitCode = exitCode(state)
	case err != nil:
		exit.ExitCode, exit.Error = 255, "wait for container: "+err.Error()
	}
	m.container.emit("die", map[string]string{
		"exitCode":     strconv.Itoa(exit.ExitCode),
		"execDuration": strconv.Itoa(int(exit.FinishedAt.Sub(exit.StartedAt).Seconds())),
	})
	return exit
}

// shrinkDelay is how long after its start a container's monitor gives back to the
// kernel what the start needed: one that ends before has no use for it.
const shrinkDelay = time.Second

// syncDelay is how long after its start a container's state is synced to the disk.
// One with --rm that ends before has nothing to be found by after a power cut; the
// directory entries get there after 5 s (ext4(5), commit), and must not come
// before what they name.
func (m *monitor) syncDelay() time.Duration {
	if m.container.Config.AutoRemove {
		return time.Second
	}
	return 0
}

// syncState makes the state that was written without waiting for the disk survive
// a power cut: without it an empty file could be what is left of it.
func (m *monitor) syncState() {
	for _, name := range []string{configFile, lastFile} {
		if f, err := os.Open(filepath.Join(m.container.dir(), name)); err == nil {
			_ = f.Sync() // What the disk can't keep it could not keep before either.
			_ = f.Close()
		}
	}
}

// exitCode is the status as a shell and Docker report it: 128+n for signal n.
func exitCode(state *os.ProcessState) int {
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// watchMemory notes an out-of-memory kill as soon as the kernel tells of it, so
// that inspect shows it while PID 1 lives on. stop returns when nothing more is
// going to be written.
func (m *monitor) watchMemory() (stop func()) {
	if m.group == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	kills, done := m.group.Watch(ctx), make(chan struct{})
	go func() {
		defer close(done)
		for range kills {
			_ = m.change(func(live *Live) { live.OOMKilled = true })
			m.container.emit("oom", nil)
		}
	}()
	return func() { cancel(); <-done }
}

// count reads the group's last counters; once the group is gone they are lost.
func (m *monitor) count(exit *Exit) {
	if m.group == nil {
		return
	}
	counters, err := m.group.Counters()
	if err != nil {
		exit.Error = err.Error()
		return
	}
	exit.Cgroup = &counters
	exit.OOMKilled = counters.MemoryEvents.OOMKill > 0
}

// neverRan is the record of a container that could not be started.
func (m *monitor) neverRan(cause error) Exit {
	exit := Exit{ExitCode: steps.CodeOf(cause, 125), Error: cause.Error(), Failed: time.Now().UTC()}
	if before := m.container.Exit; before != nil {
		exit.StartedAt, exit.FinishedAt = before.StartedAt, before.FinishedAt
	}
	return exit
}

// record keeps how the container ended, unless it is about to be removed.
func (m *monitor) record(exit Exit) error {
	m.container.Exit = &exit
	if m.container.Config.AutoRemove {
		return nil
	}
	return writeJSON(filepath.Join(m.container.dir(), exitFile), exit, true)
}

// end takes back what the start made; with --rm, the container too. Between two
// runs the monitor keeps its place: the lock, and the socket.
func (m *monitor) end(again bool) error {
	if m.log != nil {
		_ = m.log.close(durable(!m.container.Config.AutoRemove))
	}
	_ = m.leaveNetwork() // Sockets that are gone at the latest with this process.
	m.container.tellDisconnected()
	if !again {
		return m.retire()
	}
	if err := rewind(m.container, m.ledger); err != nil {
		return err
	}
	ledger, err := steps.Open(m.layout.Ledger(m.container.Config.ID), m.callers.tell)
	if err != nil {
		return err
	}
	m.ledger = ledger
	return nil
}

// retire takes the last run back; the caller holds changing.
func (m *monitor) retire() error {
	m.retired = true
	return retire(m.container, m.ledger)
}

// showRestarting comes before anyone hears that the run has ended.
func (m *monitor) showRestarting() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.container.Live = &Live{Monitor: os.Getpid(), MonitorStart: m.born, StartedAt: m.container.Live.StartedAt, Restarting: true}
	return m.saveLive()
}

// rest waits until it is time for the next run; it says no when a user stops the
// container meanwhile.
func (m *monitor) rest() bool {
	m.turn(resting)
	timer := time.NewTimer(m.restarts.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		if !m.stops() {
			return true
		}
	case <-m.wake:
	}
	m.turn(ending)
	m.changing.Lock()
	_ = m.retire()
	m.changing.Unlock()
	m.callers.end(m.tellEnd) // Not before: whoever hears of the end may look at once.
	return false
}

// turn goes on to another phase.
func (m *monitor) turn(to phase) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.phase = to
	m.turned.Broadcast()
}

// stops says whether a user has stopped the container.
func (m *monitor) stops() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopping
}

// change writes a new live.json.
func (m *monitor) change(how func(*Live)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	how(m.container.Live)
	return m.saveLive()
}

func (m *monitor) saveLive() error {
	return writeJSON(filepath.Join(m.container.run(), liveFile), m.container.Live, false)
}

// noteStart keeps what a reboot must not take.
func (m *monitor) noteStart() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := LastRun{StartedAt: m.container.Live.StartedAt, Boot: bootID(), RestartCount: m.restarts.count}
	return m.container.saveLast(last)
}

func (c *Container) saveLast(last LastRun) error {
	c.Last = &last
	return writeJSON(filepath.Join(c.dir(), lastFile), last, false)
}

func faultOf(err error) faultMessage {
	err = explainDiskFull(err)
	return faultMessage{
		Fault:      steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: steps.CodeOf(err, 0)},
		NotRunning: errors.Is(err, errNotRunning),
	}
}

// readRequest reads the frame with which every conversation begins.
func readRequest(conn io.Reader) (request, error) {
	var r request
	kind, payload, err := readFrame(conn)
	if err != nil {
		return r, err
	}
	if kind != frameRequest {
		return r, fmt.Errorf("read request: unexpected frame %c", kind)
	}
	return r, json.Unmarshal(payload, &r)
}
