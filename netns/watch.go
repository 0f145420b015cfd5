package netns

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// residentEvents are those after which a file in the directory is another
// (inotify(7)): moved in or out, deleted, or written by hand.
const residentEvents = unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR

// residentSuffix ends the names of whole files; what is being written has another.
const residentSuffix = ".json"

// maxResident is the largest file that is read, in bytes: each of the names takes
// at most 255, and nobody has two hundred.
const maxResident = 64 << 10

// residentsDir is where the residents of a network are.
func residentsDir(place Place, network string) string {
	return filepath.Join(place.Run, "networks", network)
}

// Watcher tells of containers that come and go on some networks. It sleeps in the
// kernel until one does.
type Watcher struct {
	inotify *os.File
	// watches has a network's directory for each watch descriptor.
	watches map[int32]*watched
	changed func(map[string][]Resident)
	done    chan struct{}
}

// watched is one network's directory.
type watched struct {
	network, dir string
	files        map[string]Resident
}

// WatchResidents calls changed with the residents of all these networks, by
// network and sorted by ID: once before it returns, and then, from a goroutine of
// its own, after every change. Each network's directory has to be there, as it is
// for who has published a resident.
func WatchResidents(place Place, networks []string, changed func(map[string][]Resident)) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch residents: %w", err)
	}
	w := &Watcher{inotify: os.NewFile(uintptr(fd), "inotify"), watches: map[int32]*watched{}, changed: changed, done: make(chan struct{})}
	for _, network := range networks {
		if err := w.add(fd, network, residentsDir(place, network)); err != nil {
			return nil, errors.Join(err, w.inotify.Close())
		}
	}
	w.tell()
	go w.follow()
	return w, nil
}

// add reads a directory after the watch is there, so that nothing is missed.
func (w *Watcher) add(fd int, network, dir string) error {
	id, err := unix.InotifyAddWatch(fd, dir, residentEvents)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	d := &watched{network: network, dir: dir}
	w.watches[int32(id)] = d
	d.files, err = readResidents(dir)
	return err
}

// Close ends the watch; afterwards changed is not called any more.
func (w *Watcher) Close() error {
	err := w.inotify.Close()
	<-w.done
	return err
}

// eventsSize holds one event with the longest name (inotify(7), Reading events),
// and dozens with those that there are.
const eventsSize = 16 * (unix.SizeofInotifyEvent + unix.NAME_MAX + 1)

// follow reads until the descriptor is closed.
func (w *Watcher) follow() {
	defer close(w.done)
	buffer := make([]byte, eventsSize)
	for {
		n, err := w.inotify.Read(buffer)
		if err != nil {
			return
		}
		if w.apply(buffer[:n]) {
			w.tell()
		}
	}
}

// apply takes over what one read tells, and says whether anything changed.
func (w *Watcher) apply(events []byte) (changed bool) {
	for len(events) >= unix.SizeofInotifyEvent {
		id := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		end := min(len(events), unix.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:])))
		name := strings.TrimRight(string(events[unix.SizeofInotifyEvent:end]), "\x00")
		events = events[end:]
		if mask&unix.IN_Q_OVERFLOW != 0 {
			changed = w.readAgain() || changed
			continue
		}
		if d := w.watches[id]; d != nil && name != "" {
			changed = d.read(name) || changed
		}
	}
	return changed
}

// readAgain is for when the kernel's queue was too short for all that happened.
func (w *Watcher) readAgain() (changed bool) {
	for _, d := range w.watches {
		if files, err := readResidents(d.dir); err == nil {
			d.files, changed = files, true
		}
	}
	return changed
}

// read takes over one file. Reading that one only keeps the work small where
// hundreds of monitors watch hundreds of files.
func (d *watched) read(name string) (changed bool) {
	r, ok := readResident(filepath.Join(d.dir, name))
	_, had := d.files[name]
	switch {
	case ok:
		d.files[name] = r
	case had:
		delete(d.files, name)
	}
	return ok || had
}

func (w *Watcher) tell() {
	all := map[string][]Resident{}
	for _, d := range w.watches {
		all[d.network] = sortResidents(d.files)
	}
	w.changed(all)
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
