package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// entries writes numbered entries to a log file, one second apart.
func entries(t testing.TB, path string, from, to int) {
	t.Helper()
	var text []byte
	for n := from; n < to; n++ {
		text = fmt.Appendf(text, `{"log":"%d\n","stream":"stdout","time":"%s"}`+"\n", n, second(n).Format(time.RFC3339Nano))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(text)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func second(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC) }

// shown is what logs prints: stdout, stderr, and each complaint in a line.
func shown(t testing.TB, c *Container, o LogOptions) string {
	t.Helper()
	var out, errs bytes.Buffer
	o.Bad = func(err error) { fmt.Fprintln(&errs, strings.ReplaceAll(err.Error(), c.dir()+"/", "")) }
	if err := c.Logs(o, &out, &out); err != nil {
		t.Fatal(err)
	}
	return out.String() + errs.String()
}

// numbers is the output of entries from…to-1.
func numbers(from, to int) string {
	var b strings.Builder
	for n := from; n < to; n++ {
		b.WriteString(strconv.Itoa(n) + "\n")
	}
	return b.String()
}

// rotatedLog has entries 0…29 in three files.
func rotatedLog(t testing.TB) *Container {
	c := testContainer(t, "max-size=1m", "max-file=4")
	for i := range 3 {
		entries(t, logName(c.LogPath(), 2-i), 10*i, 10*i+10)
	}
	return c
}

func TestLogsReadsAllFiles(t *testing.T) {
	c := rotatedLog(t)
	for tail, want := range map[int]string{
		-1: numbers(0, 30), 0: "", 1: numbers(29, 30), 9: numbers(21, 30), 10: numbers(20, 30), 11: numbers(19, 30),
		20: numbers(10, 30), 25: numbers(5, 30), 30: numbers(0, 30), 31: numbers(0, 30),
	} {
		if got := shown(t, c, LogOptions{Tail: tail}); got != want {
			t.Errorf("tail %d: %q, not %q", tail, got, want)
		}
	}
}

// The bounds are inclusive, and the tail is taken before them, as in Docker.
func TestLogsBetweenTwoTimes(t *testing.T) {
	c := rotatedLog(t)
	for _, test := range []struct {
		tail, since, until, from, to int
	}{{-1, 5, 15, 5, 16}, {-1, 12, 12, 12, 13}, {20, 5, 12, 10, 13}, {3, 0, 12, 0, 0}, {-1, 29, 99, 29, 30}, {-1, 50, 99, 0, 0}} {
		o := LogOptions{Tail: test.tail, Since: second(test.since), Until: second(test.until)}
		if got, want := shown(t, c, o), numbers(test.from, test.to); got != want {
			t.Errorf("%+v: %q, not %q", test, got, want)
		}
	}
	half := LogOptions{Tail: -1, Since: second(28).Add(time.Nanosecond)}
	if got := shown(t, c, half); got != numbers(29, 30) {
		t.Errorf("a nanosecond later: %q", got)
	}
}

func TestTimestampsAndDetails(t *testing.T) {
	c := testContainer(t)
	text := `{"log":"part","stream":"stdout","time":"2026-01-02T03:04:05.12Z"}
{"log":" end\n","stream":"stdout","time":"2026-01-02T03:04:05.12Z"}
{"log":"more\n","stream":"stderr","attrs":{"b":"2 3","a":"1"},"time":"2026-01-02T04:04:06+01:00"}
`
	if err := os.WriteFile(c.LogPath(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "2026-01-02T03:04:05.120000000Z  part2026-01-02T03:04:05.120000000Z   end\n2026-01-02T03:04:06.000000000Z a=1,b=2+3 more\n"
	if got := shown(t, c, LogOptions{Tail: -1, Timestamps: true, Details: true}); got != want {
		t.Errorf("got\n%q, not\n%q", got, want)
	}
}

// countingReader counts what is read of a file.
type countingReader struct {
	io.ReaderAt
	bytes int
}

func (c *countingReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, at)
	c.bytes += n
	return n, err
}

func TestTailReadsFromTheEndOnly(t *testing.T) {
	text := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 100_000))
	r := &countingReader{ReaderAt: bytes.NewReader(text)}
	at, found, err := lastLines(r, int64(len(text)), 1000)
	if err != nil || found != 1000 || at != int64(len(text)-1000*100) {
		t.Errorf("the last 1000 lines: %d from byte %d, %v", found, at, err)
	}
	if r.bytes > 1000*100+tailBlock+1 {
		t.Errorf("%d bytes were read for 100000", r.bytes)
	}
}

// Whatever a line of a file is, it is named and the others are shown.
func TestBadLinesAreNamedAndPassedOver(t *testing.T) {
	c := testContainer(t, "max-file=2", "max-size=1m")
	good := `{"log":"good\n","stream":"stdout","time":"2026-01-01T00:00:00Z"}` + "\n"
	old := good + "\x00\x00{\n" + good + `{"log":"x","stream":"stdfoo","time":"2026-01-01T00:00:00Z"}` + "\n" +
		strings.Repeat("y", 3*maxLogJSON) + "\n" + good + `{"log":"torn`
	for path, text := range map[string]string{c.LogPath() + ".1": old, c.LogPath(): good + `{"log":"unfini`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := `good
good
good
good
read log x-json.log.1: line 2: invalid character '\x00' looking for beginning of value
read log x-json.log.1: line 4: unknown stream "stdfoo"
read log x-json.log.1: line 5: longer than 1048576 bytes
read log x-json.log.1: line 7: cut short
`
	if got := shown(t, c, LogOptions{Tail: -1}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	// From the end on, lines still have their numbers in the file.
	want = strings.Join(strings.Split(want, "\n")[2:4], "\n") + "\n" + strings.Join(strings.Split(want, "\n")[6:], "\n")
	if got := shown(t, c, LogOptions{Tail: 3}); got != want {
		t.Errorf("tail: got\n%swant\n%s", got, want)
	}
	// A time is looked at only where it is asked for.
	if err := os.WriteFile(c.LogPath(), []byte(strings.Replace(good, "2026", "year", 1)+good), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, LogOptions{Tail: 2}); got != "good\ngood\n" {
		t.Errorf("without times: %s", got)
	}
	got := shown(t, c, LogOptions{Tail: 2, Timestamps: true})
	if !strings.HasPrefix(got, "2026-01-01T00:00:00.000000000Z good\nread log x-json.log: line 1: parsing time") {
		t.Errorf("with times: %s", got)
	}
}

// A writer may be killed after any byte. The next one goes on behind the last
// whole line, and what was whole is there once.
func TestTornLogIsMendedAtEveryByte(t *testing.T) {
	c := testContainer(t)
	entries(t, c.LogPath(), 0, 3)
	whole := read(t, c.LogPath())
	for length := range len(whole) + 1 {
		if err := os.WriteFile(c.LogPath(), []byte(whole[:length]), 0o600); err != nil {
			t.Fatal(err)
		}
		want := numbers(0, strings.Count(whole[:length], "\n"))
		if got := shown(t, c, LogOptions{Tail: -1}); got != want {
			t.Fatalf("cut at %d: %q, not %q", length, got, want)
		}
		l := openTestLog(t, c)
		write(t, l.stream("stdout"), "after\n")
		if err := l.close(true); err != nil {
			t.Fatal(err)
		}
		if got := shown(t, c, LogOptions{Tail: -1}); got != want+"after\n" {
			t.Fatalf("cut at %d and written on: %q", length, got)
		}
	}
}

// The new file begins with the first entry after the limit, as in Docker: there
// 14 entries of 73 bytes make 1022, beyond 1k.
func TestLogIsRotatedAtItsSize(t *testing.T) {
	c := testContainer(t, "max-size=1k", "max-file=4")
	l := openTestLog(t, c)
	write(t, l.stream("stdout"), numbers(10, 100))
	if err := l.close(true); err != nil {
		t.Fatal(err)
	}
	var counts []int
	for n := range 5 {
		text, _ := os.ReadFile(logName(c.LogPath(), n))
		counts = append(counts, bytes.Count(text, []byte("\n")))
	}
	if want := []int{6, 14, 14, 14, 0}; !slices.Equal(counts, want) {
		t.Errorf("files of %v lines, not %v", counts, want)
	}
	if got, want := shown(t, c, LogOptions{Tail: -1}), numbers(52, 100); got != want {
		t.Errorf("the last four files hold %q", got)
	}
}

func TestOneFileIsBegunAnew(t *testing.T) {
	c := testContainer(t, "max-size=1k")
	l := openTestLog(t, c)
	write(t, l.stream("stdout"), numbers(10, 30))
	if err := l.close(true); err != nil {
		t.Fatal(err)
	}
	if got, want := shown(t, c, LogOptions{Tail: -1}), numbers(24, 30); got != want {
		t.Errorf("the file holds %q, not %q", got, want)
	}
	if _, err := os.Stat(c.LogPath() + ".1"); err == nil {
		t.Error("there is a second file")
	}
}

// A monitor may be killed between any two renames. A reader then sees each line
// once, and so it does after the next monitor has written and rotated on.
func TestRotationKilledAtEveryStep(t *testing.T) {
	const maxFile = 6
	for files := 1; files <= maxFile; files++ {
		for done := 0; done <= files; done++ {
			t.Run(fmt.Sprintf("%d files, %d moved", files, done), func(t *testing.T) {
				c := testContainer(t, "max-size=1k", "max-file="+strconv.Itoa(maxFile))
				for i := range files {
					entries(t, logName(c.LogPath(), files-1-i), 100+14*i, 100+14*i+14)
				}
				first := 100
				last, err := shiftFrom(c.LogPath(), maxFile)
				if err != nil {
					t.Fatal(err)
				}
				for n := last; n >= 0 && n > last-done; n-- {
					if err := shiftLog(c.LogPath(), n, maxFile); err != nil {
						t.Fatal(err)
					}
				}
				if files == maxFile && done > 0 {
					first += 14 // The oldest has given way.
				}
				end := 100 + 14*files
				if got := shown(t, c, LogOptions{Tail: -1}); got != numbers(first, end) {
					t.Fatalf("after the kill: %q", got)
				}
				l := openTestLog(t, c)
				write(t, l.stream("stdout"), numbers(end, end+14))
				if err := l.close(true); err != nil {
					t.Fatal(err)
				}
				got := shown(t, c, LogOptions{Tail: -1})
				from, _ := strconv.Atoi(got[:strings.IndexByte(got, '\n')])
				if got != numbers(from, end+14) || from > max(100, end+14-(maxFile-1)*14) {
					t.Errorf("after the next rotation: %q", got)
				}
			})
		}
	}
}

// While the log is rotated as fast as can be, every look at it finds lines that
// follow each other.
func TestReadersBesideRotation(t *testing.T) {
	c := testContainer(t, "max-size=200", "max-file=30")
	l := openTestLog(t, c)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		s := l.stream("stdout")
		for n := 100_000; ; n++ {
			select {
			case <-stop:
				return
			default:
				_, _ = s.Write([]byte(strconv.Itoa(n) + "\n"))
			}
		}
	}()
	looks := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); looks++ {
		tail := -1
		if looks%2 == 1 {
			tail = 20
		}
		got := shown(t, c, LogOptions{Tail: tail})
		if got == "" {
			continue
		}
		lines := strings.Split(strings.TrimSpace(got), "\n")
		first, _ := strconv.Atoi(lines[0])
		if want := numbers(first, first+len(lines)); got != want {
			t.Fatalf("look %d: %q", looks, got)
		}
		if tail > 0 && len(lines) > tail {
			t.Fatalf("look %d: %d lines", looks, len(lines))
		}
	}
	close(stop)
	<-stopped
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d looks", looks)
}

func TestNoLogCanNotBeRead(t *testing.T) {
	c := testContainer(t)
	c.Config.Log = LogConfig{Driver: "none"}
	l, err := openLog(c)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l.stream("stdout"), "kept nowhere\n")
	if err := l.close(true); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(c.dir() + "/*"); len(files) > 0 {
		t.Errorf("there are files: %v", files)
	}
	err = c.Logs(LogOptions{Tail: -1}, io.Discard, io.Discard)
	if err == nil || err.Error() != "configured logging driver does not support reading" {
		t.Errorf("logs says %v", err)
	}
}

// A disk that takes a part of a batch leaves no torn line in the middle.
func TestFailedWriteLeavesWholeLines(t *testing.T) {
	c := testContainer(t)
	l := openTestLog(t, c)
	s := l.stream("stdout")
	write(t, s, "one\n")
	good := l.file
	readOnly, err := os.Open(c.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	l.file = readOnly
	if _, err := s.Write([]byte("lost\n")); err == nil {
		t.Error("no error is told")
	}
	readOnly.Close()
	l.file = good
	write(t, s, "two\n")
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, LogOptions{Tail: -1}); got != "one\ntwo\n" {
		t.Errorf("the log holds %q", got)
	}
}

// runs makes the container one that runs, as far as can be told: its first
// process is this one.
func runs(t *testing.T, c *Container) {
	t.Helper()
	start, _, err := processStart(os.Getpid())
	if err == nil {
		err = errors.Join(os.MkdirAll(c.run(), 0o700), writeJSON(filepath.Join(c.dir(), configFile), c.Config, false))
	}
	if err == nil {
		err = writeJSON(filepath.Join(c.run(), liveFile), Live{Pid: os.Getpid(), PidStart: start}, false)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func hasEnded(t *testing.T, c *Container) {
	t.Helper()
	if err := os.Remove(filepath.Join(c.run(), liveFile)); err != nil {
		t.Fatal(err)
	}
}

// followPatience is long enough for a machine that is emulated, and busy.
const followPatience = time.Minute

// sink collects output and waits for what it is to end with.
type sink struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newSink() *sink { return &sink{changed: make(chan struct{}, 1)} }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *sink) awaits(t *testing.T, end string) {
	t.Helper()
	late := time.After(followPatience)
	for !strings.HasSuffix(s.String(), end) {
		select {
		case <-s.changed:
		case <-late:
			t.Fatalf("%q does not end with %q", s.String(), end)
		}
	}
}

// returns wants the follower to have ended without an error.
func returns(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(followPatience):
		t.Fatal("the follower does not end")
	}
}

func followLog(c *Container, o LogOptions) (*sink, <-chan error) {
	out, done := newSink(), make(chan error, 1)
	o.Follow = true
	go func() { done <- c.Logs(o, out, out) }()
	return out, done
}

func TestFollowSeesEachLineOnceUntilTheEnd(t *testing.T) {
	c := testContainer(t, "max-size=300", "max-file=50")
	runs(t, c)
	l := openTestLog(t, c)
	s := l.stream("stdout")
	write(t, s, numbers(100, 110))
	out, done := followLog(c, LogOptions{Tail: 5})
	out.awaits(t, "109\n")
	for n := 110; n < 200; n++ {
		write(t, s, numbers(n, n+1))
		if n%7 == 0 {
			out.awaits(t, numbers(n, n+1))
		}
	}
	write(t, s, "the end")
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	hasEnded(t, c)
	returns(t, done)
	if got, want := out.String(), numbers(105, 200)+"the end"; got != want {
		t.Errorf("got %q", got)
	}
}

// A container that waits for its restart has not ended.
func TestFollowGoesOnOverARestart(t *testing.T) {
	c := testContainer(t)
	runs(t, c)
	held, err := tryLock(c.layout, c.Config.ID) // As its monitor does.
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	l := openTestLog(t, c)
	s := l.stream("stdout")
	out, done := followLog(c, LogOptions{Tail: -1})
	write(t, s, "first run\n")
	out.awaits(t, "first run\n")
	live := filepath.Join(c.run(), liveFile)
	if err := writeJSON(live, Live{Restarting: true, Monitor: os.Getpid()}, false); err != nil {
		t.Fatal(err)
	}
	write(t, s, "between\n")
	out.awaits(t, "between\n")
	runs(t, c)
	write(t, s, "second run\n")
	out.awaits(t, "second run\n")
	hasEnded(t, c)
	returns(t, done)
}

// A writer that is killed in the middle of a line, and the next one, which cuts
// that off, show a follower whole lines only.
func TestFollowPassesOverATornLine(t *testing.T) {
	c := testContainer(t)
	runs(t, c)
	entries(t, c.LogPath(), 0, 1)
	out, done := followLog(c, LogOptions{Tail: -1})
	out.awaits(t, "0\n")
	f, err := os.OpenFile(c.LogPath(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, `{"log":"torn and longer than what comes after it `+strings.Repeat("x", 500))
	l := openTestLog(t, c)
	write(t, l.stream("stdout"), "after\n")
	out.awaits(t, "after\n")
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	hasEnded(t, c)
	returns(t, done)
	if got := out.String(); got != "0\nafter\n" {
		t.Errorf("got %q", got)
	}
}

func TestFollowEndsAtItsDeadline(t *testing.T) {
	c := testContainer(t)
	runs(t, c)
	entries(t, c.LogPath(), 0, 3)
	out, done := followLog(c, LogOptions{Tail: -1, Until: time.Now().Add(200 * time.Millisecond)})
	returns(t, done)
	if got := out.String(); got != numbers(0, 3) {
		t.Errorf("got %q", got)
	}
}

// A container that does not run is not waited for, as in Docker.
func TestFollowOfAContainerThatIsNotStarted(t *testing.T) {
	c := testContainer(t)
	if err := writeJSON(filepath.Join(c.dir(), configFile), c.Config, false); err != nil {
		t.Fatal(err)
	}
	out, done := followLog(c, LogOptions{Tail: -1})
	if returns(t, done); out.String() != "" {
		t.Errorf("it says %q", out.String())
	}
}

// The words are Docker's, with the size's from the library that both use.
func TestLogOptionsAreChecked(t *testing.T) {
	for options, want := range map[string]string{
		"":                               "",
		"max-size=10m max-file=3":        "",
		"max-size=1.5k labels=a,b env=X": "",
		"max-file=3":                     "",
		"compress=false mode=blocking":   "",
		"max-size=10x":                   "failed to initialize logging driver: invalid suffix: 'x'",
		"max-size=0":                     "failed to initialize logging driver: max-size must be a positive number",
		"max-size=-1":                    "failed to initialize logging driver: invalid size: '-1'",
		"max-size=":                      "failed to initialize logging driver: invalid size: ''",
		"max-file=0":                     "failed to initialize logging driver: max-file cannot be less than 1",
		"max-file=x":                     `failed to initialize logging driver: strconv.Atoi: parsing "x": invalid syntax`,
		"compress=maybe":                 `failed to initialize logging driver: strconv.ParseBool: parsing "maybe": invalid syntax`,
		"compress=true max-size=1m":      "log opt compress=true is not supported",
		"mode=bogus":                     "logger: logging mode not supported: bogus",
		"mode=non-blocking":              "logging mode non-blocking is not supported",
		"foo=bar":                        "unknown log opt 'foo' for json-file log driver",
		"tag=x":                          "unknown log opt 'tag' for json-file log driver",
	} {
		c := testContainer(t, strings.Fields(options)...)
		if got := c.Config.Log.check(); fmt.Sprint(got) != orNil(want) {
			t.Errorf("%q: %v, not %s", options, got, want)
		}
	}
	bogus, none := LogConfig{Driver: "bogus"}, LogConfig{Driver: "none", Options: map[string]string{"max-size": "1m"}}
	if err := bogus.check(); err == nil || err.Error() != `error looking up logging plugin bogus: plugin "bogus" not found` {
		t.Error(err)
	}
	if err := none.check(); err == nil || err.Error() != "invalid logging opts for driver none" {
		t.Error(err)
	}
}

func orNil(text string) string {
	if text == "" {
		return "<nil>"
	}
	return text
}

func TestLogAttributes(t *testing.T) {
	c := testContainer(t, "labels=l,missing", "env=E")
	c.Config.Labels, c.Config.Env = map[string]string{"l": "1", "other": "x"}, []string{"PATH=/", "E=2"}
	l := openTestLog(t, c)
	write(t, l.stream("stdout"), "at\n")
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	want := `{"log":"at\n","stream":"stdout","attrs":{"E":"2","l":"1"},"time":"2026-01-02T03:04:05.123456789Z"}` + "\n"
	if got := read(t, c.LogPath()); got != want {
		t.Errorf("got %s", got)
	}
	if got := shown(t, c, LogOptions{Tail: -1, Details: true}); got != "E=2,l=1 at\n" {
		t.Errorf("details: %s", got)
	}
}

func BenchmarkLogWrite(b *testing.B) {
	c := testContainer(b, "max-size=10m", "max-file=2")
	l := openTestLog(b, c)
	s := l.stream("stdout")
	chunk := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 655)) // 64 KiB
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		write(b, s, string(chunk))
	}
}

func BenchmarkLogRead(b *testing.B) {
	c := testContainer(b)
	l := openTestLog(b, c)
	s := l.stream("stdout")
	for range 100 {
		write(b, s, strings.Repeat(strings.Repeat("x", 99)+"\n", 655))
	}
	info, err := os.Stat(c.LogPath())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		if err := c.Logs(LogOptions{Tail: -1}, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
