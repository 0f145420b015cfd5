package runtime

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// slowReader takes nothing until it is let go.
type slowReader struct {
	bytes.Buffer
	start chan struct{}
}

func (s *slowReader) Write(p []byte) (int, error) {
	<-s.start
	return s.Buffer.Write(p)
}

func (s *slowReader) Close() error { return nil }

func TestSpoolNeverHoldsUpItsWriterAndLosesNothing(t *testing.T) {
	reader := &slowReader{start: make(chan struct{})}
	s := newSpool(reader)
	want := make([]byte, 5*spoolMemory+123)
	if _, err := rand.Read(want); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 100_000)
			if _, err := s.Write(rest[:n]); err != nil {
				written <- err
				return
			}
			rest = rest[n:]
		}
		written <- nil
	}()
	select {
	case err := <-written:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the writer was held up by a reader that takes nothing")
	}
	close(reader.start)
	s.close()
	if !bytes.Equal(reader.Bytes(), want) {
		t.Errorf("got %d bytes of %d, or others", reader.Len(), len(want))
	}
	if s.file != nil {
		t.Error("the file is still there after all was taken")
	}
}

func TestSpoolTellsItsWriterThatTheReaderIsGone(t *testing.T) {
	a, b := net.Pipe()
	b.Close()
	s := newSpool(a)
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		if _, err := s.Write([]byte("x")); errors.Is(err, io.ErrClosedPipe) {
			s.close()
			return
		}
	}
	t.Error("writing to a reader that is gone goes on for ever")
}

func TestFramesComeBackAsSent(t *testing.T) {
	var wire bytes.Buffer
	w := frameWriter{w: &wire}
	if err := w.send(frameOutput, []byte("a\x00b")); err != nil {
		t.Fatal(err)
	}
	if err := w.sendJSON(frameExit, exitMessage{Code: 137}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		kind    frameType
		payload string
	}{{frameOutput, "a\x00b"}, {frameExit, `{"code":137}`}} {
		kind, payload, err := readFrame(&wire)
		if err != nil || kind != want.kind || string(payload) != want.payload {
			t.Errorf("frame %c %q, %v", kind, payload, err)
		}
	}
	if _, _, err := readFrame(&wire); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("1\x00\x00\x00\x02ab"))
	f.Add([]byte("1\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		_, payload, err := readFrame(bytes.NewReader(wire))
		if err == nil && len(payload) > len(wire)-5 {
			t.Errorf("%d bytes of payload out of %d", len(payload), len(wire))
		}
	})
}
