package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// stdio is the monitor's side of a container's standard streams.
//
// Output runs over two fifos that the container holds open for reading and
// writing: should the monitor die, the container does not get SIGPIPE. Input, if
// any, is a pipe of which only the monitor holds the writing end, so that the
// container sees the end of its input.
type stdio struct {
	// theirs are the container's ends, closed once it has them.
	theirs  [3]*os.File
	readers [2]*os.File
	input   *os.File
	// pieces hands input over; nil is its end. The command sends one at a time,
	// and the end behind the last.
	pieces chan []byte
	once   sync.Once
	copied sync.WaitGroup
}

// drainPatience bounds the wait for output after the container has ended. All
// its processes are dead then and the fifos at their end, unless it gave one
// away to a process outside.
const drainPatience = 5 * time.Second

func openStdio(ledger *steps.Ledger, dir string, interactive bool) (*stdio, error) {
	s := &stdio{}
	if err := s.openInput(interactive); err != nil {
		return nil, err
	}
	for i, name := range []string{"stdout", "stderr"} {
		path := filepath.Join(dir, name)
		if err := makeFifo(ledger, path); err != nil {
			return nil, err
		}
		var err error
		if s.theirs[i+1], err = openFifo(path, unix.O_RDWR); err != nil {
			return nil, err
		}
		if s.readers[i], err = openFifo(path, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *stdio) openInput(interactive bool) (err error) {
	if !interactive {
		s.theirs[0], err = os.Open(os.DevNull)
		return err
	}
	s.theirs[0], s.input, err = os.Pipe()
	if err != nil {
		return fmt.Errorf("make input pipe: %w", err)
	}
	s.pieces = make(chan []byte, 2)
	return nil
}

func makeFifo(ledger *steps.Ledger, path string) error {
	return ledger.Do(steps.Step{
		Kind: "fifo", Target: path,
		Why:   "Make a named pipe for the container's output: the monitor reads it, writes the log, and passes it on; with a name it can be found again if the monitor dies.",
		Call:  []string{fmt.Sprintf("mknodat(AT_FDCWD, %q, S_IFIFO|0600)", path)},
		Shell: []string{"mkfifo -m 600 " + path},
		Undo:  "rm " + path,
		See:   "ls -l " + path,
		Man:   "mkfifo(3), fifo(7)",
	}, func() error { return unix.Mkfifo(path, 0o600) })
}

// openFifo opens without os.OpenFile, which would make a fifo non-blocking for
// everyone who inherits it.
func openFifo(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open fifo %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// handOver closes the container's ends, which it has inherited by now, and
// copies what it writes to the log and to the attached command.
func (s *stdio) handOver(log *logWriter, out *frameWriter) {
	for _, f := range s.theirs {
		f.Close()
	}
	if s.input != nil {
		go s.feedInput(out)
	}
	for i, stream := range []struct {
		name  string
		frame frameType
	}{{"stdout", frameOutput}, {"stderr", frameErrout}} {
		s.copied.Add(1)
		go func() {
			defer s.copied.Done()
			copyOutput(s.readers[i], log.stream(stream.name), func(p []byte) { _ = out.send(stream.frame, p) })
		}()
	}
}

func copyOutput(from io.Reader, log io.Writer, pass func([]byte)) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			_, _ = log.Write(buffer[:n])
			pass(buffer[:n])
		}
		if err != nil {
			return
		}
	}
}

// drain waits until all output has been copied.
func (s *stdio) drain() {
	for _, r := range s.readers {
		_ = r.SetReadDeadline(time.Now().Add(drainPatience))
	}
	s.copied.Wait()
	s.close()
}

// close closes what is still open; it is for a start that failed, too.
func (s *stdio) close() {
	s.closeInput()
	for _, f := range append(s.theirs[:], s.readers[:]...) {
		if f != nil {
			f.Close()
		}
	}
}

// feedInput writes what the attached command sends, and says after each piece
// that it was taken. The command waits for that, so a container that does not
// read holds up neither the monitor nor the signals behind the input.
func (s *stdio) feedInput(out *frameWriter) {
	for piece := range s.pieces {
		if piece == nil {
			s.closeInput()
			continue
		}
		if _, err := s.input.Write(piece); err != nil {
			s.closeInput()
		}
		_ = out.send(frameTaken, nil)
	}
}

// endInput ends the input behind the pieces that are still on their way: the
// command has no more, or is gone.
func (s *stdio) endInput() {
	if s.pieces != nil {
		s.pieces <- nil
	}
}

func (s *stdio) closeInput() {
	s.once.Do(func() {
		if s.input != nil {
			s.input.Close()
		}
	})
}
