package runtime

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
)

// bootID names this boot of the machine (random(4), /proc/sys/kernel/random/boot_id).
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // Where it is missing every boot is the same.
	return strings.TrimSpace(string(text))
}

// Boot starts the containers whose restart policy brings them back after a
// reboot, and tells which ones. One that has been started since the machine came
// up is left alone, however it ended, so that doing it again does no harm.
func Boot(l Layout, started func(*Container)) error {
	all, err := List(l)
	errs := []error{err}
	for _, c := range all {
		if c.Started() || c.Last == nil || c.Last.Boot == bootID() || !c.Config.Restart.wantsAfterBoot(*c.Last, c.Exit) {
			continue
		}
		if _, err := Start(l, c.Config.ID, Streams{Detach: true}); err != nil {
			errs = append(errs, fmt.Errorf("start container %s: %w", c.Config.Name, err))
			continue
		}
		started(c)
	}
	return errors.Join(errs...)
}

// Halt stops every container, all at once, before the machine goes down. It is
// not the user who stops them: the next [Boot] may start them again.
func Halt(l Layout, stopped func(*Container)) error {
	all, err := List(l)
	var mu sync.Mutex
	var group sync.WaitGroup
	errs := []error{err}
	for _, c := range all {
		if !c.Started() {
			continue
		}
		group.Go(func() {
			err := c.act(request{Op: opStop, Halting: true}, nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !errors.Is(err, errNotRunning) {
				errs = append(errs, fmt.Errorf("stop container %s: %w", c.Config.Name, err))
				return
			}
			stopped(c)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
