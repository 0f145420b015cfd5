package steps

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Paths are the two files of one ledger; see the package comment. Steps whose
// file has no name are told and not kept: their objects go with another's.
type Paths struct {
	Boot string
	Kept string
}

// Ledger records steps, write-ahead. It is safe for use by several goroutines.
// It does not lock its files against other processes: whoever opens it for
// writing holds the lock of the object that it belongs to.
type Ledger struct {
	mu      sync.Mutex
	paths   Paths
	files   [2]*os.File
	records []Record
	tell    func(Record)
}

// Open reads what a ledger holds and prepares to add to it; missing files are
// made when the first step of their lifetime is recorded. tell, when not nil,
// is called with every record as it begins, ends or is undone, in order.
func Open(paths Paths, tell func(Record)) (*Ledger, error) {
	records, err := Load(paths)
	if err != nil {
		return nil, err
	}
	if tell == nil {
		tell = func(Record) {}
	}
	return &Ledger{paths: paths, records: records, tell: tell}, nil
}

// Close closes the files. Whoever records another step opens them again.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for i, f := range l.files {
		if f != nil {
			errs = append(errs, f.Close())
			l.files[i] = nil
		}
	}
	return errors.Join(errs...)
}

// Do records the step, does the act, and records how it went. An error of the
// act comes back with the step as its context.
func (l *Ledger) Do(s Step, act func() error) error {
	numbers, err := l.begin(false, s)
	if err != nil {
		return err
	}
	start := time.Now()
	actErr := act()
	if err := l.end(numbers, time.Since(start), actErr); err != nil {
		return errors.Join(actErr, err)
	}
	return inContext(s, actErr)
}

// inContext names the step that failed, unless the error was written for the
// user as it is.
func inContext(s Step, err error) error {
	var fault *Fault
	if err == nil || errors.As(err, &fault) {
		return err
	}
	return fmt.Errorf("%s %s: %w", s.Kind, s.Target, err)
}

// Batch is a list of steps told before somebody else does them, of whom only
// the common end is known.
type Batch struct {
	ledger  *Ledger
	numbers []int
}

// Announce records steps that are about to be done together by a component that
// reports no progress of its own.
func (l *Ledger) Announce(list []Step) (*Batch, error) {
	numbers, err := l.begin(true, list...)
	return &Batch{ledger: l, numbers: numbers}, err
}

// End marks every step of the batch done, or failed when cause is not nil.
// Their times are not known and stay 0.
func (b *Batch) End(cause error) error {
	return b.ledger.end(b.numbers, 0, cause)
}

// Records returns a copy of what the ledger holds, in order.
func (l *Ledger) Records() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Record(nil), l.records...)
}

// Remove deletes both files; what they record must have been undone before.
func (l *Ledger) Remove() error {
	if err := l.Close(); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return Remove(l.paths)
}

// Remove deletes the files of a ledger; missing ones are no error.
func Remove(paths Paths) error {
	for _, p := range []string{paths.Boot, paths.Kept} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove ledger: %w", err)
		}
	}
	return nil
}

func (l *Ledger) begin(together bool, list ...Step) ([]int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	if len(l.records) > 0 {
		n = l.records[len(l.records)-1].N
	}
	now := time.Now().UTC()
	var text lines
	var numbers []int
	for _, s := range list {
		n++
		numbers = append(numbers, n)
		if err := text.add(s.Lifetime, line{N: n, Begun: &now, Step: &s, Together: together}); err != nil {
			return nil, err
		}
	}
	if err := l.write(text); err != nil {
		return nil, err
	}
	for i, s := range list {
		r := Record{Step: s, N: numbers[i], Begun: now, State: Begun, Together: together}
		l.records = append(l.records, r)
		l.tell(r)
	}
	return numbers, nil
}

func (l *Ledger) end(numbers []int, took time.Duration, cause error) error {
	entry := line{Done: cause == nil, TookUS: took.Microseconds()}
	if cause != nil {
		entry.Failed = cause.Error()
	}
	return l.mark(numbers, entry)
}

// mark appends the same later line for steps that are already recorded.
func (l *Ledger) mark(numbers []int, entry line) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text lines
	var marked []*Record
	for _, n := range numbers {
		at := slices.IndexFunc(l.records, func(r Record) bool { return r.N == n })
		if at < 0 {
			return fmt.Errorf("mark step %d: not in the ledger", n)
		}
		entry.N = n
		marked = append(marked, &l.records[at])
		if err := text.add(l.records[at].Lifetime, entry); err != nil {
			return err
		}
	}
	if err := l.write(text); err != nil {
		return err
	}
	for _, r := range marked {
		entry.apply(r)
		l.tell(*r)
	}
	return nil
}

// lines is what is to be appended to each of the two files.
type lines [2][]byte

func (t *lines) add(to Lifetime, entry line) error {
	text, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("encode step: %w", err)
	}
	t[to] = append(append(t[to], text...), '\n')
	return nil
}

// write appends to each file with one system call, however many lines there are:
// a container's start has some sixty steps that are told together.
func (l *Ledger) write(text lines) error {
	for t, lines := range text {
		if len(lines) == 0 || l.path(Lifetime(t)) == "" {
			continue
		}
		f, err := l.file(Lifetime(t))
		if err != nil {
			return err
		}
		if _, err := f.Write(lines); err != nil {
			return fmt.Errorf("write ledger %s: %w", f.Name(), err)
		}
	}
	return nil
}

func (l *Ledger) file(t Lifetime) (*os.File, error) {
	if l.files[t] != nil {
		return l.files[t], nil
	}
	f, err := openAppend(l.path(t))
	if err != nil {
		return nil, err
	}
	l.files[t] = f
	return f, nil
}

func (l *Ledger) path(t Lifetime) string {
	if t == Kept {
		return l.paths.Kept
	}
	return l.paths.Boot
}

func openAppend(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := trimTornLine(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// trimTornLine cuts off a last line that a killed writer left without its
// newline, so that the next line does not melt into it. Such a step never
// happened: its line is written before the act.
func trimTornLine(f *os.File) error {
	text, err := io.ReadAll(f)
	if err != nil {
		return fmt.Errorf("read ledger %s: %w", f.Name(), err)
	}
	whole := len(text)
	for whole > 0 && text[whole-1] != '\n' {
		whole--
	}
	if whole == len(text) {
		return nil
	}
	if err := f.Truncate(int64(whole)); err != nil {
		return fmt.Errorf("trim ledger %s: %w", f.Name(), err)
	}
	return nil
}
