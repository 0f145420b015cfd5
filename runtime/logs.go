package runtime

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/minidock/minidock/steps"
)

// LogOptions say which part of a container's log is wanted, and how.
type LogOptions struct {
	// Follow goes on with what the container writes until it has ended.
	Follow bool
	// Tail is how many entries of the end are looked at; a negative number is all.
	Tail int
	// Since and Until bound the entries' times, both inclusive; zero is no bound.
	Since, Until time.Time
	// Timestamps puts its time before each entry, Details its attributes.
	Timestamps, Details bool
	// Bad, when not nil, hears of each entry that could not be read; the others
	// are read all the same.
	Bad func(error)
}

// Logs writes what a container has written, each stream to its own writer. The
// log is only read: however slow the writers are, the container is not held up.
func (c *Container) Logs(o LogOptions, stdout, stderr io.Writer) error {
	if !c.Config.Log.readable() {
		return &steps.Fault{Msg: "configured logging driver does not support reading", Hint: "The container was made with --log-driver none: what it writes is kept nowhere."}
	}
	r := &logRun{container: c, options: o, out: newLogPrinter(o, stdout, stderr)}
	var err error
	if _, r.maxFile, err = c.Config.Log.rotation(); err != nil {
		return err
	}
	defer r.close()
	if !o.Follow {
		err = r.begin()
	} else {
		err = r.follow()
	}
	if errors.Is(err, errPastUntil) {
		err = nil
	}
	return errors.Join(err, r.out.flush())
}

// logRun is one reading of a log. At its end current is at the end of the newest file.
type logRun struct {
	container *Container
	options   LogOptions
	maxFile   int
	out       *logPrinter
	parser    logParser
	current   *logCursor
}

// begin prints what there is at this moment.
func (r *logRun) begin() error {
	files, err := openLogs(r.container.LogPath(), r.maxFile, nil)
	if err != nil {
		return err
	}
	cursors, err := cursorsOf(files, r.options.Tail)
	if err != nil {
		closeLogs(files)
		return err
	}
	return r.printAll(cursors)
}

// printAll prints files that follow each other.
func (r *logRun) printAll(cursors []*logCursor) error {
	for i, c := range cursors {
		r.leave()
		r.current = c
		if err := r.print(); err != nil {
			for _, rest := range cursors[i+1:] {
				rest.file.Close()
			}
			return err
		}
	}
	return nil
}

// leave closes the current file, to which nothing will be added any more.
func (r *logRun) leave() {
	if r.current == nil {
		return
	}
	if r.current.torn() {
		r.current.lines++
		r.bad(r.current.fault(errors.New("cut short")))
	}
	r.close()
}

func (r *logRun) close() {
	if r.current != nil {
		r.current.file.Close()
		r.current = nil
	}
}

func (r *logRun) bad(err error) {
	if r.options.Bad != nil {
		_ = r.out.flush() // What was right before it comes first.
		r.options.Bad(err)
	}
}

// print prints the current file's entries up to its end.
func (r *logRun) print() error {
	for {
		line, err := r.current.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = r.printLine(line)
		}
		if err != nil {
			err = r.passOver(err)
		}
		if err != nil {
			return err
		}
	}
}

// passOver tells of a line that is no entry; any other error it returns.
func (r *logRun) passOver(err error) error {
	var bad *badEntry
	if !errors.As(err, &bad) {
		return err
	}
	r.bad(r.current.fault(bad.cause))
	return nil
}

func (r *logRun) printLine(line []byte) error {
	e, err := r.parser.parse(line)
	if err != nil {
		return &badEntry{err}
	}
	return r.out.print(e)
}

// badEntry is a line of a log file that is no entry.
type badEntry struct{ cause error }

func (b *badEntry) Error() string { return b.cause.Error() }

// errPastUntil says that an entry is later than all that are wanted.
var errPastUntil = errors.New("past the end of what is wanted")

// logPrinter writes entries to two streams, in their order.
type logPrinter struct {
	options  LogOptions
	streams  [2]*bufio.Writer
	last     int
	stamp    []byte
	moment   time.Time
	prefix   []byte
	needTime bool
}

func newLogPrinter(o LogOptions, stdout, stderr io.Writer) *logPrinter {
	return &logPrinter{
		options:  o,
		streams:  [2]*bufio.Writer{bufio.NewWriterSize(stdout, logBlock), bufio.NewWriterSize(stderr, logBlock)},
		needTime: o.Timestamps || !o.Since.IsZero() || !o.Until.IsZero(),
	}
}

// timestampFormat is RFC 3339 with all nine digits, as Docker prints it.
const timestampFormat = "2006-01-02T15:04:05.000000000Z07:00"

func (p *logPrinter) print(e logLine) error {
	if p.needTime && !bytes.Equal(e.stamp, p.stamp) {
		if err := p.readTime(e.stamp); err != nil {
			return err
		}
	}
	switch o := p.options; {
	case !o.Since.IsZero() && p.moment.Before(o.Since):
		return nil
	case !o.Until.IsZero() && p.moment.After(o.Until):
		return errPastUntil
	}
	to, err := p.stream(e.stderr)
	if err != nil {
		return err
	}
	if p.options.Timestamps {
		_, err = to.Write(p.prefix)
	}
	if p.options.Details {
		_, err = to.WriteString(details(e.attrs) + " ")
	}
	if _, textErr := to.Write(e.text); textErr != nil {
		err = textErr
	}
	return err
}

// readTime reads the time that an entry bears; many entries bear the same.
func (p *logPrinter) readTime(stamp []byte) (err error) {
	if p.moment, err = time.Parse(time.RFC3339Nano, string(stamp)); err != nil {
		p.stamp = p.stamp[:0]
		return &badEntry{err}
	}
	p.stamp = append(p.stamp[:0], stamp...)
	p.prefix = append(p.moment.UTC().AppendFormat(p.prefix[:0], timestampFormat), ' ')
	return nil
}

// stream changes over to one of the streams. What the other still holds goes out
// first: both may lead to the same terminal.
func (p *logPrinter) stream(stderr bool) (*bufio.Writer, error) {
	n := 0
	if stderr {
		n = 1
	}
	if n != p.last {
		if err := p.flush(); err != nil {
			return nil, err
		}
		p.last = n
	}
	return p.streams[n], nil
}

func (p *logPrinter) flush() error { return p.streams[p.last].Flush() }

// details shows attributes as Docker does: name=value, sorted, quoted as in a URL.
func details(attrs map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		all = append(all, url.QueryEscape(name)+"="+url.QueryEscape(attrs[name]))
	}
	return strings.Join(all, ",")
}

// follow prints what there is and what comes, until the container has ended.
func (r *logRun) follow() error {
	w := newLogWatch(r.container)
	defer w.close()
	// Asked before reading: what was written before the end has been read after it.
	ended, err := w.ended()
	if err != nil {
		return err
	}
	if err := r.begin(); err != nil || ended {
		return err
	}
	if r.current != nil {
		r.current.from = r.current.file // Not only what it was at the beginning.
	}
	for !ended {
		if err := r.out.flush(); err != nil {
			return err
		}
		inTime := w.wait(r.options.Until)
		if ended, err = w.ended(); err != nil {
			return err
		}
		if err := r.catchUp(); err != nil {
			return err
		}
		ended = ended || !inTime
	}
	return nil
}

// catchUp prints all that has been added, over any number of rotations.
func (r *logRun) catchUp() error {
	for {
		if r.current != nil {
			if err := r.print(); err != nil {
				return err
			}
		}
		newer, err := r.newer()
		if err != nil || len(newer) == 0 {
			return err
		}
		// Between reading its end and its rotation, the file may have grown.
		if r.current != nil {
			err = r.print()
		}
		if err == nil {
			err = r.printAll(newer)
		}
		if err != nil {
			return err
		}
	}
}

// newer opens the files that came after the current one.
func (r *logRun) newer() ([]*logCursor, error) {
	path := r.container.LogPath()
	var than *os.File
	if r.current != nil {
		than = r.current.file
		held, err := than.Stat()
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		now, err := os.Stat(path)
		if err == nil && os.SameFile(held, now) {
			return nil, nil
		}
	}
	files, err := openLogs(path, r.maxFile, than)
	var cursors []*logCursor
	for _, f := range files {
		cursors = append(cursors, &logCursor{file: f, from: f})
	}
	return cursors, err
}
