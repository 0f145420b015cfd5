package runtime

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/minidock/minidock/steps"
)

// Story returns every step of a container, in order: from its ledger while it
// has one, afterwards from the copy that was kept beside its state.
func Story(l Layout, ref string) ([]steps.Record, error) {
	c, err := Find(l, ref)
	if err != nil {
		return nil, err
	}
	if c.Live == nil {
		var records []steps.Record
		err := steps.ReadState(filepath.Join(c.dir(), storyFile), &records)
		if !errors.Is(err, fs.ErrNotExist) {
			return records, err
		}
	}
	return steps.Load(c.layout.Ledger(c.Config.ID))
}
