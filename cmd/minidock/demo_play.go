package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// scene is one container of a demo.
type scene struct {
	heading, why string
	image        string
	// args are what follows `minidock run`.
	args  []string
	watch runtime.Watch
	lasts time.Duration
	chart func(seen) chart
	judge func(seen) judgement
	// files of the container's cgroup to look at oneself.
	files string
}

// seen is all that is known of a container that was watched.
type seen struct {
	limits  cgroups.Limits
	samples []runtime.Sample
	// exit is nil while the container runs.
	exit *runtime.Exit
	// said is what the container wrote most often.
	said string
}

// judgement is what a demo makes of the figures.
type judgement struct {
	figures  any
	counters []counter
	verdict  string
	// shown says that what the demo is for has happened.
	shown bool
}

// counter is one number of the kernel's, and what it means.
type counter struct {
	name    string
	value   uint64
	meaning string
}

// playedScene is a scene that was run, as --format json gives it. Its counters are
// what `minidock inspect` calls Cgroup.
type playedScene struct {
	Command   []string         `json:"command"`
	Figures   any              `json:"figures"`
	Verdict   string           `json:"verdict"`
	Shown     bool             `json:"shown"`
	ExitCode  int              `json:"exit_code"`
	OOMKilled bool             `json:"oom_killed"`
	Said      string           `json:"said,omitempty"`
	Counters  cgroups.Counters `json:"counters"`
	Samples   []playedSample   `json:"samples"`
}

type playedSample struct {
	Seconds       float64 `json:"seconds"`
	Late          bool    `json:"late,omitempty"`
	NrPeriods     uint64  `json:"nr_periods"`
	NrThrottled   uint64  `json:"nr_throttled"`
	ThrottledUsec uint64  `json:"throttled_usec"`
	UsageUsec     uint64  `json:"usage_usec"`
	MemoryCurrent uint64  `json:"memory_current"`
	OOMKill       uint64  `json:"oom_kill"`
	PidsCurrent   uint64  `json:"pids_current"`
	PidsMax       uint64  `json:"pids_events_max"`
}

func (s seen) played(args []string, j judgement) playedScene {
	p := playedScene{
		Command: append([]string{"minidock", "run"}, args...), Figures: j.figures, Verdict: j.verdict, Shown: j.shown,
		ExitCode: s.exit.ExitCode, OOMKilled: s.exit.OOMKilled, Said: s.said, Counters: *s.exit.Cgroup, Samples: []playedSample{},
	}
	for _, one := range s.samples {
		p.Samples = append(p.Samples, playedSample{
			Seconds: s.since(one), Late: one.Late, NrPeriods: one.NrPeriods, NrThrottled: one.NrThrottled, ThrottledUsec: one.ThrottledUsec,
			UsageUsec: one.UsageUsec, MemoryCurrent: one.MemoryCurrent, OOMKill: one.MemoryEvents.OOMKill,
			PidsCurrent: one.PidsCurrent, PidsMax: one.PidsEventsMax,
		})
	}
	return p
}

// since is the time from the first sample, in seconds.
func (s seen) since(one runtime.Sample) float64 { return one.At.Sub(s.samples[0].At).Seconds() }

// player runs demos on a screen.
type player struct {
	layout runtime.Layout
	screen *screen
	cancel context.CancelCauseFunc
}

// silentScreen is for figures alone.
func silentScreen() *screen {
	return &screen{w: io.Discard, size: func() (int, int) { return defaultWidth, defaultHeight }}
}

// play runs one scene: what is about to happen and why, the picture, what came out.
func (p *player) play(ctx context.Context, s scene) (playedScene, error) {
	options, err := optionsOf(s.args)
	if err != nil {
		return playedScene{}, err
	}
	p.announce(s)
	view := &view{scene: s, screen: p.screen, seen: seen{limits: options.Limits}}
	view.begin()
	exit, err := p.observe(ctx, options, view)
	if err != nil {
		p.giveUp(err)
		return playedScene{}, err
	}
	view.end(exit)
	judged := s.judge(view.seen)
	p.conclude(s, options.Name, judged)
	return view.seen.played(s.args, judged), p.screen.err
}

// observe runs the container before the eyes of a view, and for no longer than
// somebody looks.
func (p *player) observe(ctx context.Context, options runtime.Options, v *view) (runtime.Exit, error) {
	limit := v.scene.lasts + demoPatience
	ctx, cancel := context.WithTimeoutCause(ctx, limit, endless(options.Name, limit))
	defer cancel()
	words := &sayings{}
	watch := v.scene.watch
	watch.See = func(s runtime.Sample) {
		v.see(s)
		if p.screen.err != nil {
			p.cancel(fmt.Errorf("draw the demo: %w", p.screen.err))
		}
	}
	exit, err := runtime.Observe(ctx, p.layout, options, runtime.Streams{Out: words, Err: words, Started: surviveClosedOutput}, watch)
	if err == nil && exit.Cgroup == nil {
		err = fmt.Errorf("read the counters of %s: none were kept", options.Name)
	}
	v.seen.said = words.mostSaid()
	return exit, err
}

// giveUp leaves the terminal as it was found; an error is told elsewhere.
func (p *player) giveUp(err error) {
	p.screen.keep()
	if errors.Is(err, interrupted) {
		p.screen.show(nil, text(faint, "Interrupted. The container is removed."))
	}
}

func endless(name string, after time.Duration) error {
	return &steps.Fault{Msg: fmt.Sprintf("the container %s did not end within %s", name, after), Hint: "It was removed. Is the machine very busy? Try again."}
}

// surviveClosedOutput turns the signal that a write to a closed pipe sends into
// an error of that write, so that the container is removed in `demo cpu | head`.
func surviveClosedOutput() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// proseWidth keeps text readable on a wide terminal.
const proseWidth = 80

func (p *player) prose(s style, paragraph string) {
	width, _ := p.screen.size()
	for _, l := range wrapText(paragraph, min(width, proseWidth)) {
		p.screen.show(text(s, "%s", l))
	}
}

func (p *player) announce(s scene) {
	p.prose(strong, s.heading)
	p.screen.show(nil)
	p.prose(normal, s.why)
	p.screen.show(nil)
	for _, l := range typed(s.args, s.image) {
		p.screen.show(text(busy, "  %s", l))
	}
	p.screen.show(nil)
}

func (p *player) conclude(s scene, name string, j judgement) {
	p.screen.show(nil, text(strong, "What the kernel counted"))
	for _, c := range j.counters {
		p.screen.show(c.line())
	}
	p.screen.show(nil)
	p.prose(strong, j.verdict)
	if s.files != "" {
		p.invite(s, name)
	}
}

// invite says how to see the same without a demo.
func (p *player) invite(s scene, name string) {
	group := "/sys/fs/cgroup" + p.layout.CgroupPath("")
	p.screen.show(
		nil,
		text(normal, "Look yourself: type the command above, and while it runs, in another terminal,"),
		text(busy, "  cd %s$(minidock inspect -f '{{.Id}}' %s)", group, name),
		text(busy, "  cat %s", s.files),
		text(normal, "or afterwards"),
		text(busy, "  minidock inspect -f '{{json .Cgroup}}' %s; minidock rm %s", name, name),
	)
}

func (c counter) line() line {
	return line{{normal, fmt.Sprintf("  %-24s", c.name)}, {strong, fmt.Sprintf("%9d", c.value)}, {normal, "  " + c.meaning}}
}

// view shows a container while it runs.
type view struct {
	scene  scene
	screen *screen
	seen   seen
	// shown are the samples that have been drawn; on paper that is one a second.
	shown   []runtime.Sample
	printed int
}

const (
	// drawEvery spares slow machines, and eyes.
	drawEvery = 200 * time.Millisecond
	// printEvery is for what can't be redrawn.
	printEvery = time.Second
	// aroundChart is how many of a terminal's lines are for what is around the bars.
	aroundChart          = 15
	fewestBars, mostBars = 3, 20
)

func (v *view) begin() {
	c := v.scene.chart(v.seen)
	c.legend = text(faint, "  starting the container …")
	if v.screen.redraw {
		v.screen.draw(c.lines(v.room()))
		return
	}
	width, _ := v.screen.size()
	v.screen.show(c.head(width))
}

// room is what there is for the chart.
func (v *view) room() (width, rows int) {
	width, height := v.screen.size()
	return width, min(max(height-aroundChart, fewestBars), mostBars)
}

// see takes a sample, and shows it if it is time to.
func (v *view) see(s runtime.Sample) {
	v.seen.samples = append(v.seen.samples, s)
	gap := printEvery
	if v.screen.redraw {
		gap = drawEvery
	}
	// Samples don't come to the millisecond: the one that is nearest is taken.
	if len(v.shown) > 0 && s.At.Sub(v.shown[len(v.shown)-1].At) < gap-v.scene.watch.Every/2 {
		return
	}
	v.shown = append(v.shown, s)
	v.show()
}

func (v *view) end(exit runtime.Exit) {
	v.seen.exit = &exit
	v.show()
	if !v.screen.redraw {
		v.screen.show(nil, v.scene.chart(v.seen).legend)
	}
	v.screen.keep()
}

// show draws all that was seen, or prints the bars that are new.
func (v *view) show() {
	if v.screen.redraw {
		width, rows := v.room()
		c := v.scene.chart(v.seen)
		if v.seen.exit != nil {
			rows = min(rows, len(c.bars)) // What stays has no gap.
		}
		v.screen.draw(c.lines(width, rows))
		return
	}
	thinned := v.seen
	thinned.samples = v.shown
	c := v.scene.chart(thinned)
	width, _ := v.screen.size()
	for _, b := range c.bars[v.printed:] {
		v.screen.show(c.row(b, width))
	}
	v.printed = len(c.bars)
}

// sayings collects what a container writes. Of that, what it says most often
// matters, and of equals the last.
type sayings struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// A container that says more says it again.
const enoughSaid = 64 << 10

func (s *sayings) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p[:min(len(p), enoughSaid-s.text.Len())])
	return len(p), nil
}

func (s *sayings) mostSaid() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts, most := map[string]int{}, ""
	for l := range strings.Lines(s.text.String()) {
		l = strings.TrimSpace(l)
		counts[l]++
		if l != "" && counts[l] >= counts[most] {
			most = l
		}
	}
	return most
}
