package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// openLogs opens a log's files, oldest first: all, or those newer than one that
// is open already. They are opened from the newest on, against the direction in
// which the writer makes room, so that none is missed (see logWriter), and
// whatever happens to their names then, they stay what they are.
func openLogs(path string, maxFile int, than *os.File) (files []*os.File, err error) {
	place := 0 // The last one's: there or higher, since files only move up.
	for n := range maxFile {
		file, err := os.Open(logName(path, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // A rotation is under way, or was killed half-way.
		}
		if err != nil {
			closeLogs(files)
			return nil, fmt.Errorf("open log: %w", err)
		}
		if than != nil && sameFile(file, than) {
			file.Close()
			break
		}
		if len(files) > 0 {
			place = placeOf(files[len(files)-1], path, place, n)
		}
		// The last one has moved here meanwhile, or further: this is the same one
		// again, or a newer one that came behind it.
		if len(files) > 0 && place == n {
			file.Close()
			continue
		}
		files, place = append(files, file), n
	}
	slices.Reverse(files)
	return files, nil
}

// placeOf looks for a file from one place up to another, exclusive; it returns
// the latter if the file is not below it any more.
func placeOf(file *os.File, path string, from, to int) int {
	held, err := file.Stat()
	if err != nil {
		return to
	}
	for n := from; n < to; n++ {
		if now, err := os.Stat(logName(path, n)); err == nil && os.SameFile(held, now) {
			return n
		}
	}
	return to
}

func closeLogs(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func sameFile(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// tailBlock is how much is read at a time from a file's end, in bytes.
const tailBlock = 64 << 10

// lastLines finds where the last n whole lines of a file begin, and how many of
// them there are, reading from its end. With n = 0 it finds where they end.
func lastLines(file io.ReaderAt, size int64, n int) (at int64, found int, err error) {
	block := make([]byte, min(tailBlock, size))
	for end := size; end > 0; {
		begin := max(0, end-tailBlock)
		part := block[:end-begin]
		if _, err := file.ReadAt(part, begin); err != nil {
			return 0, 0, fmt.Errorf("read log: %w", err)
		}
		for i := bytes.LastIndexByte(part, '\n'); i >= 0; i = bytes.LastIndexByte(part[:i], '\n') {
			if found == n {
				return begin + int64(i) + 1, found, nil
			}
			found++
		}
		end = begin
	}
	return 0, found, nil
}

// logCursor reads one file of a log line by line. A last line that is not whole
// is left for the next time: it is being written, or was cut short.
type logCursor struct {
	file *os.File
	from io.ReaderAt
	// start is where reading began, at where the next line begins.
	start, at int64
	lines     int
	window    []byte
	room      []byte
	// overlong says that the middle of a line is being passed over that can't be one.
	overlong bool
}

// What is read at a time, and how long an entry can be: 16 KiB of text with
// every byte escaped, and attributes, lie far below it. In bytes.
const (
	logBlock   = 128 << 10
	maxLogJSON = 1 << 20
)

var errOverlong = fmt.Errorf("longer than %d bytes", maxLogJSON)

// next returns the next whole line without its newline, good until the next
// call, or io.EOF when there is none yet.
func (c *logCursor) next() ([]byte, error) {
	for {
		if end := bytes.IndexByte(c.window, '\n'); end >= 0 {
			line := c.window[:end]
			c.window, c.at = c.window[end+1:], c.at+int64(end)+1
			c.lines++
			if c.overlong {
				c.overlong = false
				return nil, &badEntry{errOverlong}
			}
			return line, nil
		}
		if c.overlong || len(c.window) >= maxLogJSON {
			c.overlong = true
			c.at, c.window = c.at+int64(len(c.window)), nil
		}
		n, err := c.fill()
		if n == 0 {
			c.window = nil // What comes may replace it: a writer cuts torn lines off.
			return nil, err
		}
	}
}

// fill reads on behind the window.
func (c *logCursor) fill() (int, error) {
	have := len(c.window)
	if need := have + logBlock; cap(c.room) < need {
		c.room = append(make([]byte, 0, 2*need), c.window...)
	} else {
		c.room = append(c.room[:0], c.window...)
	}
	n, err := c.from.ReadAt(c.room[have:have+logBlock], c.at+int64(have))
	c.window = c.room[:have+n]
	if n > 0 || errors.Is(err, io.EOF) {
		return n, io.EOF
	}
	return 0, fmt.Errorf("read log: %w", err)
}

// fault names the file and the line that was read last.
func (c *logCursor) fault(cause error) error {
	before, err := countLines(io.NewSectionReader(c.file, 0, c.start))
	if err != nil {
		return err
	}
	return fmt.Errorf("read log %s: line %d: %w", c.file.Name(), before+c.lines, cause)
}

func countLines(r io.Reader) (lines int, err error) {
	block := make([]byte, tailBlock)
	for {
		n, err := r.Read(block)
		lines += bytes.Count(block[:n], []byte{'\n'})
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
	}
}

// torn says whether something is left behind the last whole line.
func (c *logCursor) torn() bool {
	info, err := c.file.Stat()
	return c.overlong || err == nil && info.Size() > c.at
}

// cursorsOf makes cursors of a log's files as they are now, set on its last
// lines; a negative number is all of them. Files before these are closed.
func cursorsOf(files []*os.File, tail int) ([]*logCursor, error) {
	var cursors []*logCursor
	for i, file := range slices.Backward(files) {
		info, err := file.Stat()
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		c := &logCursor{file: file, from: io.NewSectionReader(file, 0, info.Size())}
		cursors = append(cursors, c)
		if tail < 0 {
			continue
		}
		at, found, err := lastLines(file, info.Size(), tail)
		if err != nil {
			return nil, err
		}
		c.start, c.at = at, at
		if tail -= found; tail == 0 {
			closeLogs(files[:i])
			break
		}
	}
	slices.Reverse(cursors)
	return cursors, nil
}
