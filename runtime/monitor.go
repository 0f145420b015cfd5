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
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// monitor is the process that starts a container, waits for it, keeps its log,
// and takes everything back when it has ended.
type monitor struct {
	layout    Layout
	container *Container
	conn      *net.UnixConn
	out       frameWriter
	ledger    *steps.Ledger
	held      *lock
	host      cgroups.Host
	group     *cgroups.Group // nil on a host without cgroup v2 controllers
	inner     *libcontainer.Container
	process   *libcontainer.Process
	stdio     *stdio
	log       *logWriter
}

// IsMonitor says whether this process was started by launch.
func IsMonitor(args []string) bool {
	return len(args) == 3 && args[1] == "monitor" && len(args[0]) > len(monitorTitle) && args[0][:len(monitorTitle)] == monitorTitle
}

// RunMonitor is the whole life of a monitor process. Whoever started it waits at
// the other end of file descriptor 3.
func RunMonitor(root string) error {
	surviveSignals()
	conn, err := connOf(os.NewFile(monitorFd, "command"))
	if err != nil {
		return err
	}
	l, err := LayoutOf(root)
	if err != nil {
		return err
	}
	m := &monitor{layout: l, conn: conn}
	order, err := m.awaitOrder()
	if errors.Is(err, io.EOF) {
		return nil // The command gave up before it had a container.
	}
	if err != nil {
		return err
	}
	// A command that is slow, or gone, must never hold up the container.
	spool := newSpool(conn)
	defer spool.close()
	m.out.w = spool
	exit, err := m.live(order)
	if err != nil {
		return m.out.sendJSON(frameFault, faultOf(err))
	}
	if err := m.out.sendJSON(frameExit, exitMessage{Code: exit.ExitCode}); !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}

// surviveSignals keeps a hang-up or a general SIGTERM from taking the monitor
// from its container. They are caught, not ignored: an ignored signal would stay
// ignored in the container (signal(7), execve).
func surviveSignals() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGTERM)
}

func (m *monitor) awaitOrder() (goMessage, error) {
	var order goMessage
	kind, payload, err := readFrame(m.conn)
	if err != nil {
		return order, err
	}
	if kind != frameGo {
		return order, fmt.Errorf("read order: unexpected frame %c", kind)
	}
	return order, json.Unmarshal(payload, &order)
}

// live leads the container from its directory to its exit record.
func (m *monitor) live(order goMessage) (exit Exit, err error) {
	if err := m.open(order); err != nil {
		return Exit{}, err
	}
	defer m.held.release()
	startErr := m.start()
	if startErr == nil {
		exit = m.wait()
	} else {
		exit = m.neverRan(startErr)
	}
	if err := errors.Join(m.record(exit), m.end()); err != nil {
		return exit, errors.Join(startErr, err)
	}
	return exit, startErr
}

// open takes the container's lock, state and ledger.
func (m *monitor) open(order goMessage) (err error) {
	if m.held, err = takeLock(m.layout, order.ID, lockPatience); err != nil {
		return err
	}
	if m.container, err = load(m.layout, order.ID); err != nil {
		return err
	}
	var tell func(steps.Record)
	if order.Explain {
		tell = func(r steps.Record) { _ = m.out.sendJSON(frameTold, r) }
	}
	if m.ledger, err = steps.Open(m.layout.Ledger(order.ID), tell); err != nil {
		return err
	}
	m.host, err = cgroups.Probe()
	return err
}

// lockPatience is how long a command waits for another that works on the same
// container; nothing but the monitor itself keeps a lock for longer.
const lockPatience = 10 * time.Second

// wait stays until init has ended, and says how.
func (m *monitor) wait() Exit {
	go m.serve()
	stopWatching := m.watchMemory()
	state, err := m.process.Wait()
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
	return exit
}

// exitCode is the status as a shell and Docker report it: 128+n for signal n.
func exitCode(state *os.ProcessState) int {
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// serve takes input and signals from the attached command until it goes away.
func (m *monitor) serve() {
	for {
		kind, payload, err := readFrame(m.conn)
		if err != nil {
			m.stdio.endInput()
			return
		}
		switch {
		case kind == frameInput && m.stdio.pieces != nil:
			m.stdio.pieces <- payload
		case kind == frameEOF:
			m.stdio.endInput()
		case kind == frameSignal:
			var s signalMessage
			if json.Unmarshal(payload, &s) == nil {
				_ = m.process.Signal(unix.Signal(s.Number))
			}
		}
	}
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
			m.container.Live.OOMKilled = true
			_ = m.saveLive()
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
	return Exit{ExitCode: steps.CodeOf(cause, 125), Error: cause.Error()}
}

// record keeps how the container ended, unless it is about to be removed.
func (m *monitor) record(exit Exit) error {
	if m.container.Config.AutoRemove {
		return nil
	}
	return writeJSON(filepath.Join(m.container.dir(), exitFile), exit, true)
}

// end takes back what the start made; with --rm, the container too.
func (m *monitor) end() error {
	if m.log != nil {
		_ = m.log.close(durable(!m.container.Config.AutoRemove))
	}
	return retire(m.container, m.ledger)
}

func (m *monitor) saveLive() error {
	return writeJSON(filepath.Join(m.container.run(), liveFile), m.container.Live, false)
}

func faultOf(err error) *steps.Fault {
	err = explainDiskFull(err)
	return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: steps.CodeOf(err, 125)}
}
