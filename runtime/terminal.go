package runtime

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// enterTerminal puts a terminal into raw mode: every key goes to the container's
// own terminal, which echoes, edits lines, and makes signals of keys (termios(3)).
func enterTerminal(f *os.File) (restore func(), err error) {
	fd := int(f.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read terminal settings: %w", err)
	}
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, raw(*before)); err != nil {
		return nil, fmt.Errorf("set terminal to raw mode: %w", err)
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil
}

// knownSize is a terminal's size; nil where it is unknown, as it is of some.
func knownSize(f *os.File) *windowSize {
	size, err := terminalSize(f)
	if err != nil || size.Height == 0 {
		return nil
	}
	return size
}

// raw is what cfmakeraw(3) makes of settings, but that output stays processed:
// what this command itself says still begins at the left.
func raw(t unix.Termios) *unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return &t
}

func terminalSize(f *os.File) (*windowSize, error) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil, fmt.Errorf("read terminal size: %w", err)
	}
	return &windowSize{Height: size.Row, Width: size.Col}, nil
}

// DefaultDetachKeys are Docker's.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// ParseDetachKeys reads keys as Docker writes them: single characters, or ctrl-
// with a letter or one of @ [ \ ] ^ _, with commas between.
func ParseDetachKeys(text string) ([]byte, error) {
	var keys []byte
	for key := range strings.SplitSeq(text, ",") {
		code, ok := keyCode(key)
		if !ok {
			return nil, &steps.Fault{
				Msg:  fmt.Sprintf("invalid detach keys (%s): Unknown character: '%s'", text, key),
				Hint: "Write keys like ctrl-p,ctrl-q or ctrl-x,d.", Code: 125,
			}
		}
		keys = append(keys, code)
	}
	return keys, nil
}

// keyCode: the control key clears the upper three bits (ASCII: ctrl-a is 1).
func keyCode(key string) (byte, bool) {
	if len(key) == 1 {
		return key[0], true
	}
	letter, isControl := strings.CutPrefix(strings.ToLower(key), "ctrl-")
	if !isControl || len(letter) != 1 {
		return 0, false
	}
	if c := letter[0]; c >= 'a' && c <= 'z' || strings.IndexByte(`@[\]^_`, c) >= 0 {
		return c & 0x1f, true
	}
	return 0, false
}

// detacher finds the detach keys in what a user types. What turns out to be only
// the beginning of them is passed on, late.
type detacher struct {
	keys []byte
	seen int
}

// filter returns what goes to the container, and whether the keys are complete.
func (d *detacher) filter(typed []byte) (text []byte, detach bool) {
	if len(d.keys) == 0 {
		return typed, false
	}
	for _, c := range typed {
		if d.seen == 0 && c != d.keys[0] {
			text = append(text, c)
			continue
		}
		held := append(slices.Clone(d.keys[:d.seen]), c)
		d.seen = beginning(d.keys, held)
		text = append(text, held[:len(held)-d.seen]...)
		if d.seen == len(d.keys) {
			d.seen = 0
			return text, true
		}
	}
	return text, false
}

// beginning is the length of the longest end of what is held with which the keys
// begin: of keys that repeat themselves, as a,a,b, not only the whole counts.
func beginning(keys, held []byte) int {
	for !bytes.HasPrefix(keys, held) {
		held = held[1:]
	}
	return len(held)
}
