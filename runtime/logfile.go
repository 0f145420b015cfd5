package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxLogLine is where Docker cuts a line into several entries, in bytes, the
// newline included.
const maxLogLine = 16 << 10

// logWriter keeps a container's output in Docker's json-file format: one JSON
// object per line of output, with its stream and the time at which it was read.
//
// Once the file has maxSize bytes, the next entry goes to a new one:
//
//	ID-json.log.2 ◀─ ID-json.log.1 ◀─ ID-json.log ◀─ (new)
//
// Files move one at a time, the oldest first, and only to higher numbers. A
// reader that opens them from the lowest number to the highest therefore meets
// each of them, some of them twice, at whatever moment it looks and wherever a
// killed writer stopped.
type logWriter struct {
	mu   sync.Mutex
	path string
	file *os.File // nil where nothing is kept
	size int64
	// maxSize is in bytes, 0 for no limit; maxFile counts the current file too.
	maxSize int64
	maxFile int
	streams []*logStream
	attrs   []byte
	batch   []byte
	now     func() time.Time
}

// maxLogBatch bounds what waits in memory for one write: lines of one byte take
// 70 times their size.
const maxLogBatch = 256 << 10

// openLog opens a container's log for appending; with the driver none, it takes
// everything and keeps nothing.
func openLog(c *Container) (*logWriter, error) {
	l := &logWriter{path: c.LogPath(), now: time.Now}
	if !c.Config.Log.readable() {
		return l, nil
	}
	var err error
	if l.maxSize, l.maxFile, err = c.Config.Log.rotation(); err != nil {
		return nil, err
	}
	if l.attrs, err = c.Config.logAttributes(); err != nil {
		return nil, err
	}
	return l, l.open()
}

func (l *logWriter) open() (err error) {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	if l.size, err = dropTornLine(file); err != nil {
		file.Close()
		return fmt.Errorf("mend log: %w", err)
	}
	l.file = file
	return nil
}

// dropTornLine cuts off what a killed writer, or a power cut, left behind the
// last whole line, so that the next one does not run on from it. It returns the
// file's size.
func dropTornLine(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	end, _, err := lastLines(file, info.Size(), 0)
	if err != nil || end == info.Size() {
		return end, err
	}
	return end, file.Truncate(end)
}

// logStream cuts one stream's bytes into entries.
type logStream struct {
	log     *logWriter
	pending []byte
	// tail is what an entry has between its text and its time.
	tail string
	// begun is the time of the first part of a line that has not ended yet: as in
	// Docker, all parts bear it.
	begun []byte
}

func (l *logWriter) stream(name string) io.Writer {
	if l == nil {
		return io.Discard
	}
	s := &logStream{log: l, tail: `","stream":"` + name + `",` + string(l.attrs) + `"time":"`}
	l.streams = append(l.streams, s)
	return s
}

// Write logs every complete line, and every maxLogLine bytes of a longer one.
// What was read together bears the same time.
func (s *logStream) Write(p []byte) (int, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return len(p), nil
	}
	stamp, lost := l.stamp(), error(nil)
	for rest := p; ; {
		text, after, whole := s.cut(rest)
		if !whole {
			break
		}
		if err := s.add(text, stamp); err != nil {
			lost = err
		}
		rest = after
	}
	return len(p), errors.Join(lost, l.flush())
}

func (l *logWriter) stamp() []byte {
	return l.now().UTC().AppendFormat(make([]byte, 0, len(time.RFC3339Nano)), time.RFC3339Nano)
}

// cut takes the next entry's text off p, with what is pending before it; whole
// is false when more bytes are needed to tell where it ends.
func (s *logStream) cut(p []byte) (text, rest []byte, whole bool) {
	room := maxLogLine - len(s.pending)
	n := min(len(p), room)
	if end := bytes.IndexByte(p[:n], '\n') + 1; end > 0 {
		n = end
	} else if n < room {
		s.pending = append(s.pending, p...)
		return nil, nil, false
	}
	if len(s.pending) == 0 {
		return p[:n], p[n:], true
	}
	text = append(s.pending, p[:n]...)
	s.pending = text[:0]
	return text, p[n:], true
}

// add puts one entry into the batch, in a new file where the current one is full.
func (s *logStream) add(text, stamp []byte) (err error) {
	l := s.log
	full := l.maxSize > 0 && l.size+int64(len(l.batch)) >= l.maxSize
	if full || len(l.batch) >= maxLogBatch {
		err = l.flush()
	}
	if full {
		err = errors.Join(err, l.rotate())
	}
	if s.begun != nil {
		stamp = s.begun
	}
	s.begun = nil
	if text[len(text)-1] != '\n' {
		s.begun = stamp
	}
	l.batch = append(l.batch, logPrefix...)
	l.batch = appendEscaped(l.batch, text)
	l.batch = append(l.batch, s.tail...)
	l.batch = append(append(l.batch, stamp...), "\"}\n"...)
	return err
}

// flush writes the batch. Where the disk takes only a part of it, the file still
// ends with a whole line.
func (l *logWriter) flush() error {
	if len(l.batch) == 0 {
		return nil
	}
	n, err := l.file.Write(l.batch)
	if err != nil {
		n = bytes.LastIndexByte(l.batch[:n], '\n') + 1
		err = errors.Join(err, l.file.Truncate(l.size+int64(n)))
	}
	l.size += int64(n)
	l.batch = l.batch[:0]
	return err
}

// rotate begins a new file. Where that fails, the old one is written on.
func (l *logWriter) rotate() error {
	if err := shiftLogs(l.path, l.maxFile); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	old := l.file
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

// shiftLogs makes the first place free.
func shiftLogs(path string, maxFile int) error {
	from, err := shiftFrom(path, maxFile)
	if err != nil {
		return err
	}
	for n := from; n >= 0; n-- {
		if err := shiftLog(path, n, maxFile); err != nil {
			return err
		}
	}
	return nil
}

// shiftFrom finds the last file that has to move: the one before the first free
// place, or before the last, which gives way.
func shiftFrom(path string, maxFile int) (int, error) {
	for n := range maxFile {
		_, err := os.Lstat(logName(path, n))
		if errors.Is(err, fs.ErrNotExist) {
			return n - 1, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return max(0, maxFile-2), nil
}

// shiftLog moves one file up; where only one is kept, it goes.
func shiftLog(path string, n, maxFile int) error {
	if maxFile == 1 {
		return os.Remove(path)
	}
	return os.Rename(logName(path, n), logName(path, n+1))
}

// logName is the name of the n-th newest file.
func logName(path string, n int) string {
	if n == 0 {
		return path
	}
	return path + "." + strconv.Itoa(n)
}

// close logs what the streams still hold, a last line without its newline, and
// syncs the file where it is to be kept.
func (l *logWriter) close(sync durable) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	var errs []error
	for _, s := range l.streams {
		if len(s.pending) > 0 {
			errs = append(errs, s.add(s.pending, l.stamp()))
			s.pending = nil
		}
	}
	errs = append(errs, l.flush())
	if sync {
		errs = append(errs, l.file.Sync())
	}
	errs = append(errs, l.file.Close())
	l.file = nil // What still comes is too late.
	return errors.Join(errs...)
}
