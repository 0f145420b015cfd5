package runtime

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// reach connects to whoever can act on a running container: its monitor, or,
// where that died, a stand-in within this process, with the same code.
func (c *Container) reach() (*monitorConn, error) {
	path := filepath.Join(c.run(), socketFile)
	end := time.Now().Add(lockPatience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			return newMonitorConn(conn), nil
		}
		held, err := tryLock(c.layout, c.Config.ID)
		if err == nil {
			return c.standIn(held)
		}
		if !errors.Is(err, errBusy) {
			return nil, err
		}
		if time.Now().After(end) {
			return nil, busy(c)
		}
		time.Sleep(wait)
	}
}

// busy says that another command works on the container, for longer than is
// worth waiting.
func busy(c *Container) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("container %s is busy: another command works on it", c.Config.Name),
		Hint: "Try again in a moment; `ps -e | grep minidock` shows who is at work.", Err: errBusy,
	}
}

// standIn acts in the place of a monitor that died, for one request.
func (c *Container) standIn(held *lock) (*monitorConn, error) {
	m, err := newStandIn(c, held)
	if err != nil {
		held.release()
		return nil, err
	}
	ours, file, err := socketPair()
	if err != nil {
		held.release()
		return nil, err
	}
	theirs, err := connOf(file)
	if err != nil {
		held.release()
		return nil, errors.Join(err, ours.Close())
	}
	go func() {
		defer held.release()
		m.serve(theirs)
		_ = m.ledger.Close()
	}()
	return newMonitorConn(ours), nil
}

func newStandIn(c *Container, held *lock) (*monitor, error) {
	now, err := load(c.layout, c.Config.ID)
	if err != nil {
		return nil, orNoContainer(err, c.Config.Name)
	}
	if !now.Running() {
		return nil, notRunning(now)
	}
	m := newMonitor(c.layout, held)
	m.container, m.phase, m.published = now, running, now.Live.Ports
	if m.host, err = cgroups.Probe(); err != nil {
		return nil, err
	}
	if m.ledger, err = steps.Open(c.layout.Ledger(now.Config.ID), m.callers.tell); err != nil {
		return nil, err
	}
	if m.inner, err = libcontainer.Load(c.layout.Libcontainer(), now.Config.ID); err != nil {
		return nil, errors.Join(fmt.Errorf("load container: %w", err), m.ledger.Close())
	}
	return m, nil
}

// standsIn says whether there is no monitor, but a command in its place. It knows
// nothing of the container's streams, and can't wait for it as a parent does.
func (m *monitor) standsIn() bool { return m.socket == nil }

// letGo gives the lock of a stand-in back before it waits for long.
func (m *monitor) letGo() {
	if m.standsIn() {
		m.held.release()
	}
}
