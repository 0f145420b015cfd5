package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/netns"
)

// Event is one thing that happened to a container, as `events` tells it.
type Event struct {
	Time time.Time `json:"time"`
	// Type is "container", "image" or "network".
	Type   string `json:"type"`
	Action string `json:"action"`
	ID     string `json:"id"`
	// Attributes always hold image and name of a container.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// eventLog is the file that holds all events of an installation, one JSON object
// in each line. Many processes append to it, each under a flock(2), so that lines
// do not mix, their times ascend, and the file can be put aside when it is full.
type eventLog struct {
	path string
	// limit is the size in bytes from which on the file is put aside.
	limit int64
}

// eventsLimit is the size of each of the two files: some 15,000 events.
const eventsLimit = 4 << 20

func (l Layout) events() eventLog {
	return eventLog{path: filepath.Join(l.Root, "events.jsonl"), limit: eventsLimit}
}

// old is where the full file goes, in place of the one before it.
func (g eventLog) old() string { return g.path + ".1" }

// emit appends an event to the log. That one could not be written keeps nobody
// from doing what it tells.
func (c *Container) emit(action string, attributes map[string]string) {
	e := Event{Type: "container", Action: action, ID: c.Config.ID, Attributes: map[string]string{}}
	maps.Copy(e.Attributes, c.Config.Labels)
	maps.Copy(e.Attributes, attributes)
	e.Attributes["image"], e.Attributes["name"] = c.Config.Image, c.Config.Name
	_ = c.layout.events().append(e)
}

// TellImage appends to the log what happened to an image: tag, import, untag or
// delete. name is what Docker gives for that: the image's name for tag, else its ID.
func TellImage(l Layout, action, id, name string) {
	_ = l.events().append(Event{Type: "image", Action: action, ID: id, Attributes: map[string]string{"name": name}})
}

// emitNetwork appends to the log what happened to a network: create, connect,
// disconnect or destroy.
func emitNetwork(l Layout, action string, n netns.Network, attributes map[string]string) {
	e := Event{Type: "network", Action: action, ID: n.ID, Attributes: map[string]string{"name": n.Name, "type": n.Driver}}
	maps.Copy(e.Attributes, attributes)
	_ = l.events().append(e)
}

// TellRemoval tells what [images.Store.Remove] said that it did to an image.
func TellRemoval(l Layout, id string, said []string) {
	for _, line := range said {
		switch {
		case strings.HasPrefix(line, "Untagged: "):
			TellImage(l, "untag", id, id)
		case line == "Deleted: "+id:
			TellImage(l, "delete", id, id)
		}
	}
}

// append writes the event's line, at this moment. A line that a power cut or a
// full disk left without its end gets one first.
func (g eventLog) append(e Event) error {
	f, err := g.openLocked()
	if err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	defer func() { _ = f.Close() }()
	e.Time = time.Now().UTC()
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	text = append(text, '\n')
	size, torn, err := endOf(f)
	if err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	if torn {
		text = append([]byte{'\n'}, text...)
	}
	if _, err := f.Write(text); err != nil {
		return fmt.Errorf("append event: %w", err)
	}
	if size+int64(len(text)) >= g.limit {
		return os.Rename(g.path, g.old())
	}
	return nil
}

// openLocked opens the file and makes this process the only one that writes to
// it. Who waited for the lock while the file was put aside takes the new one:
// nothing is added to a file after its rename.
func (g eventLog) openLocked() (*os.File, error) {
	for {
		f, err := os.OpenFile(g.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if !stale(f, g.path) {
			return f, nil
		}
		_ = f.Close()
	}
}

// lockFile waits for the lock; Go's own signals interrupt the call.
func lockFile(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// endOf returns a file's size, and whether its last line has no end.
func endOf(f *os.File) (size int64, torn bool, err error) {
	size, err = f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return 0, false, err
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return size, last[0] != '\n', err
}

// eventReader reads the log from some point on, again and again, whatever is put
// aside meanwhile.
type eventReader struct {
	log eventLog
	// file is the one being read; nil while there is none.
	file *os.File
	// rest is the beginning of a line whose end is not written yet.
	rest []byte
}

// oldest places the reader before the first event that is kept.
func (r *eventReader) oldest() error {
	err := r.open(r.log.old())
	if r.file == nil && err == nil {
		err = r.open(r.log.path)
	}
	return err
}

// newest places the reader behind the last event.
func (r *eventReader) newest() error {
	if err := r.open(r.log.path); err != nil || r.file == nil {
		return err
	}
	_, err := r.file.Seek(0, io.SeekEnd)
	return err
}

func (r *eventReader) open(path string) error {
	r.close()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	r.file = f
	return nil
}

func (r *eventReader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
	r.file, r.rest = nil, nil
}

// read hands over every event that was written since the last call.
func (r *eventReader) read(see func(Event) error) error {
	if r.file == nil {
		if err := r.open(r.log.path); err != nil || r.file == nil {
			return err
		}
	}
	for r.file != nil {
		aside := stale(r.file, r.log.path)
		if err := r.drain(see); err != nil || !aside {
			return err
		}
		if err := r.next(); err != nil {
			return err
		}
	}
	return nil
}

// next goes on to the file that followed a full one: another full one if two were
// put aside since the last look.
func (r *eventReader) next() error {
	if now, err := os.Stat(r.log.old()); err == nil {
		if done, err := r.file.Stat(); err == nil && !os.SameFile(done, now) {
			return r.open(r.log.old())
		}
	}
	return r.open(r.log.path)
}

// drain reads to the end of the file.
func (r *eventReader) drain(see func(Event) error) error {
	part := make([]byte, 64<<10)
	for {
		n, err := r.file.Read(part)
		r.rest = append(r.rest, part[:n]...)
		if err := r.lines(see); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

// lines hands over the whole lines that have been read.
func (r *eventReader) lines(see func(Event) error) error {
	for {
		line, after, whole := bytes.Cut(r.rest, []byte{'\n'})
		if !whole {
			return nil
		}
		r.rest = after
		if e, ok := parseEvent(line); ok {
			if err := see(e); err != nil {
				return err
			}
		}
	}
}

// parseEvent reads one line of the log; one that was torn is no event.
func parseEvent(line []byte) (Event, bool) {
	var e Event
	err := json.Unmarshal(line, &e)
	return e, err == nil && e.Action != "" && !e.Time.IsZero()
}
