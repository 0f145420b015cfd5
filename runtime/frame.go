package runtime

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/minidock/minidock/netns"

	"github.com/minidock/minidock/steps"
)

// The protocol between a command and a container's monitor, over one Unix
// stream socket: the pair on which the monitor was started, or a connection to
// RUN/containers/ID/sock. Every message is a frame:
//
//	┌────────┬─────────────────────┬─────────┐
//	│ type 1 │ length 4 big-endian │ payload │
//	└────────┴─────────────────────┴─────────┘
//
//	command ──▶ monitor                    monitor ──▶ command
//	  Request {"op":"attach",…}, once        Told    a step, as it begins and ends
//	  Input   bytes for stdin                Started {"pid":…}: output may follow
//	  EOF     stdin has ended                Taken   the last Input has been taken
//	  Signal  {"number":15}                  Output  bytes of stdout, or of the terminal
//	  Resize  {"height":24,"width":80}       Errout  bytes of stderr
//	                                         Fault   {"message":…,"hint":…,"code":…}
//	                                         Exit    {"code":…}
//	  Detach  the user's keys to leave       Done    the request has been fulfilled
//
// Fault, Exit and Done end the conversation. The command sends the next Input
// after Taken, so a container that does not read its input never holds up a
// signal. A command that goes away just closes its end: the container lives on.
type frameType byte

const (
	frameRequest frameType = 'Q'
	frameInput   frameType = 'I'
	frameEOF     frameType = 'Z'
	frameSignal  frameType = 'S'
	frameResize  frameType = 'W'
	frameDetach  frameType = 'L'
	frameTold    frameType = 'T'
	frameStarted frameType = 'R'
	frameTaken   frameType = 'K'
	frameOutput  frameType = '1'
	frameErrout  frameType = '2'
	frameFault   frameType = 'F'
	frameExit    frameType = 'X'
	frameDone    frameType = 'D'
)

// maxFrame bounds a payload; streams are cut into pieces far below it, and the
// longest told step is an overlay mount of one page of options.
const maxFrame = 1 << 20

// faultMessage is an error as it goes from a monitor to a command: of its causes, the
// one by which commands go on in another way goes along.
type faultMessage struct {
	steps.Fault
	NotRunning bool `json:"notRunning,omitempty"`
}

// restored is the error that it was.
func (f *faultMessage) restored() error {
	if f.NotRunning {
		f.Err = errNotRunning
	}
	return &f.Fault
}

// operation is what a command asks of a monitor.
type operation string

const (
	// opStart is the first request on the socket pair, and comes nowhere else.
	opStart   operation = "start"
	opAttach  operation = "attach"
	opWait    operation = "wait"
	opExec    operation = "exec"
	opKill    operation = "kill"
	opStop    operation = "stop"
	opPause   operation = "pause"
	opUnpause operation = "unpause"
	opRename  operation = "rename"
	opUpdate  operation = "update"

	opConnect    operation = "connect"
	opDisconnect operation = "disconnect"
)

// request is the payload of a Request frame; beside Op only what the operation
// needs is set.
type request struct {
	Op operation `json:"op"`
	// ID is the container to start.
	ID string `json:"id,omitempty"`
	// Explain asks for the steps.
	Explain bool `json:"explain,omitempty"`
	// Attach asks for output and Input says that there is input to come.
	Attach bool `json:"attach,omitempty"`
	Input  bool `json:"input,omitempty"`
	// Size is that of the command's terminal.
	Size *windowSize  `json:"size,omitempty"`
	Exec *ExecOptions `json:"exec,omitempty"`
	// Signal is the number of a signal to send; 0 is the container's own.
	Signal int `json:"signal,omitempty"`
	// Removing says that the container is stopped because it is to be removed.
	Removing bool `json:"removing,omitempty"`
	// Halting says that the machine goes down: a container that is stopped for it
	// may come back after the next boot.
	Halting bool `json:"halting,omitempty"`
	// Timeout is how many seconds stop waits; nil is the container's own.
	Timeout *int     `json:"timeout,omitempty"`
	Name    string   `json:"name,omitempty"`
	Changes *Changes `json:"changes,omitempty"`
	// Endpoint is what to connect to, or the network to disconnect from.
	Endpoint *netns.Endpoint `json:"endpoint,omitempty"`
}

type startedMessage struct {
	Pid int `json:"pid"`
}

type signalMessage struct {
	Number int `json:"number"`
}

// windowSize is a terminal's size in characters (ioctl_tty(2), TIOCSWINSZ).
type windowSize struct {
	Height uint16 `json:"height"`
	Width  uint16 `json:"width"`
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
