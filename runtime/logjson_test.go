package runtime

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// What a Docker engine (20.10) wrote for these bytes.
func TestEscapesAreDockers(t *testing.T) {
	for text, want := range map[string]string{
		"\x00\x01\b\t\n":                        `\u0000\u0001\u0008\u0009\n`,
		"\v\f\r\x1b":                            `\u000b\u000c\r\u001b`,
		"\"'/<=>?&\\`\x7f":                      "\\\"'/\\u003c=\\u003e?\\u0026\\\\`\x7f",
		"a\u2028b\u2029c\u00e9\ufffd\U0001F600": "a\\u2028b\\u2029c\u00e9\ufffd\U0001F600",
		"bad \xe2\x80 mid":                      `bad \ufffd\ufffd mid`,
		"\xed\xa0\x80 \xc0\x80":                 `\ufffd\ufffd\ufffd \ufffd\ufffd`,
		"\xf4\x90\x80\x80":                      `\ufffd\ufffd\ufffd\ufffd`,
		"cut \xc3":                              `cut \ufffd`,
	} {
		if got := string(appendEscaped(nil, []byte(text))); got != want {
			t.Errorf("%q becomes %s, not %s", text, got, want)
		}
	}
}

// dockers is what encoding/json makes of a text, but for the three control
// characters that it has short escapes for and Docker has not.
func dockers(t *testing.T, text []byte) string {
	t.Helper()
	encoded, err := json.Marshal(string(text))
	if err != nil {
		t.Fatal(err)
	}
	pairs := []string{`\\`, `\\`, `\t`, `\u0009`, `\b`, `\u0008`, `\f`, `\u000c`}
	return strings.NewReplacer(pairs...).Replace(string(encoded[1 : len(encoded)-1]))
}

// Every text is escaped as by encoding/json, and read back as what that reads.
func FuzzLogText(f *testing.F) {
	for _, seed := range []string{"", "plain\n", "\t\b\f\\t\"<&>\u2028", "\xff\xe2\x80", "\U0001F600\ufffd\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		inside := appendEscaped(nil, text)
		if want := dockers(t, text); string(inside) != want {
			t.Fatalf("%q becomes %s, not %s", text, inside, want)
		}
		line := logPrefix + string(inside) + `","stream":"stderr","time":"2026-01-02T03:04:05Z"}`
		var p logParser
		e, ok := p.parseUsual([]byte(line))
		if !ok || !bytes.Equal(e.text, asRead(text)) {
			t.Fatalf("%s is read as %q, %v", line, e.text, ok)
		}
	})
}

// asRead replaces each byte that is not UTF-8.
func asRead(text []byte) (to []byte) {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		to, text = utf8.AppendRune(to, r), text[size:]
	}
	return to
}

// Where both readers take a line they read the same, and neither panics.
func FuzzLogLine(f *testing.F) {
	for _, seed := range []string{
		`{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}`,
		`{"log":"\u003coops\u003e \"more\"\\\n","stream":"stderr","time":"2026-01-02T03:04:05Z"}`,
		`{"log":"\ud83d\ude00\/\b\f\t","stream":"stdout","time":"x"}`,
		`{"log":"x","stream":"stdout","attrs":{"a":"1"},"time":"2026-01-02T03:04:05Z"}`,
		`{"time":"2026-01-02T03:04:05Z","stream":"stdout","log":"x"}`,
		`{"log":"x","stream":"stdout","time":"a\"}`, `{"log":"\`, `{"log":"\u12`, `{"log":"\u+123"`, `{}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var p logParser
		usual, ok := p.parseUsual(line)
		any, err := parseAny(line)
		if !ok || err != nil || !utf8.Valid(line) {
			return
		}
		// A time with an escape in it is none, whoever reads it.
		if bytes.Contains(usual.stamp, []byte(`\`)) {
			return
		}
		if !bytes.Equal(usual.text, any.text) || usual.stderr != any.stderr || !bytes.Equal(usual.stamp, any.stamp) {
			t.Fatalf("%s is read as %q and as %q", line, usual.text, any.text)
		}
	})
}
