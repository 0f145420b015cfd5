package runtime

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testLog(t testing.TB) (*logWriter, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x-json.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC) }
	return l, path
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

func TestLongLineIsCutAt16KiB(t *testing.T) {
	l, path := testLog(t)
	write(t, l.stream("stdout"), strings.Repeat("x", 2*maxLogLine+5)+"\n")
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	var lengths []int
	for _, line := range strings.Split(strings.TrimSpace(read(t, path)), "\n") {
		var e logEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, len(e.Log))
	}
	if len(lengths) != 3 || lengths[0] != maxLogLine || lengths[1] != maxLogLine || lengths[2] != 6 {
		t.Errorf("pieces of %v bytes", lengths)
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
			var e logEntry
			if err := dec.Decode(&e); err != nil {
				r.Fatal(err)
			}
			if len(e.Log) > maxLogLine+1 {
				r.Fatalf("an entry of %d bytes", len(e.Log))
			}
			got.WriteString(e.Log)
		}
		if got.String() != want.String() {
			r.Fatalf("logged %d bytes, written %d", got.Len(), want.Len())
		}
	})
}
