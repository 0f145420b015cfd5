package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// stdio is the monitor's side of a process' standard streams.
//
// A container's output runs over two fifos that it holds open for reading and
// writing: should the monitor die, the container does not get SIGPIPE. Those of
// an exec are pipes. Input, if any, is a pipe of which only the monitor holds the
// writing end, so that the process sees the end of its input. A terminal takes
// the place of all three.
type stdio struct {
	// theirs are the process' ends, closed once it has them.
	theirs [3]*os.File
	// readers are where its output comes from, or its terminal alone.
	readers []*os.File
	input   *os.File
	console *console
	// pieces hands input over. A command sends one at a time, and the end behind
	// the last.
	pieces chan piece
	// over is closed when nobody takes input any more.
	over   chan struct{}
	once   sync.Once
	ended  sync.Once
	copied sync.WaitGroup
}

// piece is a part of the input; without data it is the end.
type piece struct {
	data  []byte
	taken func()
}

// maxPieces is how many commands may have input waiting before one more has to
// wait for its turn.
const maxPieces = 64

// drainPatience bounds the wait for output after the container has ended. All
// its processes are dead then and the fifos at their end, unless it gave one
// away to a process outside.
const drainPatience = 5 * time.Second

// openStdio makes the streams of a container's first process.
func openStdio(ledger *steps.Ledger, dir string, interactive, tty bool) (*stdio, error) {
	if tty {
		return openTerminal(interactive)
	}
	s := &stdio{over: make(chan struct{})}
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
		reader, err := openFifo(path, unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			return nil, err
		}
		s.readers = append(s.readers, reader)
	}
	return s, nil
}

// openPipes makes the streams of a process that ends with the monitor's interest.
func openPipes(interactive, tty bool) (*stdio, error) {
	if tty {
		return openTerminal(interactive)
	}
	s := &stdio{over: make(chan struct{})}
	if err := s.openInput(interactive); err != nil {
		return nil, err
	}
	for i := range 2 {
		reader, writer, err := os.Pipe()
		if err != nil {
			s.close()
			return nil, fmt.Errorf("make output pipe: %w", err)
		}
		s.theirs[i+1], s.readers = writer, append(s.readers, reader)
	}
	return s, nil
}

func openTerminal(interactive bool) (s *stdio, err error) {
	s = &stdio{over: make(chan struct{})}
	if s.console, err = newConsole(); err != nil {
		return nil, err
	}
	if interactive {
		s.pieces = make(chan piece, maxPieces)
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
	s.pieces = make(chan piece, maxPieces)
	return nil
}

// give hands the process' ends to libcontainer.
func (s *stdio) give(p *libcontainer.Process) {
	if s.console != nil {
		p.ConsoleSocket = s.console.theirs
		return
	}
	p.Stdin, p.Stdout, p.Stderr = s.theirs[0], s.theirs[1], s.theirs[2]
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

// handOver closes the process' ends, which it has inherited by now, and copies
// what it writes to the log and to those who listen.
func (s *stdio) handOver(log *logWriter, pass func(frameType, []byte)) error {
	if s.console != nil {
		terminal, err := s.console.receive()
		if err != nil {
			return err
		}
		s.readers, s.input = []*os.File{terminal}, terminal
	}
	for _, f := range s.theirs {
		f.Close() // Of a nil file it is an error without effect.
	}
	if s.pieces != nil {
		go s.feedInput()
	}
	streams := []struct {
		name  string
		frame frameType
	}{{"stdout", frameOutput}, {"stderr", frameErrout}}
	for i, reader := range s.readers {
		frame, entries := streams[i].frame, log.stream(streams[i].name)
		s.copied.Add(1)
		go func() {
			defer s.copied.Done()
			copyOutput(reader, entries, func(p []byte) { pass(frame, p) })
		}()
	}
	return nil
}

// outputBuffer is how much output is read at once: what a pipe holds (pipe(7)).
const outputBuffer = 64 << 10

func copyOutput(from io.Reader, log io.Writer, pass func([]byte)) {
	buffer := make([]byte, outputBuffer)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			_, _ = log.Write(buffer[:n])
			pass(buffer[:n])
		}
		if err != nil {
			return // At the end, too: the last to have a terminal open is gone (EIO).
		}
	}
}

// drain waits until all output has been copied.
func (s *stdio) drain() {
	if s.console != nil {
		s.console.release()
	}
	for _, r := range s.readers {
		_ = r.SetReadDeadline(time.Now().Add(drainPatience))
	}
	s.copied.Wait()
	s.close()
}

// close closes what is still open; it is for a start that failed, too.
func (s *stdio) close() {
	s.ended.Do(func() { close(s.over) })
	s.closeInput()
	if s.console != nil {
		s.console.close()
	}
	for _, f := range append(s.theirs[:], s.readers...) {
		if f != nil {
			f.Close()
		}
	}
}

// feedInput writes what attached commands send, and says after each piece that it
// was taken. The command waits for that, so a container that does not read holds
// up neither the monitor nor the signals behind the input.
func (s *stdio) feedInput() {
	for {
		select {
		case p := <-s.pieces:
			s.feed(p)
		case <-s.over:
			return
		}
	}
}

func (s *stdio) feed(p piece) {
	if p.data == nil {
		s.closeInput()
		return
	}
	if _, err := s.input.Write(p.data); err != nil {
		s.closeInput()
	}
	p.taken()
}

// takeInput queues a piece; where there is no input it is dropped.
func (s *stdio) takeInput(p piece) {
	if s.pieces == nil {
		p.taken()
		return
	}
	s.queue(p)
}

func (s *stdio) queue(p piece) {
	select {
	case s.pieces <- p:
	case <-s.over:
	}
}

// endInput ends the input behind the pieces that are still on their way: the
// command has no more, or is gone. A terminal's input never ends.
func (s *stdio) endInput() {
	if s.pieces != nil && s.console == nil {
		s.queue(piece{})
	}
}

func (s *stdio) closeInput() {
	s.once.Do(func() {
		if s.input != nil {
			s.input.Close()
		}
	})
}
