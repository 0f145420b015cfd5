package runtime

import (
	"errors"
	"fmt"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Remove removes a container; a running one only with force, which kills it.
func Remove(l Layout, ref string, force bool) error {
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	if c.Running() && !force {
		return &steps.Fault{
			Msg:  fmt.Sprintf("cannot remove container %q: container is running: stop the container before removing or force remove", "/"+c.Config.Name),
			Hint: "Use `minidock rm -f " + c.Config.Name + "`.",
		}
	}
	held, err := c.takeOver(force)
	if err != nil {
		return fmt.Errorf("remove container %s: %w", c.Config.Name, err)
	}
	defer held.release()
	return errors.Join(withLedger(c, remove), cgroups.RemoveUnused(l.Instance))
}

// takeOver takes the lock of a container that has ended, ending it with force. A
// living monitor records the end and then lets go of the lock; while it is still
// starting the container there is nothing to kill yet, so both are tried again.
func (c *Container) takeOver(force bool) (*lock, error) {
	end := time.Now().Add(lockPatience)
	for {
		if now, err := load(c.layout, c.Config.ID); err == nil && now.Running() && force {
			if err := killWait(now.Live.Pid, now.Live.PidStart, lockPatience); err != nil {
				return nil, err
			}
		}
		held, err := takeLock(c.layout, c.Config.ID, lockStep)
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			return held, err
		}
	}
}

// lockStep is how long takeOver waits for the lock before it looks again.
const lockStep = 200 * time.Millisecond
