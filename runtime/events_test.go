package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func newEventLog(t *testing.T, limit int64) eventLog {
	t.Helper()
	return eventLog{path: filepath.Join(t.TempDir(), "events.jsonl"), limit: limit}
}

func mustAppend(t *testing.T, g eventLog, id string) {
	t.Helper()
	if err := g.append(Event{Type: "container", Action: "start", ID: id}); err != nil {
		t.Fatal(err)
	}
}

// idsOf follows the log until it has seen n events, or fails.
func idsOf(t *testing.T, g eventLog, q EventQuery, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var ids []string
	errEnough := errors.New("enough")
	err := g.follow(ctx, q, func(e Event) error {
		if ids = append(ids, e.ID); len(ids) == n {
			return errEnough
		}
		return nil
	})
	if n > 0 && !errors.Is(err, errEnough) {
		t.Fatalf("saw %d of %d events: %q (%v)", len(ids), n, ids, err)
	}
	return ids
}

func TestAFollowerLosesNothingWhileFilesArePutAside(t *testing.T) {
	// Some 100 bytes each: 2000 events are five files, of which two are left.
	g := newEventLog(t, 40_000)
	const writers, each = 4, 500
	mustAppend(t, g, "first")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := g.append(Event{Type: "container", Action: "start", ID: fmt.Sprintf("%d-%d", w, i)}); err != nil {
					t.Error(err)
				}
				// A follower may fall one file behind, not two.
				time.Sleep(time.Millisecond)
			}
		})
	}
	ids := idsOf(t, g, EventQuery{Since: time.Unix(0, 0)}, 1+writers*each)
	wg.Wait()
	expectEach(t, ids, writers, each)
	if _, err := os.Stat(g.old()); err != nil {
		t.Error("nothing was put aside")
	}
	entries, _ := os.ReadDir(filepath.Dir(g.path))
	if len(entries) > 2 {
		t.Errorf("%d files are left", len(entries))
	}
}

// expectEach wants every writer's events once and in order.
func expectEach(t *testing.T, ids []string, writers, each int) {
	t.Helper()
	if len(ids) == 0 || ids[0] != "first" {
		t.Fatalf("the reader began with %.40q", ids)
	}
	next := make([]int, writers)
	for _, id := range ids[1:] {
		writer, number, _ := strings.Cut(id, "-")
		w, _ := strconv.Atoi(writer)
		if n, _ := strconv.Atoi(number); n != next[w] {
			t.Fatalf("writer %d: event %d comes where %d should", w, n, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d of %d events", w, n, each)
		}
	}
}

func TestFollowingBeginsNowUnlessTold(t *testing.T) {
	g := newEventLog(t, eventsLimit)
	mustAppend(t, g, "before")
	got := make(chan []string)
	began := time.Now()
	go func() { got <- idsOf(t, g, EventQuery{}, 1) }()
	// It can't be seen from outside when the follower has begun: tell it again
	// and again until it has heard one.
	for ids := []string(nil); ids == nil; {
		mustAppend(t, g, "after")
		select {
		case ids = <-got:
			if ids[0] != "after" {
				t.Errorf("saw %q", ids)
			}
		case <-time.After(10 * time.Millisecond):
		}
	}
	if ids := idsOf(t, g, EventQuery{Since: began.Add(-time.Hour)}, 1); ids[0] != "before" {
		t.Errorf("since an hour: saw %q", ids)
	}
}

func TestUntilEndsAStream(t *testing.T) {
	g := newEventLog(t, eventsLimit)
	mustAppend(t, g, "one")
	between := time.Now()
	mustAppend(t, g, "two")
	if ids := idsOf(t, g, EventQuery{Until: between}, 0); len(ids) != 1 || ids[0] != "one" {
		t.Errorf("until then: saw %q", ids)
	}
	if ids := idsOf(t, g, EventQuery{Since: between, Until: time.Now()}, 0); len(ids) != 1 || ids[0] != "two" {
		t.Errorf("since then: saw %q", ids)
	}
	soon := time.Now().Add(200 * time.Millisecond)
	if ids := idsOf(t, g, EventQuery{Until: soon}, 0); len(ids) != 2 || time.Now().Before(soon) {
		t.Errorf("until soon: saw %q, %s early", ids, time.Until(soon))
	}
}

func TestWithoutNotificationsAFollowerLooksForItself(t *testing.T) {
	began := time.Now()
	(&news{}).wait(t.Context(), time.Time{})
	if waited := time.Since(began); waited < glance/2 {
		t.Errorf("waited for %s", waited)
	}
	began = time.Now()
	(&news{}).wait(t.Context(), began.Add(time.Millisecond))
	if waited := time.Since(began); waited >= glance {
		t.Errorf("waited for %s beyond the deadline", waited)
	}
}

func TestALineWithoutItsEndHurtsNoOther(t *testing.T) {
	g := newEventLog(t, eventsLimit)
	mustAppend(t, g, "one")
	f, err := os.OpenFile(g.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"time":"2026-01-02T03:04:05Z","type":"contai`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	mustAppend(t, g, "two")
	if ids := idsOf(t, g, EventQuery{Until: time.Now()}, 0); len(ids) != 2 || ids[0] != "one" || ids[1] != "two" {
		t.Errorf("saw %q", ids)
	}
}

func TestEventsPassFiltersAsInDocker(t *testing.T) {
	e := Event{Type: "container", Action: "exec_start: ls -l", ID: "abc123", Attributes: map[string]string{
		"name": "web", "image": "busybox:latest", "tier": "front",
	}}
	for _, c := range []struct {
		filter EventFilter
		want   bool
	}{
		{nil, true},
		{EventFilter{"container": {"web"}}, true},
		{EventFilter{"container": {"abc"}}, true},
		{EventFilter{"container": {"other", "we"}}, true},
		{EventFilter{"container": {"b"}}, false},
		{EventFilter{"event": {"exec_start"}}, true},
		{EventFilter{"event": {"exec_start: ls -l"}}, true},
		{EventFilter{"event": {"exec"}}, false},
		{EventFilter{"event": {"die", "exec_start"}}, true},
		{EventFilter{"type": {"container"}}, true},
		{EventFilter{"type": {"image"}}, false},
		{EventFilter{"scope": {"swarm"}}, false},
		{EventFilter{"image": {"busybox"}}, true},
		{EventFilter{"image": {"busybox:latest"}}, true},
		{EventFilter{"image": {"busy"}}, false},
		{EventFilter{"label": {"tier"}}, true},
		{EventFilter{"label": {"tier=front"}}, true},
		{EventFilter{"label": {"tier=front", "missing"}}, false},
		{EventFilter{"label": {"tier=back"}}, false},
		{EventFilter{"container": {"web"}, "event": {"die"}}, false},
	} {
		if got := c.filter.Matches(e); got != c.want {
			t.Errorf("%v: %t", c.filter, got)
		}
	}
	if got := withoutTag("localhost:5000/app"); got != "localhost:5000/app" {
		t.Errorf("a port was taken for a tag: %s", got)
	}
}

func FuzzALineOfTheLogIsAnEventOrNone(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","type":"container","action":"die","id":"x","attributes":{"a":"b"}}`))
	f.Add([]byte(`{"time":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if e, ok := parseEvent(line); ok && (e.Action == "" || e.Time.IsZero()) {
			t.Errorf("%q is an event without action or time", line)
		}
	})
}
