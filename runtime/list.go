package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/minidock/minidock/steps"
)

// ErrNoContainer says that no container has this name or ID.
var ErrNoContainer = errors.New("no such container")

// List returns all containers, newest first. A container whose state can't be
// read does not hide the others: its error comes back beside them.
func List(l Layout) ([]*Container, error) {
	ids, err := containerIDs(l)
	if err != nil {
		return nil, err
	}
	var all []*Container
	var errs []error
	for _, id := range ids {
		c, err := loadSettled(l, id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // Half made or half removed: no container.
		case err != nil:
			errs = append(errs, err)
		default:
			all = append(all, c)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Config.Created.After(all[j].Config.Created) })
	return all, errors.Join(errs...)
}

func containerIDs(l Layout) ([]string, error) {
	entries, err := os.ReadDir(l.Containers())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(needRoot(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// Find returns the container with this name, ID, or unambiguous prefix of an ID.
func Find(l Layout, ref string) (*Container, error) {
	if holder, err := os.Readlink(filepath.Join(l.Names(), filepath.Base(ref))); err == nil && ref == filepath.Base(ref) {
		if c, err := loadSettled(l, filepath.Base(holder)); !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	ids, err := containerIDs(l)
	if err != nil {
		return nil, err
	}
	var found *Container
	for _, id := range ids {
		if ref == "" || !strings.HasPrefix(id, ref) {
			continue
		}
		c, err := loadSettled(l, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found != nil {
			return nil, &steps.Fault{Msg: "Multiple IDs found with provided prefix: " + ref, Hint: "Give more digits, or the name."}
		}
		found = c
	}
	if found == nil {
		return nil, &steps.Fault{Msg: "No such container: " + ref, Hint: "List them with `minidock ps -a`.", Err: ErrNoContainer}
	}
	return found, nil
}

// loadSettled loads a container, after finishing what a killed monitor of it
// left undone, so that nobody ever reads a state that is not so any more.
func loadSettled(l Layout, id string) (*Container, error) {
	c, err := load(l, id)
	if err != nil || c.Live == nil || c.Running() {
		return c, err
	}
	held, err := tryLock(l, id)
	if errors.Is(err, errBusy) {
		return c, nil // Its monitor is writing the end at this moment.
	}
	if err != nil {
		return c, err
	}
	defer held.release()
	if c, err = load(l, id); err != nil || c.Live == nil {
		return c, err
	}
	return settle(c)
}

// settle records the end of a container whose monitor did not live to see it.
func settle(c *Container) (*Container, error) {
	if c.Config.AutoRemove {
		if err := withLedger(c, remove); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("load container %s: %w", short(c.Config.ID), fs.ErrNotExist)
	}
	exit := Exit{
		ExitCode: 255, Error: "exit status unknown: its monitor died", OOMKilled: c.Live.OOMKilled,
		StartedAt: c.Live.StartedAt, FinishedAt: time.Now().UTC(),
	}
	if err := writeJSON(filepath.Join(c.dir(), exitFile), exit, true); err != nil {
		return nil, err
	}
	if err := withLedger(c, retire); err != nil {
		return nil, err
	}
	return load(c.layout, c.Config.ID)
}

// withLedger opens a container's ledger for one act.
func withLedger(c *Container, act func(*Container, *steps.Ledger) error) error {
	ledger, err := steps.Open(c.layout.Ledger(c.Config.ID), nil)
	if err != nil {
		return err
	}
	return errors.Join(act(c, ledger), ledger.Close())
}
