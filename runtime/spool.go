package runtime

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// spool passes bytes on to a reader that may be slow or stop reading, and never
// holds up who writes them: what the reader has not taken waits in memory and,
// beyond spoolMemory, in a file without a name, which the kernel frees with us.
type spool struct {
	mu      sync.Mutex
	changed *sync.Cond
	memory  []byte
	// file holds what came after memory was full: size bytes, of which the first
	// taken have been passed on.
	file        *os.File
	size, taken int64
	closed      bool
	broken      error
	done        chan struct{}
}

// spoolMemory bounds what waits in memory: a few pipes' worth (pipe(7): 64 KiB).
const spoolMemory = 1 << 20

func newSpool(to io.WriteCloser) *spool {
	s := &spool{done: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	go s.feed(to)
	return s
}

// Write takes all of p at once; it fails only when the reader is gone for good.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || s.closed {
		return 0, errors.Join(s.broken, io.ErrClosedPipe)
	}
	if err := s.keep(p); err != nil {
		return 0, err
	}
	s.changed.Signal()
	return len(p), nil
}

func (s *spool) keep(p []byte) (err error) {
	if s.file == nil && len(s.memory)+len(p) <= spoolMemory {
		s.memory = append(s.memory, p...)
		return nil
	}
	if s.file == nil {
		if s.file, err = unnamedFile(); err != nil {
			return err
		}
	}
	if _, err = s.file.WriteAt(p, s.size); err != nil {
		s.broken = err // Half a frame would make nonsense of what follows it.
		return err
	}
	s.size += int64(len(p))
	return nil
}

// unnamedFile never has a name where the file system knows of such files
// (open(2), O_TMPFILE); elsewhere it loses its name at once.
func unnamedFile() (*os.File, error) {
	const dir = "/var/tmp"
	if fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), dir), nil
	}
	f, err := os.CreateTemp(dir, "minidock-spool-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// close lets the reader take what is left and waits until it has.
func (s *spool) close() {
	s.mu.Lock()
	s.closed = true
	s.changed.Signal()
	s.mu.Unlock()
	<-s.done
}

func (s *spool) feed(to io.WriteCloser) {
	defer close(s.done)
	defer to.Close()
	for {
		chunk, err := s.next()
		if err == nil {
			_, err = to.Write(chunk)
		}
		if err != nil {
			s.mu.Lock()
			s.broken = err
			s.mu.Unlock()
			return
		}
	}
}

// next waits for bytes; it returns io.EOF once closed and empty.
func (s *spool) next() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.memory) > 0:
			chunk := s.memory
			s.memory = nil
			return chunk, nil
		case s.file != nil:
			return s.nextFromFile()
		case s.closed:
			return nil, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *spool) nextFromFile() ([]byte, error) {
	chunk := make([]byte, min(s.size-s.taken, 64<<10))
	if _, err := s.file.ReadAt(chunk, s.taken); err != nil {
		return nil, err
	}
	s.taken += int64(len(chunk))
	if s.taken < s.size {
		return chunk, nil
	}
	err := s.file.Close()
	s.file, s.size, s.taken = nil, 0, 0
	return chunk, err
}
