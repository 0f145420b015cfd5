package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFramesComeBackAsTheyWereSent(t *testing.T) {
	var wire bytes.Buffer
	w := frameWriter{w: &wire}
	for _, payload := range []string{"", "a", strings.Repeat("x", maxFrame)} {
		if err := w.send(frameOutput, []byte(payload)); err != nil {
			t.Fatal(err)
		}
		kind, got, err := readFrame(&wire)
		if err != nil || kind != frameOutput || string(got) != payload {
			t.Errorf("%d bytes come back as %d bytes in frame %c, %v", len(payload), len(got), kind, err)
		}
	}
	if _, _, err := readFrame(&wire); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
}

func TestFrameCutShortIsNotTheEnd(t *testing.T) {
	var wire bytes.Buffer
	w := frameWriter{w: &wire}
	if err := w.send(frameInput, []byte("input")); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < wire.Len(); n++ {
		if _, _, err := readFrame(bytes.NewReader(wire.Bytes()[:n])); err == nil || err == io.EOF { //nolint:errorlint // the bare value means a clean end
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestFrameTooLongIsRefusedUnread(t *testing.T) {
	head := append([]byte{'I'}, binary.BigEndian.AppendUint32(nil, maxFrame+1)...)
	if _, _, err := readFrame(bytes.NewReader(head)); err == nil || !strings.Contains(err.Error(), "exceed the limit") {
		t.Errorf("%v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte("I\x00\x00\x00\x02ab"))
	f.Add([]byte("Q\x00\x00\x00\x0d{\"op\":\"stop\"}"))
	f.Add([]byte("\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		for {
			before := len(wire) - r.Len()
			kind, payload, err := readFrame(r)
			if err != nil {
				break
			}
			var again bytes.Buffer
			w := frameWriter{w: &again}
			if err := w.send(kind, payload); err != nil || !bytes.Equal(again.Bytes(), wire[before:len(wire)-r.Len()]) {
				t.Fatalf("frame %c of %d bytes is written as %q, %v", kind, len(payload), again.Bytes(), err)
			}
		}
		_, _ = readRequest(bytes.NewReader(wire)) // It must not panic.
	})
}
