package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// Leftover is one object that a dead process left behind.
type Leftover struct {
	Owner  string     `json:"owner"`
	Kind   steps.Kind `json:"kind"`
	Target string     `json:"target"`
	Undo   string     `json:"undo,omitempty"`
}

// Cleanup undoes what dead processes left and returns what that was; with dry
// it only says what it would do. It never touches a container whose init lives,
// nor anything whose owner still works on it.
func Cleanup(l Layout, dry bool) ([]Leftover, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	owners, err := owners(l)
	if err != nil {
		return nil, err
	}
	var all []Leftover
	var errs []error
	for _, id := range owners {
		found, err := cleanOwner(l, id, dry)
		all = append(all, found...)
		errs = append(errs, err)
	}
	for _, link := range strayNames(l) {
		all = append(all, Leftover{Owner: filepath.Base(link), Kind: kindName, Target: link, Undo: "rm " + link})
		if !dry {
			errs = append(errs, undoFile(link))
		}
	}
	if !dry {
		errs = append(errs, cgroups.RemoveUnused(l.Instance))
	}
	// After the containers: they give their addresses back themselves.
	halves, err := l.Networks().Cleanup(dry)
	all, errs = append(all, leftovers("networks", halves)...), append(errs, err)
	halves, err = images.Open(l.Root).Cleanup(dry)
	all = append(all, leftovers("images", halves)...)
	return all, errors.Join(append(errs, err)...)
}

// owners lists everything that has a ledger or a directory.
func owners(l Layout) ([]string, error) {
	seen := map[string]bool{}
	var list []string
	for _, dir := range []string{filepath.Dir(l.Ledger("x").Boot), filepath.Dir(l.Ledger("x").Kept), l.Containers(), filepath.Dir(l.RunContainer("x"))} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list leftovers: %w", err)
		}
		for _, e := range entries {
			id := strings.TrimSuffix(e.Name(), ".jsonl")
			if !seen[id] && !images.Owns(id) && !netns.Owns(id) {
				seen[id] = true
				list = append(list, id)
			}
		}
	}
	return list, nil
}

func cleanOwner(l Layout, id string, dry bool) ([]Leftover, error) {
	held, err := tryLock(l, id)
	if errors.Is(err, errBusy) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer held.release()
	c, err := load(l, id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Half made or half removed: all of it goes.
		c = &Container{layout: l, Config: Config{ID: id, AutoRemove: true}}
	case err != nil:
		return nil, err
	case c.Running():
		return cleanOrphan(c, dry)
	}
	return cleanDead(c, dry)
}

// cleanOrphan gives back what a container that runs without its monitor has leased and
// is not on: whoever was changing its networks was killed.
func cleanOrphan(c *Container, dry bool) ([]Leftover, error) {
	ledger, err := steps.Open(c.layout.Ledger(c.Config.ID), nil)
	if err != nil {
		return nil, err
	}
	defer ledger.Close()
	return cleanStray(c, ledger, dry)
}

func cleanStray(c *Container, ledger *steps.Ledger, dry bool) ([]Leftover, error) {
	found := leftovers(c.Config.ID, c.stray(ledger))
	if dry || len(found) == 0 {
		return found, nil
	}
	return found, c.releaseStray(ledger)
}

// cleanDead takes back what a container that does not run still has.
func cleanDead(c *Container, dry bool) ([]Leftover, error) {
	ledger, err := steps.Open(c.layout.Ledger(c.Config.ID), nil)
	if err != nil {
		return nil, err
	}
	defer ledger.Close()
	gone := c.Config.Name == ""
	lifetimes, stray := []steps.Lifetime{steps.Boot}, []Leftover(nil)
	if gone || c.Live != nil && c.Config.AutoRemove {
		lifetimes = append(lifetimes, steps.Kept)
	} else if stray, err = cleanStray(c, ledger, dry); err != nil {
		return stray, err
	}
	pending := leftovers(c.Config.ID, ledger.Pending(Undos(), lifetimes...))
	found := append(stray, pending...)
	switch {
	case dry:
		return found, nil
	case gone:
		return found, errors.Join(remove(c, ledger), os.RemoveAll(c.dir()))
	case c.Live != nil:
		_, err = settle(c)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return found, err
	case len(pending) > 0 && onlyViews(ledger.Records()):
		return found, undoView(c, ledger)
	case len(pending) > 0:
		return found, retire(&Container{layout: c.layout, Config: withoutAutoRemove(c.Config)}, ledger)
	}
	return found, nil
}

func withoutAutoRemove(c Config) Config {
	c.AutoRemove = false
	return c
}

func leftovers(owner string, records []steps.Record) []Leftover {
	var list []Leftover
	for _, r := range records {
		list = append(list, Leftover{Owner: owner, Kind: r.Kind, Target: r.Target, Undo: r.Undo})
	}
	return list
}
