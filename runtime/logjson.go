package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// The json-file format, as Docker writes it:
//
//	{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
//
// It is JSON with Docker's own choice of escapes: \n, \r, \" and \\ are short,
// every other control character is \u00xx (a tab too), and so are <, > and &.
// Bytes that are not UTF-8 become \ufffd, one each.

const (
	logPrefix     = `{"log":"`
	streamPrefix  = `,"stream":"`
	stampPrefix   = `,"time":"`
	lowerHexDigit = "0123456789abcdef"
)

// escaped has a bit for every byte that is not copied as it is: those that are
// escaped, and those of which several make one character.
var escaped = [4]uint64{
	1<<' ' - 1 | 1<<'"' | 1<<'&' | 1<<'<' | 1<<'>',
	1 << ('\\' - 64),
	1<<64 - 1,
	1<<64 - 1,
}

// appendEscaped appends text as the inside of a JSON string.
func appendEscaped(to, text []byte) []byte {
	copied := 0
	for i := 0; i < len(text); {
		b := text[i]
		if escaped[b>>6]>>(b&63)&1 == 0 {
			i++
			continue
		}
		r, size := rune(b), 1
		if b >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		if size > 1 && r != '\u2028' && r != '\u2029' {
			i += size
			continue
		}
		to = appendEscape(append(to, text[copied:i]...), r)
		i += size
		copied = i
	}
	return append(to, text[copied:]...)
}

func appendEscape(to []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(to, '\\', byte(r))
	case '\n':
		return append(to, '\\', 'n')
	case '\r':
		return append(to, '\\', 'r')
	}
	return append(to, '\\', 'u', lowerHexDigit[r>>12&15], lowerHexDigit[r>>8&15], lowerHexDigit[r>>4&15], lowerHexDigit[r&15])
}

// logLine is one entry of a log. Its parts are good until the next one is parsed.
type logLine struct {
	text   []byte
	stderr bool
	// stamp is the time as it stands in the file, RFC 3339.
	stamp []byte
	attrs map[string]string
}

// logParser reads entries; it keeps what their texts are put together in.
type logParser struct{ text []byte }

// parse reads one line of a log file, without its newline. What Docker and
// minidock write is read in a fraction of the time that any other JSON takes.
func (p *logParser) parse(line []byte) (logLine, error) {
	if e, ok := p.parseUsual(line); ok {
		return e, nil
	}
	return parseAny(line)
}

func (p *logParser) parseUsual(line []byte) (e logLine, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(logPrefix))
	if !ok {
		return e, false
	}
	if e.text, rest, ok = p.unescape(rest); !ok {
		return e, false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(streamPrefix)); !ok {
		return e, false
	}
	stream, rest, _ := bytes.Cut(rest, []byte(`"`))
	if e.stderr, ok = isStderr(string(stream)); !ok {
		return e, false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(stampPrefix)); !ok {
		return e, false
	}
	e.stamp, rest, _ = bytes.Cut(rest, []byte(`"`))
	return e, string(rest) == "}"
}

func isStderr(stream string) (yes, ok bool) {
	return stream == "stderr", stream == "stderr" || stream == "stdout"
}

// unescape reads a JSON string up to its closing quote. It gives up where a
// character is put together from two escapes.
func (p *logParser) unescape(in []byte) (text, rest []byte, ok bool) {
	p.text = p.text[:0]
	for {
		at := bytes.IndexByte(in, '\\')
		plain := in[:max(at, 0)]
		if at < 0 {
			plain = in
		}
		if end := bytes.IndexByte(plain, '"'); end >= 0 {
			p.text = append(p.text, plain[:end]...)
			return p.text, in[end+1:], true
		}
		if at < 0 || at+1 == len(in) {
			return nil, nil, false
		}
		p.text = append(p.text, plain...)
		if in, ok = p.escape(in[at+1:]); !ok {
			return nil, nil, false
		}
	}
}

// escape reads what follows a backslash.
func (p *logParser) escape(in []byte) (rest []byte, ok bool) {
	if at := bytes.IndexByte([]byte(`"\/bfnrt`), in[0]); at >= 0 {
		p.text = append(p.text, "\"\\/\b\f\n\r\t"[at])
		return in[1:], true
	}
	if in[0] != 'u' || len(in) < 5 {
		return nil, false
	}
	r, err := strconv.ParseUint(string(in[1:5]), 16, 16)
	if err != nil || 0xd800 <= r && r <= 0xdfff {
		return nil, false // Half of a surrogate pair (RFC 8259, section 7).
	}
	p.text = utf8.AppendRune(p.text, rune(r))
	return in[5:], true
}

// parseAny reads an entry in any order of fields.
func parseAny(line []byte) (logLine, error) {
	var e struct {
		Log, Stream, Time string
		Attrs             map[string]string
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return logLine{}, err
	}
	stderr, ok := isStderr(e.Stream)
	switch {
	case !ok:
		return logLine{}, fmt.Errorf("unknown stream %q", e.Stream)
	case e.Time == "":
		return logLine{}, errors.New("an entry without a time")
	}
	return logLine{text: []byte(e.Log), stderr: stderr, stamp: []byte(e.Time), attrs: e.Attrs}, nil
}
