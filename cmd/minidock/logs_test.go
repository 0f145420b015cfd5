package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
)

// deluge is what a container pours into its log: MiB in all, MiB in a second.
type deluge struct {
	size, rate int
	maxSize    string
	// busy is the most that its monitor may use of a processor for it, in seconds.
	busy float64
	// slack is added, in seconds, to the most that it may take.
	slack float64
}

const delugeWidth = 200 // bytes of a line

func (d deluge) lines() int { return d.size << 20 / delugeWidth }

// A container that writes as fast as a busy one does: a reader that keeps up, and
// one that comes afterwards, get each line once and in order over all rotations,
// and a reader that has stopped holds up nobody.
func TestFloodIsLoggedOnceAndInOrder(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	d := deluge{size: 1000, rate: 50, maxSize: "50m", busy: 10}
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		d = deluge{size: 6, rate: 2, maxSize: "500k", busy: 60, slack: 60} // An emulated machine is 20 times slower.
	}
	w := newWorld(t)
	w.importProbe()
	w.pour("flood", d)
	busy := processorTime(monitorOf("flood"))
	stopped := w.stoppedReader("flood")
	out, said := w.readLog(t, "--follow", "flood")
	if err := numbered(out, d.lines()); err != nil {
		t.Error("logs -f: ", err)
	}
	var told struct{ Seconds float64 }
	if err := json.Unmarshal(said(), &told); err != nil {
		t.Fatal(err)
	}
	used := <-busy
	t.Logf("%d MiB in %.1f s; the monitor used %.1f s of a processor", d.size, told.Seconds, used)
	if used > d.busy || used == 0 {
		t.Errorf("its monitor used %.1f s of a processor", used)
	}
	// At the rate asked for it takes half of that; the machine has other things to do,
	// too, and whoever were held up by the stopped reader would never end.
	if most := 2*float64(d.size)/float64(d.rate) + d.slack; told.Seconds > most {
		t.Errorf("it took the container %.1f s to write", told.Seconds)
	}
	if one := w.inspect("flood"); one.State.Running || one.State.ExitCode != 0 {
		t.Errorf("it has not ended well: %+v", one.State)
	}
	if stopped.ProcessState != nil {
		t.Error("the stopped reader has ended")
	}
	out, _ = w.readLog(t, "flood")
	if err := numbered(out, d.lines()); err != nil {
		t.Error("logs: ", err)
	}
}

// processorTime tells, when a process has ended, how much of a processor it used,
// in seconds (proc_pid_stat(5): fields 14 and 15, in hundredths).
func processorTime(pid int) <-chan float64 {
	last := make(chan float64, 1)
	go func() {
		used := 0.0
		for ; ; time.Sleep(20 * time.Millisecond) {
			text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
			if err != nil || len(fields) < 13 || fields[0] == "Z" {
				last <- used
				return
			}
			user, _ := strconv.ParseFloat(fields[11], 64)
			system, _ := strconv.ParseFloat(fields[12], 64)
			used = (user + system) / 100
		}
	}()
	return last
}

// pour starts a container without anybody attached to it.
func (w *world) pour(name string, d deluge) {
	w.t.Helper()
	cmd := w.command("run", "--name", name, "--log-opt", "max-size="+d.maxSize, "--log-opt", "max-file=1000",
		"probe", "/probe", "flood", strconv.Itoa(d.size), "--rate", strconv.Itoa(d.rate), "--width", strconv.Itoa(delugeWidth))
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.eventually(func() bool {
		out, _, _ := w.run("logs", "--tail", "1", name)
		return out != ""
	}, name+" writes")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// stoppedReader follows a log no further than its first bytes.
func (w *world) stoppedReader(name string) *exec.Cmd {
	w.t.Helper()
	cmd := w.command("logs", "--follow", name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		w.t.Fatal(err)
	}
	return cmd
}

// readLog starts to read a log. said waits for the end of the command and returns
// its stderr.
func (w *world) readLog(t *testing.T, args ...string) (out io.Reader, said func() []byte) {
	t.Helper()
	cmd := w.command(append([]string{"logs"}, args...)...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end := func() []byte {
		if cmd.ProcessState == nil {
			if err := cmd.Wait(); err != nil {
				t.Errorf("logs %v: %v\n%s", args, err, &errOut)
			}
		}
		return errOut.Bytes()
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); end() })
	return out, end
}

// numbered wants lines that begin with the numbers from 0 to count-1.
func numbered(r io.Reader, count int) error {
	n := 0
	for lines := bufio.NewReaderSize(r, 1<<20); ; n++ {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			return err
		}
		if len(line) != delugeWidth || !isNumber(line[:10], n) {
			return fmt.Errorf("line %d is %.40q", n, line)
		}
	}
	if n != count {
		return fmt.Errorf("%d lines, not %d", n, count)
	}
	return nil
}

func isNumber(digits []byte, n int) bool {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] != byte('0'+n%10) {
			return false
		}
		n /= 10
	}
	return n == 0
}

// Without its monitor a container goes on, and so does who follows its log, until
// the container has ended; meanwhile a follower costs nothing.
func TestFollowWithoutAMonitor(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	w.background("orphan", "probe", "/probe", "sleep", "1000")
	cmd := w.command("logs", "-f", "orphan")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if text, err := bufio.NewReader(out).ReadString('\n'); err != nil || text != "ready\n" {
		t.Fatalf("it says %q, %v", text, err)
	}
	if err := syscall.Kill(monitorOf("orphan"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() bool { return monitorOf("orphan") == 0 }, "the monitor is gone")
	before := switches(t, cmd.Process.Pid)
	w.eventually(func() bool { return strings.Contains(w.must("ps"), "orphan") }, "it is shown as running")
	if n := switches(t, cmd.Process.Pid) - before; n > 50 {
		t.Errorf("a follower of a silent container was woken %d times", n)
	}
	if err := syscall.Kill(w.inspect("orphan").State.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the follower ended with %v", err)
	}
}

// switches is how often all threads of a process have gone to sleep (proc_pid_status(5)).
func switches(t *testing.T, pid int) (all int) {
	t.Helper()
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d has no threads: %v", pid, err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		n, err := strconv.Atoi(strings.Fields(rest + " x")[0])
		if err == nil {
			all += n
		}
	}
	return all
}

func TestMomentsAreReadAsDockerDoes(t *testing.T) {
	zone := time.FixedZone("here", 3600)
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"10m":                       now.Add(-10 * time.Minute),
		"-2s":                       now.Add(2 * time.Second),
		"1h30m":                     now.Add(-90 * time.Minute),
		"0":                         time.Unix(0, 0),
		"1":                         time.Unix(1, 0),
		"1136073600.000000001":      time.Unix(1136073600, 1),
		"1.5":                       time.Unix(1, 500_000_000),
		"1.1234567891":              time.Unix(1, 123456789),
		"2026-11-28":                time.Date(2026, 11, 28, 0, 0, 0, 0, zone),
		"2026-11-28T08":             time.Date(2026, 11, 28, 8, 0, 0, 0, zone),
		"2026-11-28T08:01":          time.Date(2026, 11, 28, 8, 1, 0, 0, zone),
		"2026-11-28T08:01:02":       time.Date(2026, 11, 28, 8, 1, 2, 0, zone),
		"2026-11-28T08:01:02.5":     time.Date(2026, 11, 28, 8, 1, 2, 500_000_000, zone),
		"2026-11-28Z":               time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC),
		"2026-11-28T08:01:02Z":      time.Date(2026, 11, 28, 8, 1, 2, 0, time.UTC),
		"2026-11-28T08:01:02.5Z":    time.Date(2026, 11, 28, 8, 1, 2, 500_000_000, time.UTC),
		"2026-11-28T08:01:02+02:00": time.Date(2026, 11, 28, 6, 1, 2, 0, time.UTC),
		"2026-11-28T08:01-02:00":    time.Date(2026, 11, 28, 10, 1, 0, 0, time.UTC),
	} {
		if got, err := parseMoment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %v, %v, not %v", text, got, err, want)
		}
	}
	for _, text := range []string{"bogus", "10x", "1.x", "1.-5", "2026-13-01", "2026-11-28T", "."} {
		_, err := parseMoment(text, now)
		if want := fmt.Sprintf("failed to parse value as time or duration: %q", text); err == nil || err.Error() != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTailTakesDockersValues(t *testing.T) {
	for text, want := range map[string]int{"all": -1, "5": 5, "0": 0, "-3": -3, "x": -1, "1.5": -1, "": -1} {
		if got := tailOf(text); got != want {
			t.Errorf("%q is %d, not %d", text, got, want)
		}
	}
}

// monitorOf finds the monitor of a container by its title; 0 where there is none.
func monitorOf(name string) int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, _ := os.ReadFile(file)
		if strings.HasPrefix(string(text), "minidock: monitor "+name+"\x00monitor\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}
