package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// ListRunning returns the containers that run, are paused, or wait for their
// restart, newest first. It looks only at those that have been started in this
// boot, so that it costs nothing how many others there are. Errors are as of [List].
func ListRunning(l Layout) ([]*Container, error) {
	if err := mayList(l); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(l.RunContainer(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list running containers: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(l.RunContainer(e.Name()), liveFile)); err == nil {
			ids = append(ids, e.Name())
		}
	}
	started, err := loadAll(l, ids)
	return slices.DeleteFunc(started, func(c *Container) bool { return !c.Started() && !c.ending() }), err
}

// Started says whether the container runs, is paused, or waits for its restart:
// Docker's "running" in a wider sense.
func (c *Container) Started() bool {
	return c.Running() || c.Live != nil && c.Live.Restarting
}

// mayList tells a user without rights so even where nothing runs.
func mayList(l Layout) error {
	dir, err := os.Open(l.Containers())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		return errors.Join(needRoot(), err)
	case err != nil:
		return fmt.Errorf("list containers: %w", err)
	}
	return dir.Close()
}

// loadAll reads the state of many containers, on as many processors as there
// are: what it waits for is the opening of small files. Newest first. Half made or
// half removed ones are left out; others' errors come back beside what was read.
func loadAll(l Layout, ids []string) ([]*Container, error) {
	all := make([]*Container, len(ids))
	errs := make([]error, len(ids))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(goruntime.GOMAXPROCS(0), len(ids)) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				all[i], errs[i] = loadSettled(l, ids[i])
			}
		})
	}
	group.Wait()
	for i, err := range errs {
		if err != nil {
			all[i] = nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			errs[i] = nil
		}
	}
	all = slices.DeleteFunc(all, func(c *Container) bool { return c == nil })
	slices.SortFunc(all, func(a, b *Container) int {
		return cmp.Or(b.Config.Created.Compare(a.Config.Created), cmp.Compare(a.Config.ID, b.Config.ID))
	})
	return all, errors.Join(errs...)
}
