package steps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"time"
)

// line is one line of a ledger file; the package comment shows two.
type line struct {
	N        int        `json:"n"`
	Begun    *time.Time `json:"begun,omitempty"`
	Step     *Step      `json:"step,omitempty"`
	Together bool       `json:"together,omitempty"`
	Done     bool       `json:"done,omitempty"`
	TookUS   int64      `json:"took_us,omitempty"`
	Failed   string     `json:"failed,omitempty"`
	Undone   bool       `json:"undone,omitempty"`
}

func (e line) apply(r *Record) {
	switch {
	case e.Undone:
		r.State = Undone
	case e.Failed != "":
		r.State, r.Error = Failed, e.Failed
	case e.Done:
		r.State, r.Took = Done, time.Duration(e.TookUS)*time.Microsecond
	}
}

// Load reads the records of a ledger, in order. Missing files hold nothing. A
// last line without its newline is ignored (its act never began); any other
// line that can't be read gives an error that names the file and the line.
func Load(paths Paths) ([]Record, error) {
	var all []Record
	for _, p := range []string{paths.Boot, paths.Kept} {
		records, err := loadFile(p)
		if err != nil {
			return nil, err
		}
		all = append(all, records...)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].N < all[j].N })
	return all, nil
}

func loadFile(path string) ([]Record, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	records, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("read ledger %s: %w", path, err)
	}
	return records, nil
}

func parse(text []byte) ([]Record, error) {
	var records []Record
	index := map[int]int{}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i, raw := range lines {
		if !bytes.HasSuffix(raw, []byte("\n")) {
			break
		}
		var e line
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		at, known := index[e.N]
		switch {
		case e.Step != nil && e.Begun != nil && !known:
			index[e.N] = len(records)
			records = append(records, Record{Step: *e.Step, N: e.N, Begun: *e.Begun, State: Begun, Together: e.Together})
		case known && e.Step == nil:
			e.apply(&records[at])
		default:
			return nil, fmt.Errorf("line %d: step %d is out of order", i+1, e.N)
		}
	}
	return records, nil
}
