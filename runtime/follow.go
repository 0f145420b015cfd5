package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// EventQuery says which events are wanted.
type EventQuery struct {
	// Since and Until bound the time, both included. Without Since and Until, only
	// what happens from now on is wanted; without Until, the events never end.
	Since, Until time.Time
	Filter       EventFilter
}

// Events hands over the events that are asked for, oldest first, those to come as
// they happen. It returns when Until has passed, when see returns an error, or,
// without error, when ctx ends.
func Events(ctx context.Context, l Layout, q EventQuery, see func(Event) error) error {
	if err := needRoot(); err != nil {
		return err
	}
	if err := os.MkdirAll(l.Root, 0o700); err != nil {
		return fmt.Errorf("watch events: %w", err)
	}
	return l.events().follow(ctx, q, see)
}

func (g eventLog) follow(ctx context.Context, q EventQuery, see func(Event) error) error {
	// Before the first reading, so that nothing falls between it and the wait.
	news := watchDirectory(filepath.Dir(g.path))
	defer news.close()
	r := &eventReader{log: g}
	defer r.close()
	begin := r.oldest
	if q.Since.IsZero() && q.Until.IsZero() {
		begin = r.newest
	}
	if err := begin(); err != nil {
		return err
	}
	for {
		last := ctx.Err() != nil || !q.Until.IsZero() && !time.Now().Before(q.Until)
		err := r.read(func(e Event) error {
			if !q.wants(e) {
				return nil
			}
			return see(e)
		})
		if err != nil || last {
			return err
		}
		news.wait(ctx, q.Until)
	}
}

func (q EventQuery) wants(e Event) bool {
	early := e.Time.Before(q.Since)
	late := !q.Until.IsZero() && e.Time.After(q.Until)
	return !early && !late && q.Filter.Matches(e)
}

// EventFilter maps a filter's name to the values that it lets pass: an event has
// to pass every name, and one value of it; of label every value.
type EventFilter map[string][]string

// EventFilters are the names that an [EventFilter] can have: Docker's, for what
// minidock has.
var EventFilters = []string{"container", "event", "image", "label", "network", "scope", "type"}

// Matches says whether the event passes. As in Docker a container or network is named by
// the beginning of its name or ID, and an image with its tag or without.
func (f EventFilter) Matches(e Event) bool {
	image := e.Attributes["image"]
	if e.Type == "image" {
		image = e.Attributes["name"]
	}
	return f.one("type", e.Type) && f.one("scope", "local") && f.action(e.Action) &&
		(f.begins("container", e.ID) || f.begins("container", e.Attributes["name"])) &&
		(f.begins("network", e.ID) || f.begins("network", e.Attributes["name"])) &&
		f.one("image", e.ID, image, withoutTag(image)) && f.labels(e.Attributes)
}

// one says whether one of the values is let through.
func (f EventFilter) one(name string, values ...string) bool {
	allowed, asked := f[name]
	return !asked || slices.ContainsFunc(values, func(v string) bool { return slices.Contains(allowed, v) })
}

func (f EventFilter) begins(name, value string) bool {
	allowed, asked := f[name]
	return !asked || slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(value, a) })
}

// action takes "exec_start" for "exec_start: ls", and "health_status" for each.
func (f EventFilter) action(action string) bool {
	kind, _, _ := strings.Cut(action, ":")
	return f.one("event", action, kind)
}

func (f EventFilter) labels(attributes map[string]string) bool {
	return !slices.ContainsFunc(f["label"], func(wanted string) bool {
		key, value, exact := strings.Cut(wanted, "=")
		got, has := attributes[key]
		return !has || exact && got != value
	})
}

func withoutTag(image string) string {
	if at := strings.LastIndexByte(image, ':'); at > strings.LastIndexByte(image, '/') {
		return image[:at]
	}
	return image
}

// news tells when something in a directory has changed.
type news struct {
	// inotify is nil where the kernel has no instance left to give (inotify(7),
	// max_user_instances); then waiting is looking now and then.
	inotify *os.File
}

// glance is the time between two looks where nobody tells of news.
const glance = 500 * time.Millisecond

func watchDirectory(dir string) *news {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return &news{}
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM); err != nil {
		_ = unix.Close(fd)
		return &news{}
	}
	return &news{os.NewFile(uintptr(fd), dir)}
}

func (n *news) close() {
	if n.inotify != nil {
		_ = n.inotify.Close()
	}
}

// wait returns when there may be news, at the deadline unless that is zero, or
// when ctx ends.
func (n *news) wait(ctx context.Context, deadline time.Time) {
	if n.inotify == nil {
		n.pause(ctx, deadline)
		return
	}
	_ = n.inotify.SetReadDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = n.inotify.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// What exactly happened does not matter: the reader looks for itself.
	events := make([]byte, 64*unix.SizeofInotifyEvent)
	if _, err := n.inotify.Read(events); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		n.pause(ctx, deadline)
	}
}

func (n *news) pause(ctx context.Context, deadline time.Time) {
	left := glance
	if !deadline.IsZero() {
		left = min(left, time.Until(deadline))
	}
	timer := time.NewTimer(cmp.Or(max(left, 0), time.Nanosecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
