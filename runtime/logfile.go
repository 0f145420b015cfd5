package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxLogLine is where Docker cuts a line into several entries, in bytes.
const maxLogLine = 16 << 10

// logWriter keeps a container's output in Docker's json-file format: one JSON
// object per line of output, with its stream and the time at which it ended.
type logWriter struct {
	mu      sync.Mutex
	file    *os.File
	streams []*logStream
	now     func() time.Time
}

// logEntry has its fields in Docker's order.
type logEntry struct {
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Time   time.Time `json:"time"`
}

func openLog(path string) (*logWriter, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &logWriter{file: file, now: time.Now}, nil
}

// logStream gathers one stream's bytes into lines.
type logStream struct {
	log     *logWriter
	name    string
	pending []byte
}

func (l *logWriter) stream(name string) io.Writer {
	if l == nil {
		return io.Discard
	}
	s := &logStream{log: l, name: name}
	l.streams = append(l.streams, s)
	return s
}

// Write logs every complete line, and every maxLogLine bytes of a longer one.
func (s *logStream) Write(p []byte) (int, error) {
	s.pending = append(s.pending, p...)
	var text []byte
	for {
		line, rest, whole := cutLine(s.pending)
		if !whole {
			break
		}
		text, s.pending = s.log.entry(text, line, s.name), rest
	}
	return len(p), s.log.write(text)
}

// cutLine takes the next log line off text; whole is false when more bytes are
// needed to tell where it ends.
func cutLine(text []byte) (line, rest []byte, whole bool) {
	end := bytes.IndexByte(text, '\n') + 1
	switch {
	case end > 0 && end <= maxLogLine+1:
		return text[:end], text[end:], true
	case len(text) > maxLogLine:
		return text[:maxLogLine], text[maxLogLine:], true
	}
	return nil, text, false
}

func (l *logWriter) entry(to, line []byte, stream string) []byte {
	text, err := json.Marshal(logEntry{Log: string(line), Stream: stream, Time: l.now().UTC()})
	if err != nil {
		return to // A string, a string and a time: they always encode.
	}
	return append(append(to, text...), '\n')
}

func (l *logWriter) write(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.file.Write(text)
	return err
}

// close logs what the streams still hold, a last line without its newline, and
// syncs the file where it is to be kept.
func (l *logWriter) close(sync durable) error {
	var errs []error
	for _, s := range l.streams {
		if len(s.pending) > 0 {
			errs = append(errs, l.write(l.entry(nil, s.pending, s.name)))
		}
	}
	if sync {
		errs = append(errs, l.file.Sync())
	}
	return errors.Join(append(errs, l.file.Close())...)
}
