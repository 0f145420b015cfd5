package netns

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// residentSuffix ends the names of whole files; what is being written has another.
const residentSuffix = ".json"

// maxResident is the largest file that is read, in bytes: each of the names takes
// at most 255, and nobody has two hundred.
const maxResident = 64 << 10

// residentsDir is where the residents of a network are.
func residentsDir(place Place, network string) string {
	return filepath.Join(place.Run, "networks", network)
}

// Neighbours knows who runs on some networks. It looks when it is asked, and so costs
// nothing in between: whether a directory has changed one stat(2) tells. The kernel
// could tell by itself (inotify(7)), but only 128 times for all programs of a user
// (fs.inotify.max_user_instances), and each start would wake up every other
// container's monitor.
type Neighbours struct {
	views   []View // without residents
	dirs    []string
	reading sync.Mutex
	last    atomic.Pointer[reading]
}

// reading is what was read of the directories.
type reading struct {
	table  *Table
	stamps []stamp
	// settled says that every later change gives a directory another stamp. It is not
	// so in the tick of the kernel's clock in which one has changed: a second change in
	// that tick leaves the same time.
	settled bool
}

// stamp tells a directory from what it was before: a file that comes or goes changes
// its time (inode(7)).
type stamp struct {
	device, inode uint64
	changed       unix.Timespec
}

// FollowResidents returns who is on these networks, for a container that sees them so.
// Files are replaced as a whole; one that is written in place is not looked at again.
func FollowResidents(place Place, views ...View) *Neighbours {
	n := &Neighbours{views: views}
	for _, v := range views {
		n.dirs = append(n.dirs, residentsDir(place, v.Network))
	}
	n.last.Store(&reading{table: NewTable(views...)})
	return n
}

// Table holds the names of all who are on the networks now. What can't be read at this
// moment leaves the table as it was before.
func (n *Neighbours) Table() *Table {
	if last := n.last.Load(); last.settled && slices.Equal(last.stamps, stampsOf(n.dirs)) {
		return last.table
	}
	n.reading.Lock()
	defer n.reading.Unlock()
	now, err := n.read()
	if err != nil {
		return n.last.Load().table // The next question tries again.
	}
	n.last.Store(now)
	return now.table
}

// read looks at the directories' times before it lists them, so that what changes
// meanwhile shows the next time.
func (n *Neighbours) read() (*reading, error) {
	var tick unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &tick); err != nil {
		return nil, fmt.Errorf("read clock: %w", err)
	}
	now := &reading{stamps: stampsOf(n.dirs), settled: true}
	for _, s := range now.stamps {
		now.settled = now.settled && s.changed.Nano() < tick.Nano()
	}
	if last := n.last.Load(); last.settled && slices.Equal(last.stamps, now.stamps) {
		return last, nil // Another question was faster.
	}
	views := slices.Clone(n.views)
	for i, dir := range n.dirs {
		files, err := readResidents(dir)
		if err != nil {
			return nil, err
		}
		views[i].Residents = sortResidents(files)
	}
	now.table = NewTable(views...)
	return now, nil
}

// stampsOf has the zero stamp for a directory that is not there.
func stampsOf(dirs []string) []stamp {
	all := make([]stamp, len(dirs))
	for i, dir := range dirs {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil {
			all[i] = stamp{st.Dev, st.Ino, st.Mtim}
		}
	}
	return all
}

func sortResidents(files map[string]Resident) []Resident {
	return slices.SortedFunc(maps.Values(files), func(a, b Resident) int { return cmp.Compare(a.ID, b.ID) })
}

// readResidents reads all of a directory, by file name; a missing directory has none.
func readResidents(dir string) (map[string]Resident, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list residents: %w", err)
	}
	all := map[string]Resident{}
	for _, entry := range entries {
		if r, ok := readResident(filepath.Join(dir, entry.Name())); ok {
			all[entry.Name()] = r
		}
	}
	return all, nil
}

// readResident leaves out what is not, or not yet, a resident's file: one bad file
// must not take the names of all others away.
func readResident(path string) (r Resident, ok bool) {
	id, named := strings.CutSuffix(filepath.Base(path), residentSuffix)
	info, err := os.Stat(path)
	if !named || err != nil || !info.Mode().IsRegular() || info.Size() > maxResident {
		return r, false
	}
	text, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(text, &r) != nil {
		return Resident{}, false
	}
	return r, r.ID == id && r.Name != "" && r.Address.Is4()
}
