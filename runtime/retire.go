package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// Undos collects every leaf's way of taking its objects back.
func Undos() steps.Undos {
	return steps.Merge(images.Undos(), cgroups.Undos(), netns.Undos(), steps.Undos{kindName: undoName, "fifo": undoFile})
}

func undoFile(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// retire takes back everything that a run of the container made on the kernel,
// and keeps its story; a container with AutoRemove goes altogether. The caller
// holds the container's lock, whose directory therefore goes last.
func retire(c *Container, ledger *steps.Ledger) error {
	if c.Config.AutoRemove {
		return remove(c, ledger)
	}
	return errors.Join(rewind(c, ledger), os.RemoveAll(c.run()))
}

// rewind takes back what a run made, and keeps its story, but leaves the lock and
// the monitor's socket where they are.
func rewind(c *Container, ledger *steps.Ledger) error {
	if err := ledger.Undo(Undos(), steps.Boot); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(c.dir(), storyFile), ledger.Records(), false); err != nil {
		return err
	}
	if err := ledger.Close(); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return undoFile(c.layout.Ledger(c.Config.ID).Boot)
}

// remove takes back the whole container. config.json goes first: from then on
// there is no container, only something to clean up.
func remove(c *Container, ledger *steps.Ledger) error {
	if err := undoFile(filepath.Join(c.dir(), configFile)); err != nil {
		return err
	}
	if err := ledger.Undo(Undos(), steps.Boot, steps.Kept); err != nil {
		return err
	}
	if c.Config.Name != "" {
		c.emit("destroy", nil)
	}
	return errors.Join(ledger.Remove(), os.RemoveAll(c.run()))
}
