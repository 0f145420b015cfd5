package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// allScenes are the scenes of all demos, with the default image.
func allScenes() []scene {
	var all []scene
	for _, d := range demos() {
		if d.scenes != nil {
			all = append(all, d.scenes(demoSettings{image: baseImage, seconds: 6})...)
		}
	}
	return all
}

func TestWhatADemoTellsToTypeIsWhatItRuns(t *testing.T) {
	for _, s := range allScenes() {
		script := `minidock() { for word; do printf '%s\0' "$word"; done; }` + "\n" + strings.Join(typed(s.args, s.image), "\n")
		out, err := exec.Command("sh", "-c", script).Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if diff := cmp.Diff(append([]string{"run"}, s.args...), got); diff != "" {
			t.Errorf("%s: a shell reads something else (-run +typed):\n%s", s.heading, diff)
		}
	}
}

func TestDemoCommandLinesAreReadAsRunReadsThem(t *testing.T) {
	for name, want := range map[string]cgroups.Limits{
		"demo-cpu":          {NanoCPUs: 200_000_000},
		"demo-memory":       {Memory: 32 << 20, MemorySwap: 32 << 20},
		"demo-memory-child": {Memory: 32 << 20, MemorySwap: 32 << 20},
		"demo-pids":         {PidsLimit: 50},
	} {
		found := false
		for _, s := range allScenes() {
			o, err := optionsOf(s.args)
			if err != nil {
				t.Fatal(err)
			}
			if o.Name != name {
				continue
			}
			found = true
			if o.Limits != want || o.Image != baseImage || len(o.Command) != 3 {
				t.Errorf("%s: %+v", name, o)
			}
		}
		if !found {
			t.Errorf("no demo runs %s", name)
		}
	}
}

func TestScenesAnnounceThemselvesIn2To5LinesOf80Columns(t *testing.T) {
	for _, s := range allScenes() {
		if lines := wrapText(s.why, proseWidth); len(lines) < 2 || len(lines) > 5 {
			t.Errorf("%q: %d lines", s.heading, len(lines))
		}
		for _, l := range append(typed(s.args, s.image), s.heading) {
			for part := range strings.SplitSeq("  "+l, "\n") {
				if n := utf8.RuneCountInString(part); n > proseWidth {
					t.Errorf("%d columns: %s", n, part)
				}
			}
		}
	}
}

// moments makes samples, a tenth of a second apart.
func moments(counters ...cgroups.Counters) []runtime.Sample {
	start := time.Now()
	var all []runtime.Sample
	for i, c := range counters {
		all = append(all, runtime.Sample{At: start.Add(time.Duration(i) * 100 * time.Millisecond), Counters: c})
	}
	return all
}

func ended(code int, oom bool, c cgroups.Counters) *runtime.Exit {
	return &runtime.Exit{ExitCode: code, OOMKilled: oom, Cgroup: &c}
}

func cpuSeen() seen {
	return seen{
		limits: cgroups.Limits{NanoCPUs: 200_000_000},
		samples: moments(
			cgroups.Counters{NrPeriods: 3, NrThrottled: 2, ThrottledUsec: 150_000, UsageUsec: 900_000},
			cgroups.Counters{NrPeriods: 4, NrThrottled: 3, ThrottledUsec: 230_000, UsageUsec: 920_000},
			cgroups.Counters{NrPeriods: 4, NrThrottled: 3, ThrottledUsec: 230_000, UsageUsec: 920_000},
			cgroups.Counters{NrPeriods: 6, NrThrottled: 5, ThrottledUsec: 390_000, UsageUsec: 962_000},
		),
		exit: ended(0, false, cgroups.Counters{NrPeriods: 7, NrThrottled: 6, ThrottledUsec: 470_000}),
	}
}

func TestCPUShareIsUsageOverTheTimeBetweenTheSamples(t *testing.T) {
	f := cpuFiguresOf(cpuSeen())
	f.Share = float64(int(f.Share*1e6)) / 1e6
	want := cpuFigures{Limit: 0.2, Share: 0.206666, Seconds: 0.3, UsageUsec: 62_000, NrPeriods: 3, NrThrottled: 3, ThrottledUsec: 240_000}
	if f != want {
		t.Errorf("%+v, not %+v", f, want)
	}
	late := cpuSeen()
	late.samples[0].Late, late.samples[3].Late = true, true
	if f := cpuFiguresOf(late); f.UsageUsec != 0 || f.Seconds < 0.099 || f.Seconds > 0.101 {
		t.Errorf("with the first and the last one late: %+v", f)
	}
	late.samples[1].Late = true
	if f := cpuFiguresOf(late); f.UsageUsec != 62_000 {
		t.Errorf("with one in time: %+v", f)
	}
	one := cpuSeen()
	one.samples = one.samples[:1]
	if f := cpuFiguresOf(one); f != (cpuFigures{Limit: 0.2}) {
		t.Errorf("one sample gives %+v", f)
	}
}

func TestChartsAreDrawnToTheWidthAndHeightOfTheTerminal(t *testing.T) {
	for name, c := range map[string]struct {
		chart       chart
		width, rows int
		want        string
	}{
		"cpu, 80 columns": {cpuChart(cpuSeen()), 80, 3, `
  period  0 ms                                        100 ms       ran   stopped
       4  ██████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░   20.0 ms   80.0 ms
     5-6  ███████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░   21.0 ms   80.0 ms


  █ running   ░ stopped by the kernel      20.7% of a CPU, limit 20.0%
`},
		"only the newest bars": {cpuChart(cpuSeen()), 80, 1, `
  period  0 ms                                        100 ms       ran   stopped
     5-6  ███████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░   21.0 ms   80.0 ms

  █ running   ░ stopped by the kernel      20.7% of a CPU, limit 20.0%
`},
		"narrow": {cpuChart(cpuSeen()), 50, 1, `
  period  0 ms          100 ms       ran   stopped
     5-6  ████░░░░░░░░░░░░░░░░   21.0 ms   80.0 ms

  █ running   ░ stopped by the kernel      20.7% o
`},
		"memory, killed": {memoryChart(memorySeen()), 80, 3, `
    time  0                                   limit 32.0 MiB    in use  oom_kill
   0.0 s  █·················································   0.5 MiB         0
   0.1 s  █████████████████████████·························  16.0 MiB         0
  killed  ██████████████████████████████████████████████████  32.0 MiB         1

  █ in use   · still allowed
`},
		"pids": {pidsChart(pidsSeen()), 80, 2, `
    time  0                                         limit 50     tasks   refused
   0.0 s  ████··············································         4         0
   0.1 s  ██████████████████████████████████████████████████        50        12

  █ alive   · still allowed
`},
		"before the first sample": {pidsChart(seen{limits: cgroups.Limits{PidsLimit: 50}}), 80, 1, `
    time  0                                         limit 50     tasks   refused


  █ alive   · still allowed
`},
	} {
		t.Run(name, func(t *testing.T) {
			got := "\n"
			for _, l := range c.chart.lines(c.width, c.rows) {
				got += l.paint(c.width, false) + "\n"
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func memorySeen() seen {
	return seen{
		limits: cgroups.Limits{Memory: 32 << 20},
		samples: moments(
			cgroups.Counters{MemoryCurrent: 1 << 19},
			cgroups.Counters{MemoryCurrent: 16 << 20},
		),
		exit: ended(137, true, cgroups.Counters{MemoryPeak: 32 << 20, MemoryEvents: cgroups.MemoryEvents{Max: 40, OOM: 1, OOMKill: 1}}),
	}
}

func pidsSeen() seen {
	return seen{
		limits: cgroups.Limits{PidsLimit: 50}, said: "sh: can't fork",
		samples: moments(cgroups.Counters{PidsCurrent: 4}, cgroups.Counters{PidsCurrent: 50, PidsEventsMax: 12}),
		exit:    ended(0, false, cgroups.Counters{PidsPeak: 50, PidsEventsMax: 30}),
	}
}

func TestVerdictsTellWhatHappened(t *testing.T) {
	unhurt := ended(0, false, cgroups.Counters{})
	with := func(s seen, exit *runtime.Exit) seen { s.exit = exit; return s }
	childKilled := with(memorySeen(), ended(0, true, cgroups.Counters{MemoryEvents: cgroups.MemoryEvents{OOMKill: 1}}))
	childKilled.said = "tail ended with 137"
	short := cpuSeen()
	short.samples = nil
	many := with(pidsSeen(), ended(0, false, cgroups.Counters{PidsPeak: 51, PidsEventsMax: 1}))
	for name, c := range map[string]struct {
		judge func(seen) judgement
		seen  seen
		shown bool
		want  string
	}{
		"cpu":                   {judgeCPU, cpuSeen(), true, "It asked for 100% of a CPU and got 20.7%: in 6 of 7 periods the kernel stopped it, for 0.5 s in all."},
		"cpu, never stopped":    {judgeCPU, with(cpuSeen(), unhurt), false, "It got 20.7% of a CPU and was never stopped: it asked for less than its limit."},
		"cpu, not measured":     {judgeCPU, short, false, "It ended before it could be measured."},
		"memory":                {judgeMemory, memorySeen(), true, "It was allowed 32.0 MiB, asked for more, and PID 1 was killed: exit status 137 (128 + 9, SIGKILL), OOMKilled true."},
		"memory, not killed":    {judgeMemory, with(memorySeen(), unhurt), false, "It ended with exit status 0, and 0 processes were killed."},
		"memory, child instead": {judgeMemory, childKilled, false, "It ended with exit status 0, and 1 processes were killed."},
		"child":                 {judgeChild, childKilled, true, `The child was killed (PID 1 says: "tail ended with 137") and PID 1 lived on: exit status 0, as if nothing had happened, but OOMKilled true. The exit status alone does not tell; look at both.`},
		"child, PID 1 instead":  {judgeChild, memorySeen(), false, "It ended with exit status 137, and 1 processes were killed."},
		"pids":                  {judgePids, pidsSeen(), true, `It never had more than 50 tasks: fork was refused 30 times. Inside, that reads: "sh: can't fork".`},
		"pids, none refused":    {judgePids, with(pidsSeen(), unhurt), false, "It had no more than 50 tasks and was refused none."},
		"pids, too many":        {judgePids, many, false, "It was allowed 50 tasks and had 51."},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.judge(c.seen)
			if got.verdict != c.want || got.shown != c.shown {
				t.Errorf("%v: %s", got.shown, got.verdict)
			}
		})
	}
}

func TestCounterLinesFitIn80Columns(t *testing.T) {
	most := cgroups.Counters{
		NrPeriods: 6000, NrThrottled: 6000, ThrottledUsec: 999_999_999, MemoryPeak: 32 << 20, PidsPeak: 50, PidsEventsMax: 99_999,
		MemoryEvents: cgroups.MemoryEvents{Max: 99_999, OOM: 99, OOMKill: 99},
	}
	for _, list := range [][]counter{cpuCounters(most), memoryCounters(most), pidsCounters(most)} {
		for _, c := range list {
			if l := c.line().paint(longLine, false); utf8.RuneCountInString(l) > 80 {
				t.Errorf("%d columns: %s", utf8.RuneCountInString(l), l)
			}
		}
	}
}

func TestADemoThatShowsNothingFails(t *testing.T) {
	good, poor := played{Demo: "pids", Scenes: []playedScene{{Shown: true}}}, played{Demo: "cpu", Scenes: []playedScene{{Shown: true}, {Verdict: "It slept."}}}
	if err := unshown([]played{good}); err != nil {
		t.Error(err)
	}
	err := unshown([]played{good, poor})
	if err == nil || !strings.Contains(err.Error(), "cpu") || !strings.Contains(err.Error(), "It slept.") || steps.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	wall := played{Demo: "network", Acts: []playedAct{{Shown: true}, {Verdict: "It got through."}}}
	if err := unshown([]played{good, wall}); err == nil || !strings.Contains(err.Error(), "It got through.") {
		t.Errorf("%v", err)
	}
}

func TestActsAnnounceThemselvesIn2To5LinesOf80Columns(t *testing.T) {
	acts := networkActs(demoSettings{image: baseImage})
	for _, a := range acts {
		if lines := wrapText(a.why, proseWidth); len(lines) < 2 || len(lines) > 5 {
			t.Errorf("%q: %d lines", a.heading, len(lines))
		}
		for _, args := range a.commands {
			for _, l := range append(wrapCommand("minidock "+quoteAll(args), proseWidth-2), a.heading) {
				if n := utf8.RuneCountInString(l); n > proseWidth-2 {
					t.Errorf("%d columns: %s", n, l)
				}
			}
		}
	}
	if len(acts) < 7 {
		t.Errorf("only %d acts", len(acts))
	}
}

// A shell that is given a shown command reads what is run.
func TestAShownCommandIsWhatIsRun(t *testing.T) {
	args := []string{"run", "--name", "a", "--network", "front", "--network", "back", "busybox", "sh", "-c", "it's; all"}
	script := `minidock() { for word; do printf '%s\0' "$word"; done; }` + "\n" + strings.Join(wrapCommand("minidock "+quoteAll(args), 30), "\n")
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(args, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")); diff != "" {
		t.Error(diff)
	}
}

// What an act makes is known by its command, so that it is taken away.
func TestAStageRemembersWhatItMakes(t *testing.T) {
	s := &stage{}
	for _, a := range networkActs(demoSettings{image: baseImage}) {
		for _, args := range a.commands {
			s.remember(args)
		}
	}
	s.remember([]string{"network", "connect", "x", "y"})
	if diff := cmp.Diff([]string{webContainer, apiContainer, dbContainer}, s.containers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{frontNetwork, backNetwork}, s.networks); diff != "" {
		t.Error(diff)
	}
}

func TestBarsAreAlwaysAsLongAsTheirAxis(t *testing.T) {
	for _, shares := range [][]float64{{}, {0, 0}, {0.2, 0.8}, {0.333, 0.333}, {1.3}, {0.7, 0.9}, {0.001, 0.999}, {0.005, 0.005, 0.99}, {0, 1}} {
		for _, width := range []int{10, 11, 50, 97} {
			var parts []part
			for _, s := range shares {
				parts = append(parts, part{share: s, sign: fullCell})
			}
			cells := 0
			for i, s := range fill(parts, width) {
				cells += utf8.RuneCountInString(s.text)
				if i < len(shares) && shares[i] > 0 && s.text == "" && cells < width {
					t.Errorf("%v in %d: nothing is drawn for part %d", shares, width, i)
				}
			}
			if cells != width {
				t.Errorf("%v in %d: %d cells", shares, width, cells)
			}
		}
	}
}

func TestLinesAreCutToTheTerminal(t *testing.T) {
	l := line{{strong, "öne"}, {normal, " two "}, {held, "three"}}
	for width, want := range map[int]string{20: "öne two three", 5: "öne t", 4: "öne", 2: "ön", 0: ""} {
		if got := l.paint(width, false); got != want {
			t.Errorf("%d columns: %q", width, got)
		}
	}
	if got := l.paint(10, true); got != "\x1b[1möne\x1b[0m two \x1b[33mth\x1b[0m" {
		t.Errorf("in colour: %q", got)
	}
}

func TestTextIsWrappedBetweenWords(t *testing.T) {
	got := wrapText("one two three four extraordinarily five", 9)
	if diff := cmp.Diff([]string{"one two", "three", "four", "extraordinarily", "five"}, got); diff != "" {
		t.Error(diff)
	}
}

func terminal(w *bytes.Buffer, redraw bool) *screen {
	return &screen{w: w, redraw: redraw, size: func() (int, int) { return 80, 24 }}
}

func TestAPictureReplacesTheOneBefore(t *testing.T) {
	var out bytes.Buffer
	s := terminal(&out, true)
	s.draw([]line{text(normal, "a"), text(normal, "b")})
	s.draw([]line{text(normal, "c"), text(normal, "d")})
	s.show(text(normal, "end"))
	want := "\x1b[?25la\x1b[K\nb\x1b[K\n\x1b[J" + "\r\x1b[2Ac\x1b[K\nd\x1b[K\n\x1b[J" + "\x1b[?25h" + "end\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// show shows a whole container on a screen.
func show(s *screen, sc scene, all seen) {
	v := &view{scene: sc, screen: s, seen: seen{limits: all.limits}}
	v.begin()
	for _, one := range all.samples {
		v.see(one)
	}
	v.end(*all.exit)
}

func TestWithoutATerminalOneLineASecondIsPrinted(t *testing.T) {
	all := seen{limits: cgroups.Limits{PidsLimit: 50}, exit: ended(0, false, cgroups.Counters{})}
	for i := range 31 {
		at := time.Now().Add(time.Duration(i) * 250 * time.Millisecond)
		all.samples = append(all.samples, runtime.Sample{At: at, Counters: cgroups.Counters{PidsCurrent: uint64(i)}})
	}
	var out bytes.Buffer
	show(terminal(&out, false), pidsScenes(demoSettings{})[0], all)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	// A head, a bar each second from 0 to 7, an empty line, the legend.
	if len(lines) != 1+8+2 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%d lines:\n%s", len(lines), out.String())
	}
}

func TestOnATerminalWhatStaysHasNoGap(t *testing.T) {
	var out bytes.Buffer
	show(terminal(&out, true), memoryScenes(demoSettings{})[0], memorySeen())
	pictures := strings.Split(out.String(), "\r")
	last := pictures[len(pictures)-1]
	if strings.Count(last, "\n") != 1+3+2 || !strings.Contains(last, "killed") || !strings.HasSuffix(last, showCursor) {
		t.Errorf("the last picture is %q", last)
	}
}

func TestColourAndRedrawAreTwoThings(t *testing.T) {
	for name, c := range map[string]struct {
		term, noColor  string
		redraw, colour bool
	}{
		"terminal":      {"xterm", "", true, true},
		"NO_COLOR":      {"xterm", "1", true, false},
		"dumb terminal": {"dumb", "", false, false},
		"no TERM":       {"", "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERM", c.term)
			t.Setenv("NO_COLOR", c.noColor)
			s := newScreen(openTerminal(t))
			if s.redraw != c.redraw || s.colour != c.colour {
				t.Errorf("redraw %v, colour %v", s.redraw, s.colour)
			}
		})
	}
	t.Setenv("TERM", "xterm")
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if s := newScreen(file); s.redraw || s.colour {
		t.Error("a file is taken for a terminal")
	}
}

// openTerminal makes a pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestTheFirstErrorOfAWriteIsKept(t *testing.T) {
	s := &screen{w: closedPipe{}, size: func() (int, int) { return 80, 24 }}
	s.show(text(normal, "a"))
	s.show(text(normal, "b"))
	if !errors.Is(s.err, errClosed) {
		t.Errorf("%v", s.err)
	}
}

var errClosed = errors.New("closed")

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errClosed }

func TestWhatAContainerSaysMostIsKept(t *testing.T) {
	for text, want := range map[string]string{
		"":                  "",
		"\n\n\n":            "",
		"a\nb\na\n":         "a",
		"Killed\nended 137": "ended 137",
	} {
		s := &sayings{}
		if _, err := s.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := s.mostSaid(); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	s := &sayings{}
	long := strings.Repeat("x", enoughSaid)
	for range 3 {
		if n, err := s.Write([]byte(long)); n != len(long) || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(s.mostSaid()) != enoughSaid {
		t.Errorf("%d bytes are kept", len(s.mostSaid()))
	}
}
