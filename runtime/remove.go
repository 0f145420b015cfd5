package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Remove removes a container; a running one only with force, which kills it. tell,
// when not nil, hears what is done to it and taken back.
func Remove(l Layout, ref string, force bool, tell func(steps.Record)) error {
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	if err := c.mayRemove(force); err != nil {
		return err
	}
	held, err := c.takeOver(force, tell)
	switch {
	case errors.Is(err, errBusy):
		return busy(c)
	case errors.Is(err, errStarted):
		return err
	case err != nil:
		return fmt.Errorf("remove container %s: %w", c.Config.Name, err)
	}
	defer held.release()
	if _, err := load(l, c.Config.ID); errors.Is(err, fs.ErrNotExist) {
		if force && c.Config.AutoRemove {
			return nil // It has gone by itself when it was killed.
		}
		return noContainer(ref)
	}
	return errors.Join(c.tellLock(held, tell), withLedger(c, tell, remove), cgroups.RemoveUnused(l.Instance))
}

// errStarted is part of the error about a container that has to be stopped before.
var errStarted = errors.New("container is started")

// mayRemove refuses what runs, but for those who use force.
func (c *Container) mayRemove(force bool) error {
	if force || !c.Started() {
		return nil
	}
	status := c.Status()
	return &steps.Fault{
		Msg:  fmt.Sprintf("cannot remove container %q: container is %s: %s", "/"+c.Config.Name, status, beforeRemoving(status)),
		Hint: "Use `minidock rm -f " + c.Config.Name + "`.", Err: errStarted,
	}
}

// beforeRemoving is Docker's advice for each state.
func beforeRemoving(status string) string {
	if status == "paused" {
		return "unpause and then stop the container before removing or force remove"
	}
	return "stop the container before removing or force remove"
}

// takeOver takes the lock of a container that has ended, ending it with force. A
// living monitor records the end and then lets go of the lock; while it is still
// starting the container there is nothing to kill yet, so both are tried again.
func (c *Container) takeOver(force bool, tell func(steps.Record)) (*lock, error) {
	end := time.Now().Add(lockPatience)
	for {
		now, err := load(c.layout, c.Config.ID)
		if err == nil {
			err = now.mayRemove(force) // Somebody may have started it meanwhile.
		}
		if errors.Is(err, errStarted) {
			return nil, err
		}
		if err == nil && now.Started() {
			err = now.killForGood(tell)
		}
		// It may end, or vanish, while we look.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoContainer) && !errors.Is(err, errNotRunning) {
			return nil, err
		}
		held, err := takeLock(c.layout, c.Config.ID, lockStep)
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			return held, err
		}
	}
}

// killForGood has the monitor kill the container, so that it is not started
// again; should the monitor not answer, it is done without it.
func (c *Container) killForGood(tell func(steps.Record)) error {
	monitor, err := c.reach()
	if err != nil {
		return err
	}
	defer monitor.conn.Close()
	_ = monitor.conn.SetDeadline(time.Now().Add(lockPatience))
	_, err = monitor.converse(c, request{Op: opStop, Signal: int(unix.SIGKILL), Removing: true, Explain: tell != nil}, Streams{Tell: tell, KeepSignals: true})
	if err != nil && c.Live.Pid != 0 {
		return killWait(c.Live.Pid, c.Live.PidStart, lockPatience)
	}
	return nil
}

// lockStep is how long takeOver waits for the lock before it looks again.
const lockStep = 200 * time.Millisecond
