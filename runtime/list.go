package runtime

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
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
	return loadAll(l, ids)
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

// Find returns the container with this ID, name, or unambiguous prefix of an ID, in
// this order.
func Find(l Layout, ref string) (*Container, error) {
	ref, named := strings.CutPrefix(ref, "/") // As inspect shows names.
	if isID(ref) && !named {
		switch c, err := loadSettled(l, ref); {
		case errors.Is(err, fs.ErrPermission):
			return nil, errors.Join(needRoot(), err)
		case !errors.Is(err, fs.ErrNotExist):
			return c, err
		}
	}
	if holder, err := os.Readlink(filepath.Join(l.Names(), filepath.Base(ref))); err == nil && ref == filepath.Base(ref) {
		if c, err := loadSettled(l, filepath.Base(holder)); !errors.Is(err, fs.ErrNotExist) && (err != nil || c.Config.Name == ref) {
			return c, err
		}
	}
	if named {
		return nil, noContainer("/" + ref)
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
		return nil, noContainer(ref)
	}
	return found, nil
}

// isID says whether a text has the form of a whole ID.
func isID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == 64
}

// loadSettled loads a container, after finishing what a killed monitor of it, or
// a power cut, left undone, so that nobody ever reads a state that is not so any
// more.
func loadSettled(l Layout, id string) (*Container, error) {
	c, err := load(l, id)
	if err != nil || c.Running() || c.settled() {
		return c, err
	}
	held, err := tryLock(l, id)
	if errors.Is(err, errBusy) {
		return c, nil // Its monitor is writing the end at this moment, or waits for the next run.
	}
	if err != nil {
		return c, err
	}
	defer held.release()
	if c, err = load(l, id); err != nil || c.Running() {
		return c, err
	}
	if c.settled() {
		return c, nil
	}
	return settle(c)
}

// settled says whether the last run of the container has been recorded and taken
// back. A run that nobody recorded leaves a start without an end.
func (c *Container) settled() bool { return c.Live == nil && !c.cut() }

// cut says whether the last start has no end: the machine went down, or the
// monitor and its state were lost.
func (c *Container) cut() bool {
	return c.Last != nil && !c.Exit.follows(c.Last.StartedAt)
}

// unknownStatus is Docker's exit code where nobody saw the end.
const unknownStatus = 255

// settle records the end of a container whose monitor did not live to see it.
func settle(c *Container) (*Container, error) {
	if c.Config.AutoRemove {
		if err := withLedger(c, nil, remove); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("load container %s: %w", short(c.Config.ID), fs.ErrNotExist)
	}
	if !c.recorded() {
		if err := writeJSON(filepath.Join(c.dir(), exitFile), c.lostEnd(), true); err != nil {
			return nil, err
		}
		c.emit("die", map[string]string{"exitCode": strconv.Itoa(unknownStatus)})
		c.tellDisconnected()
	}
	if err := withLedger(c, nil, retire); err != nil {
		return nil, err
	}
	return load(c.layout, c.Config.ID)
}

// recorded says whether the monitor got as far as to write the end down.
func (c *Container) recorded() bool {
	if c.Live != nil && !c.Live.Restarting {
		return c.Exit.follows(c.Live.StartedAt)
	}
	return !c.cut()
}

func (c *Container) lostEnd() Exit {
	exit := Exit{ExitCode: unknownStatus, Error: "exit status unknown: its monitor died", FinishedAt: time.Now().UTC()}
	switch {
	case c.Live != nil:
		exit.StartedAt, exit.OOMKilled = c.Live.StartedAt, c.Live.OOMKilled
	default:
		exit.StartedAt, exit.Error = c.Last.StartedAt, "exit status unknown: the machine went down"
	}
	return exit
}

// withLedger opens a container's ledger for one act.
func withLedger(c *Container, tell func(steps.Record), act func(*Container, *steps.Ledger) error) error {
	ledger, err := steps.Open(c.layout.Ledger(c.Config.ID), tell)
	if err != nil {
		return err
	}
	return errors.Join(act(c, ledger), ledger.Close())
}
