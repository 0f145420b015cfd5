package runtime

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// testContainer has a state directory of its own and these log options.
func testContainer(t testing.TB, options ...string) *Container {
	t.Helper()
	dir := t.TempDir()
	c := &Container{layout: Layout{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Instance: "test"}}
	c.Config = Config{ID: "x", Name: "x", Args: []string{"x"}, Log: LogConfig{Options: map[string]string{}}}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		c.Config.Log.Options[name] = value
	}
	if err := os.MkdirAll(c.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func openTestLog(t testing.TB, c *Container) *logWriter {
	t.Helper()
	l, err := openLog(c)
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC) }
	return l
}

func testLog(t testing.TB) (*logWriter, string) {
	t.Helper()
	c := testContainer(t)
	return openTestLog(t, c), c.LogPath()
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLogIsDockersJSONFileFormat(t *testing.T) {
	l, path := testLog(t)
	out, errs := l.stream("stdout"), l.stream("stderr")
	write(t, out, "text\nhalf a ")
	write(t, errs, "<oops> & \"more\"\n")
	write(t, out, "line\nno end")
	if err := l.close(true); err != nil {
		t.Fatal(err)
	}
	want := `{"log":"text\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
{"log":"\u003coops\u003e \u0026 \"more\"\n","stream":"stderr","time":"2026-01-02T03:04:05.123456789Z"}
{"log":"half a line\n","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
{"log":"no end","stream":"stdout","time":"2026-01-02T03:04:05.123456789Z"}
`
	if got := read(t, path); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func write(t testing.TB, w interface{ Write([]byte) (int, error) }, text string) {
	t.Helper()
	if n, err := w.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("write %d of %d bytes: %v", n, len(text), err)
	}
}

// The lengths are those of a Docker engine: the newline counts.
func TestLongLineIsCutAt16KiB(t *testing.T) {
	for length, want := range map[int][]int{
		maxLogLine - 1:   {maxLogLine},
		maxLogLine:       {maxLogLine, 1},
		maxLogLine + 1:   {maxLogLine, 2},
		2 * maxLogLine:   {maxLogLine, maxLogLine, 1},
		2*maxLogLine + 5: {maxLogLine, maxLogLine, 6},
	} {
		l, path := testLog(t)
		write(t, l.stream("stdout"), strings.Repeat("x", length)+"\n")
		if err := l.close(false); err != nil {
			t.Fatal(err)
		}
		var lengths []int
		for line := range strings.Lines(read(t, path)) {
			e, err := parseAny([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			lengths = append(lengths, len(e.text))
		}
		if !slices.Equal(lengths, want) {
			t.Errorf("%d bytes are kept in parts of %v", length, lengths)
		}
	}
}

// All parts of a line bear the time of the first.
func TestPartsOfALineHaveOneTime(t *testing.T) {
	l, path := testLog(t)
	second := 0
	l.now = func() time.Time { second++; return time.Date(2026, 1, 1, 0, 0, second, 0, time.UTC) }
	s := l.stream("stdout")
	for range 3 {
		write(t, s, strings.Repeat("x", maxLogLine))
	}
	write(t, s, "end\nnext\n")
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	var times []string
	for line := range strings.Lines(read(t, path)) {
		e, err := parseAny([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, string(e.stamp[17:19]))
	}
	if want := []string{"01", "01", "01", "01", "04"}; !slices.Equal(times, want) {
		t.Errorf("seconds %v, not %v", times, want)
	}
}

// However the output is cut into writes, the log holds exactly what was written.
func TestLogLosesAndDoublesNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l, path := testLog(t)
		s := l.stream("stdout")
		var want bytes.Buffer
		for range rapid.IntRange(0, 20).Draw(r, "writes") {
			piece := rapid.StringMatching(`[a-z\n]{0,40}`).Draw(r, "piece")
			if rapid.IntRange(0, 5).Draw(r, "long") == 0 {
				piece += strings.Repeat("y", rapid.IntRange(0, 40000).Draw(r, "length"))
			}
			want.WriteString(piece)
			write(t, s, piece)
		}
		if err := l.close(false); err != nil {
			r.Fatal(err)
		}
		var got bytes.Buffer
		for dec := json.NewDecoder(strings.NewReader(read(t, path))); dec.More(); {
			var e struct{ Log string }
			if err := dec.Decode(&e); err != nil {
				r.Fatal(err)
			}
			if len(e.Log) > maxLogLine {
				r.Fatalf("an entry of %d bytes", len(e.Log))
			}
			got.WriteString(e.Log)
		}
		if got.String() != want.String() {
			r.Fatalf("logged %d bytes, written %d", got.Len(), want.Len())
		}
	})
}
