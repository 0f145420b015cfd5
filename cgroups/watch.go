package cgroups

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/cgroups/v3/cgroup2"
	"golang.org/x/sys/unix"
)

// Watch tells when the kernel killed a process of the group for want of memory:
// the channel delivers memory.events' oom_kill whenever it has grown, the newest
// number in place of one that nobody took yet. A kill from before the call is
// told too: a group is made anew for each start, so the number is that start's.
// When ctx ends there is one last reading, and the channel is closed.
//
// The kernel tells of changes by inotify, at most every 10 ms (kernel/cgroup:
// CGROUP_FILE_NOTIFY_MIN_INTV), and not at all once the group is removed: end ctx
// and drain the channel before removing the group, and no kill is missed. Where
// the kernel has no notification to give (version 1, no memory controller, no
// inotify instance left), the last reading is the only one.
func (g *Group) Watch(ctx context.Context) <-chan uint64 {
	w := &oomWatch{group: g, kills: make(chan uint64, 1)}
	notifications := g.notifications()
	go func() {
		defer close(w.kills)
		w.follow(ctx, notifications)
	}()
	return w.kills
}

type oomWatch struct {
	group *Group
	kills chan uint64
	last  uint64
}

// notifications is an inotify descriptor on memory.events, or nil.
func (g *Group) notifications() *os.File {
	if g.host.Mode != Unified {
		return nil
	}
	m, err := cgroup2.Load(g.path, cgroup2.WithMountpoint(g.host.Mountpoint))
	if err != nil {
		return nil
	}
	fd, _, err := m.MemoryEventFD()
	if err != nil {
		return nil
	}
	// Not blocking, it is read by the runtime's poller and can be interrupted.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), filepath.Join(g.Dir(), "memory.events"))
}

func (w *oomWatch) follow(ctx context.Context, notifications *os.File) {
	if notifications == nil {
		<-ctx.Done()
		w.read()
		return
	}
	defer func() { _ = notifications.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = notifications.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// Only that something happened counts, not what: the numbers are absolute.
	events := make([]byte, 16*unix.SizeofInotifyEvent)
	for w.read() && ctx.Err() == nil {
		if _, err := notifications.Read(events); err != nil {
			<-ctx.Done()
		}
	}
}

// read delivers a number that has grown, and says whether the group is there.
func (w *oomWatch) read() bool {
	kills, there := w.group.oomKills()
	if kills > w.last {
		w.last = kills
		select {
		case <-w.kills: // Nobody took it: the newer number replaces it.
		default:
		}
		w.kills <- kills
	}
	return there
}

func (g *Group) oomKills() (kills uint64, there bool) {
	file := filepath.Join(g.Dir(), "memory.events")
	if g.host.Mode != Unified {
		file = filepath.Join(g.host.Mountpoint, "memory", g.path, "memory.oom_control")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	return parseKeys(string(text))["oom_kill"], true
}
