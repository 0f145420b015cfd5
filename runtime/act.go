package runtime

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// What a monitor does to its container on request, or in place of one that died,
// the command itself (see reach).

const (
	whySignal = "Send the signal to the container's first process. As PID 1 of its namespace it only gets signals that it has a handler for, but for KILL and STOP from outside."
	whyKill   = "Kill the container's first process; with it the kernel kills everyone in its PID namespace."
)

// sendSignal sends a signal to the container's first process.
func (m *monitor) sendSignal(s unix.Signal) error {
	if err := m.needRunning(); err != nil {
		return err
	}
	live := m.current()
	why := whySignal
	if s == unix.SIGKILL {
		why = whyKill
	}
	var gone bool
	err := m.ledger.Do(signalStep(live.Pid, s, why), func() (err error) {
		gone, err = signalProcess(live.Pid, live.PidStart, s)
		return err
	})
	if err == nil && gone {
		return notRunning(m.container)
	}
	return err
}

// kill is the verb: a signal that ends the container also ends its restarts.
func (m *monitor) kill(s unix.Signal) error {
	final := s == unix.SIGKILL || s == m.container.Config.stopSignal()
	if final {
		m.holdBack(true)
	}
	return m.killWith(s, final)
}

func (m *monitor) killWith(s unix.Signal, final bool) error {
	if err := m.sendSignal(s); err != nil {
		return err
	}
	m.container.emit("kill", map[string]string{"signal": strconv.Itoa(int(s))})
	live := m.current()
	if !final || !live.Paused {
		return nil
	}
	// Frozen, it does not get the signal; but for KILL on cgroup v2.
	if err := m.unpause(); err != nil && alive(live.Pid, live.PidStart) {
		return err
	}
	return nil
}

// killOnRequest waits for the end after SIGKILL, as Docker does, and as long: then
// whoever asked finds the container ended. Other signals may mean something else.
func (m *monitor) killOnRequest(s unix.Signal) error {
	const patience = 10 // Seconds.
	again := m.mayRunAgain()
	err := m.kill(s)
	if again && m.stops() && errors.Is(err, errNotRunning) {
		m.awaitEnd() // Between two runs there is nobody to kill, and now there will not be.
		return nil
	}
	if err != nil {
		return err
	}
	if s == unix.SIGKILL && m.endsWithin(patience) {
		m.awaitEnd()
	}
	return nil
}

// mayRunAgain says whether the restart policy may start the container once more.
func (m *monitor) mayRunAgain() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase != over && !m.stopping && m.restarts.policy.wants(1, m.restarts.count)
}

// current returns the state of the present run.
func (m *monitor) current() Live {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.container.Live == nil {
		return Live{}
	}
	return *m.container.Live
}

// holdBack keeps the restart policy from starting the container again: after the
// next [Boot], too, if it is the user's will, and else only until then.
func (m *monitor) holdBack(byUser bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.container.Last != nil {
		last := *m.container.Last
		if byUser {
			last.StoppedByUser = true
		} else {
			last.Boot = ""
		}
		_ = m.container.saveLast(last)
	}
	if !m.stopping {
		m.stopping = true
		close(m.wake)
	}
}

// stop ends the container: its stop signal, some patience, and then SIGKILL. It
// returns when the end has been recorded and all is taken back.
func (m *monitor) stop(asked request) error {
	m.holdBack(!asked.Halting)
	signal, timeout := m.container.Config.stopSignal(), m.container.Config.stopTimeout()
	if asked.Signal != 0 {
		signal = unix.Signal(asked.Signal)
	}
	if asked.Timeout != nil {
		timeout = *asked.Timeout
	}
	err := m.killWith(signal, true)
	if err == nil && !m.endsWithin(timeout) {
		err = m.killWith(unix.SIGKILL, true)
	}
	if err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	m.awaitEnd()
	if !asked.Removing {
		m.container.emit("stop", nil)
	}
	return nil
}

// endsWithin waits for the end of init; below 0 seconds it waits for ever.
func (m *monitor) endsWithin(seconds int) bool { return m.current().endsWithin(seconds) }

func (live Live) endsWithin(seconds int) bool {
	fd, err := openProcess(live.Pid, live.PidStart)
	if err != nil || fd < 0 {
		return err == nil
	}
	defer unix.Close(fd)
	if seconds < 0 {
		return waitPidfd(fd, forever) == nil
	}
	return waitPidfd(fd, time.Duration(seconds)*time.Second) == nil
}

// endPatience is how many seconds the end of a container may take after the
// kernel has begun to kill what is in its PID namespace.
const endPatience = 1

// explainEnd says of what failed because the container ended meanwhile just that.
func (m *monitor) explainEnd(run Live, err error) error {
	if err != nil && run.endsWithin(endPatience) {
		return notRunning(m.container)
	}
	return err
}

// forever is longer than any machine stays up.
const forever = 100 * 365 * 24 * time.Hour

// awaitEnd waits until nothing of the container's run is left.
func (m *monitor) awaitEnd() {
	if m.standsIn() {
		_, _ = settle(m.container)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.phase != over {
		m.turned.Wait()
	}
}

// pause freezes every process of the container.
func (m *monitor) pause() error {
	if err := m.needRunning(); err != nil {
		return err
	}
	m.freezing.Lock()
	defer m.freezing.Unlock()
	run := m.current()
	if run.Paused {
		return &steps.Fault{
			Msg:  fmt.Sprintf("Container %s is already paused", m.container.Config.ID),
			Hint: "Let it go on with `minidock unpause " + m.container.Config.Name + "`.",
		}
	}
	// A process on its way in would be frozen half-way, and hold libcontainer's lock.
	m.entering.Lock()
	defer m.entering.Unlock()
	step := cgroups.FreezeStep(m.host, m.layout.CgroupPath(m.container.Config.ID), true)
	if err := m.ledger.Do(step, m.inner.Pause); err != nil {
		return m.explainEnd(run, err)
	}
	return m.paused(true, "pause")
}

// unpause lets a paused container go on.
func (m *monitor) unpause() error {
	if err := m.needRunning(); err != nil {
		return err
	}
	m.freezing.Lock()
	defer m.freezing.Unlock()
	run := m.current()
	if !run.Paused {
		return notPaused(m.container)
	}
	step := cgroups.FreezeStep(m.host, m.layout.CgroupPath(m.container.Config.ID), false)
	if err := m.ledger.Do(step, m.inner.Resume); err != nil {
		return m.explainEnd(run, err)
	}
	return m.paused(false, "unpause")
}

func notPaused(c *Container) error {
	return &steps.Fault{Msg: fmt.Sprintf("Container %s is not paused", c.Config.ID), Hint: "See its state with `minidock ps -a`."}
}

func (m *monitor) paused(is bool, event string) error {
	err := m.change(func(live *Live) { live.Paused = is })
	m.container.emit(event, nil)
	return err
}

// rename gives the container another name: first the new one is taken, then it
// is the container's, then the old one is given back.
func (m *monitor) rename(name string) error {
	return m.changed(func() error {
		if err := m.container.rename(m.ledger, name); err != nil || !m.container.Running() {
			return err
		}
		return m.container.introduceEverywhere(m.ledger)
	})
}

// update changes limits and the restart policy.
func (m *monitor) update(changes Changes) error {
	return m.changed(func() error {
		err := m.container.applyUpdate(m.ledger, changes)
		m.restarts.policy = m.container.Config.Restart
		return err
	})
}

func (c *Container) saveConfig() error {
	return writeJSON(filepath.Join(c.dir(), configFile), c.Config, durable(!c.Config.AutoRemove))
}
