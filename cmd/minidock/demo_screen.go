package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// style is what a piece of text is for, as the parameters of ECMA-48's SGR
// (8.3.117) that show it.
type style string

const (
	normal style = ""
	strong style = "1"
	faint  style = "2"
	bad    style = "31"
	held   style = "33"
	busy   style = "36"
)

// span is text in one style, line a row of spans.
type (
	span struct {
		style style
		text  string
	}
	line []span
)

// text makes a line of one span.
func text(s style, format string, args ...any) line {
	return line{{s, fmt.Sprintf(format, args...)}}
}

// paint cuts a line to a width in columns, so that it never wraps, and styles it
// if there is colour.
func (l line) paint(width int, colour bool) string {
	var b strings.Builder
	for _, s := range l {
		cut := []rune(s.text)
		cut = cut[:min(len(cut), width)]
		width -= len(cut)
		if colour && s.style != normal && len(cut) > 0 {
			b.WriteString("\x1b[" + string(s.style) + "m" + string(cut) + "\x1b[0m")
		} else {
			b.WriteString(string(cut))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// wrapText breaks a paragraph between words.
func wrapText(paragraph string, width int) []string {
	var lines []string
	current := ""
	for word := range strings.FieldsSeq(paragraph) {
		if current != "" && utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) > width {
			lines, current = append(lines, current), ""
		}
		if current != "" {
			current += " "
		}
		current += word
	}
	return append(lines, current)
}

// screen is where a demo is shown: a terminal, on which one picture is replaced
// by the next, or anything else, which gets plain lines.
type screen struct {
	w io.Writer
	// redraw and colour are two things: NO_COLOR (no-color.org) forbids the
	// second, only a terminal that can't move its cursor the first.
	redraw, colour bool
	size           func() (width, height int)
	drawn          int
	// err is the first error of a write: nobody is looking any more.
	err error
}

// The size of a terminal that does not tell its own, as of a DEC VT100.
const defaultWidth, defaultHeight = 80, 24

func newScreen(out *os.File) *screen {
	s := &screen{w: out, size: func() (int, int) { return defaultWidth, defaultHeight }}
	if term := os.Getenv("TERM"); term == "" || term == "dumb" || !asksForSize(out) {
		return s
	}
	s.redraw, s.colour = true, os.Getenv("NO_COLOR") == ""
	s.size = func() (int, int) { return sizeOf(out) }
	return s
}

func asksForSize(out *os.File) bool {
	_, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// sizeOf asks each time, since a window can be made larger or smaller.
func sizeOf(out *os.File) (width, height int) {
	size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return defaultWidth, defaultHeight
	}
	return int(size.Col), int(size.Row)
}

// Control functions of ECMA-48, and DEC's private mode 25 for the cursor.
const (
	cursorUp    = "\x1b[%dA"
	eraseRight  = "\x1b[K"
	eraseBelow  = "\x1b[J"
	hideCursor  = "\x1b[?25l"
	showCursor  = "\x1b[?25h"
	lineFeed    = "\n"
	firstColumn = "\r"
)

// show writes lines that stay.
func (s *screen) show(lines ...line) {
	s.keep()
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.paint(longLine, s.colour) + lineFeed)
	}
	s.write(b.String())
}

// longLine lets the terminal wrap what stays: it can be selected as a whole.
const longLine = 1 << 16

// draw replaces the picture drawn before. All of it is one write, so that no
// half of a picture is ever seen.
func (s *screen) draw(lines []line) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, firstColumn+cursorUp, s.drawn)
	} else {
		b.WriteString(hideCursor)
	}
	width, _ := s.size()
	for _, l := range lines {
		b.WriteString(l.paint(width, s.colour) + eraseRight + lineFeed)
	}
	b.WriteString(eraseBelow)
	s.drawn = len(lines)
	s.write(b.String())
}

// keep leaves the last picture where it is.
func (s *screen) keep() {
	if s.drawn > 0 {
		s.drawn = 0
		s.write(showCursor)
	}
}

func (s *screen) write(text string) {
	if s.err == nil {
		_, s.err = io.WriteString(s.w, text)
	}
}
