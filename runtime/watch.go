package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Sample is what the kernel had counted for a running container at one moment.
type Sample struct {
	// At is the moment, with Go's reading of the monotonic clock, so that the
	// difference of two is right whatever happens to the time of day.
	At time.Time
	// Late is a sample for which this process got a processor only after the end
	// of the period before which it was to be taken: part of the next period is in it.
	Late bool
	cgroups.Counters
}

// Watch says how often to look at a running container, and who looks.
type Watch struct {
	// Every is the time from one sample to the next.
	Every time.Duration
	// Period is the period of the container's cpu.max, or 0. Samples are then
	// taken just before a period ends: a container that uses up its quota is
	// stopped at that moment, so two samples lie whole periods apart and what was
	// used between them does not depend on the exact moment of looking. Every
	// has to be a multiple of it.
	Period time.Duration
	// See gets the samples in order, one at a time.
	See func(Sample)
}

// CanRun refuses what can't work on this host, and makes nothing. What the
// host can't do at all comes first: no other image or name helps against it.
func CanRun(l Layout, o Options) error {
	host, err := cgroups.Probe()
	if err != nil {
		return err
	}
	if err := o.Limits.Check(host); err != nil {
		return err
	}
	return (&Container{layout: l}).configure(o)
}

// Observe runs a container as [Run] does, looks at its counters while it runs,
// and removes it when it has ended. Should ctx end first, the container is
// killed, removed all the same, and the error is ctx's cause.
func Observe(ctx context.Context, l Layout, o Options, s Streams, w Watch) (Exit, error) {
	o.AutoRemove = false // Else there would be no record of the end to read.
	c, monitor, err := begin(l, o, s)
	if err != nil {
		return Exit{}, err
	}
	defer func() { _ = monitor.leave(l) }()
	started, ended := make(chan struct{}), make(chan error, 1)
	s.Started = alsoClose(s.Started, started)
	go func() {
		_, err := monitor.start(c, s)
		ended <- err
	}()
	err = w.follow(ctx, c, started, ended)
	exit, exitErr := exitOf(c)
	if err == nil {
		err = exitErr
	}
	return exit, errors.Join(explainRemoved(err), Remove(l, c.Config.ID, true, nil))
}

// explainRemoved corrects what is said of a container whose monitor died: here
// it does not go on running.
func explainRemoved(err error) error {
	if !errors.Is(err, errMonitorDied) {
		return err
	}
	return &steps.Fault{Msg: "the container's monitor died, and the container was removed", Hint: "Try again.", Err: err}
}

func alsoClose(call func(), done chan<- struct{}) func() {
	return func() {
		if call != nil {
			call()
		}
		close(done)
	}
}

func exitOf(c *Container) (Exit, error) {
	now, err := load(c.layout, c.Config.ID)
	switch {
	case err != nil:
		return Exit{}, err
	case now.Exit == nil:
		return Exit{}, fmt.Errorf("read how container %s ended: it left no record", c.Config.Name)
	}
	return *now.Exit, nil
}

// follow waits for the container's start and looks until it has ended.
func (w Watch) follow(ctx context.Context, c *Container, started <-chan struct{}, ended <-chan error) error {
	select {
	case <-started:
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	look, err := c.looker()
	if err != nil {
		return err
	}
	pace := newPace(w, time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		if sample, ok := look(); ok && pace.counts(sample) {
			sample.Late = pace.late(sample)
			w.See(sample)
		}
		timer.Reset(time.Until(pace.next(time.Now())))
	}
}

// looker returns a function that reads the counters of a container that has been
// started. It says no when the program has ended meanwhile: what is counted then
// is no longer the work of the container alone.
func (c *Container) looker() (func() (Sample, bool), error) {
	now, err := load(c.layout, c.Config.ID)
	if err != nil {
		return nil, err
	}
	if now.Live == nil {
		return func() (Sample, bool) { return Sample{}, false }, nil // It has ended already.
	}
	host, err := cgroups.Probe()
	if err != nil {
		return nil, err
	}
	group := cgroups.Open(host, c.layout.CgroupPath(c.Config.ID))
	return func() (Sample, bool) {
		at := time.Now()
		counters, err := group.Counters()
		return Sample{At: at, Counters: counters}, err == nil && alive(now.Live.Pid, now.Live.PidStart)
	}, nil
}

// pace decides when to look: at once where there is no period to meet, and else
// in small steps until the count of periods has grown, which shows where the
// periods end. The kernel starts them with the group's first task and keeps
// their distance from then on (kernel/sched/fair.c, start_cfs_bandwidth).
type pace struct {
	every, period time.Duration
	// anchor is a moment to look at; the others are multiples of every from it.
	anchor time.Time
	// search is when to stop looking for the end of a period; zero when it is
	// found, or not looked for.
	search time.Time
	last   Sample
}

const (
	// searchSteps is how many looks a period takes while its end is searched for.
	searchSteps = 25
	// searchPeriods bounds the search: a container that does nothing has no periods.
	searchPeriods = 20
	// leadPart of a period is how long before its end the samples are taken: more
	// than a busy machine is late, less than a container stands still that asks
	// for all and may have half of it.
	leadPart = 3
)

func newPace(w Watch, now time.Time) *pace {
	p := &pace{every: w.Every, period: w.Period, anchor: now}
	if w.Period > 0 {
		p.search = now.Add(searchPeriods * w.Period)
	}
	return p
}

// counts says whether a sample was taken where it should be, or only for finding
// the place.
func (p *pace) counts(s Sample) bool {
	if p.search.IsZero() {
		return true
	}
	found := !p.last.At.IsZero() && s.NrPeriods > p.last.NrPeriods
	if found {
		// The end lies between the two looks; the earlier is the safe one.
		p.anchor = p.last.At.Add(-p.period / leadPart)
	}
	if found || s.At.After(p.search) {
		p.search = time.Time{}
	}
	p.last = s
	return false
}

// late says whether a sample was taken after the end of its period.
func (p *pace) late(s Sample) bool {
	return p.period > 0 && s.At.Sub(p.anchor)%p.period > p.period/leadPart
}

// next is the first moment after now at which to look. What was missed is left
// out, not caught up with.
func (p *pace) next(now time.Time) time.Time {
	if !p.search.IsZero() {
		return now.Add(p.period / searchSteps)
	}
	return p.anchor.Add(p.every * (1 + now.Sub(p.anchor)/p.every))
}
