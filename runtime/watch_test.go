package runtime

import (
	"testing"
	"time"

	"github.com/minidock/minidock/cgroups"
)

const testPeriod = 100 * time.Millisecond

// simulate lets a pace look at a group whose periods end at a certain phase; a
// look takes a while, and so does waking up for it.
func simulate(p *pace, start time.Time, phase, cost, late, lasts time.Duration, idle bool) []Sample {
	var counted []Sample
	for now := start; now.Sub(start) < lasts; {
		s := Sample{At: now}
		if !idle {
			s.Counters = cgroups.Counters{NrPeriods: uint64((now.Sub(start) + testPeriod - phase) / testPeriod)}
		}
		if p.counts(s) {
			counted = append(counted, s)
		}
		now = now.Add(cost)
		now = p.next(now).Add(late)
	}
	return counted
}

func TestSamplesOfAContainerWithAQuotaAreTakenBeforePeriodsEnd(t *testing.T) {
	start := time.Now()
	for name, c := range map[string]struct{ phase, cost, late time.Duration }{
		"quick machine":        {phase: 50 * time.Millisecond, cost: 100 * time.Microsecond},
		"end soon after start": {phase: time.Millisecond, cost: time.Millisecond, late: time.Millisecond},
		"end just passed":      {phase: 99 * time.Millisecond, cost: 2 * time.Millisecond},
		"slow machine":         {phase: 30 * time.Millisecond, cost: 6 * time.Millisecond, late: 8 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPace(Watch{Every: testPeriod, Period: testPeriod}, start)
			samples := simulate(p, start, c.phase, c.cost, c.late, 2*time.Second, false)
			if len(samples) < 17 {
				t.Fatalf("%d samples in 2 s", len(samples))
			}
			for i, s := range samples {
				before := testPeriod - (s.At.Sub(start)-c.phase+10*testPeriod)%testPeriod
				if before < 5*time.Millisecond || before > 55*time.Millisecond {
					t.Errorf("sample %d is %s before the end of a period", i, before)
				}
				if i > 0 && s.NrPeriods != samples[i-1].NrPeriods+1 {
					t.Errorf("sample %d is %d periods after the one before", i, s.NrPeriods-samples[i-1].NrPeriods)
				}
			}
		})
	}
}

func TestAContainerWithoutPeriodsIsLookedAtAllTheSame(t *testing.T) {
	start := time.Now()
	p := newPace(Watch{Every: testPeriod, Period: testPeriod}, start)
	samples := simulate(p, start, 0, time.Millisecond, 0, 4*time.Second, true)
	if len(samples) < 15 {
		t.Errorf("%d samples in 4 s", len(samples))
	}
}

func TestWithoutAPeriodTheFirstLookCounts(t *testing.T) {
	start := time.Now()
	p := newPace(Watch{Every: 250 * time.Millisecond}, start)
	if !p.counts(Sample{At: start}) {
		t.Error("the first sample does not count")
	}
	if got := p.next(start.Add(time.Millisecond)).Sub(start); got != 250*time.Millisecond {
		t.Errorf("the second look is after %s", got)
	}
}

func TestASampleThatMissesItsPeriodIsLate(t *testing.T) {
	start := time.Now()
	p := newPace(Watch{Every: testPeriod, Period: testPeriod}, start)
	simulate(p, start, 50*time.Millisecond, time.Millisecond, 0, time.Second, false)
	for after, want := range map[time.Duration]bool{0: false, 30 * time.Millisecond: false, 40 * time.Millisecond: true, 115 * time.Millisecond: false} {
		if got := p.late(Sample{At: p.anchor.Add(after)}); got != want {
			t.Errorf("%s after its time: %v", after, got)
		}
	}
	if newPace(Watch{Every: testPeriod}, start).late(Sample{At: start.Add(99 * time.Millisecond)}) {
		t.Error("late, although there is no period to meet")
	}
}

func TestMissedLooksAreLeftOut(t *testing.T) {
	start := time.Now()
	p := newPace(Watch{Every: testPeriod}, start)
	p.counts(Sample{At: start})
	if got := p.next(start.Add(730 * time.Millisecond)).Sub(start); got != 800*time.Millisecond {
		t.Errorf("after 730 ms the next look is at %s", got)
	}
}
