package runtime

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// The protocol between a command and a container's monitor, over one Unix
// stream socket. Every message is a frame:
//
//	┌────────┬─────────────────────┬─────────┐
//	│ type 1 │ length 4 big-endian │ payload │
//	└────────┴─────────────────────┴─────────┘
//
//	command ──▶ monitor                    monitor ──▶ command
//	  Go     {"id":…,"explain":…}            Told    a step, as it begins and ends
//	  Input  bytes for stdin                 Started {"pid":…}
//	  EOF    stdin has ended                 Taken   the last Input has been taken
//	  Signal {"number":15}                   Output  bytes of stdout
//	                                         Errout  bytes of stderr
//	                                         Fault   {"message":…,"hint":…,"code":…}
//	                                         Exit    {"code":…}
//
// The command sends the next Input after Taken, so a container that does not
// read its input never holds up a signal. A command that goes away just closes its end: the container lives on.
type frameType byte

const (
	frameGo      frameType = 'G'
	frameInput   frameType = 'I'
	frameEOF     frameType = 'Z'
	frameSignal  frameType = 'S'
	frameTold    frameType = 'T'
	frameStarted frameType = 'R'
	frameTaken   frameType = 'K'
	frameOutput  frameType = '1'
	frameErrout  frameType = '2'
	frameFault   frameType = 'F'
	frameExit    frameType = 'X'
)

// maxFrame bounds a payload; streams are cut into pieces far below it, and the
// longest told step is an overlay mount of one page of options.
const maxFrame = 1 << 20

type goMessage struct {
	ID      string `json:"id"`
	Explain bool   `json:"explain"`
}

type startedMessage struct {
	Pid int `json:"pid"`
}

type signalMessage struct {
	Number int `json:"number"`
}

type exitMessage struct {
	Code int `json:"code"`
}

// frameWriter sends whole frames; it is safe for several goroutines.
type frameWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frameWriter) send(t frameType, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	frame := make([]byte, 5, 5+len(payload))
	frame[0] = byte(t)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	if _, err := f.w.Write(append(frame, payload...)); err != nil {
		return fmt.Errorf("send frame %c: %w", t, err)
	}
	return nil
}

func (f *frameWriter) sendJSON(t frameType, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame %c: %w", t, err)
	}
	return f.send(t, payload)
}

// readFrame returns io.EOF when the peer has closed between two frames.
func readFrame(r io.Reader) (frameType, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxFrame {
		return 0, nil, fmt.Errorf("read frame %c: %d bytes exceed the limit of %d", head[0], size, maxFrame)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("read frame %c: %w", head[0], err)
	}
	return frameType(head[0]), payload, nil
}
