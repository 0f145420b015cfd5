package runtime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// logWatch waits for news of a container's log, and of its end. It sleeps in the
// kernel until there is some: inotify(7) tells of what is written and of changed
// state files, a pidfd of the end of the container's first process, or of its
// monitor, behind which no file would change any more.
type logWatch struct {
	container *Container
	inotify   int // -1 where the user's instances are used up: then it looks again and again
	pids      []int
	// stale says that the container's state may have changed since it was read.
	stale  bool
	events []byte
}

// logPollInterval is the time between two looks where nobody tells of news.
const logPollInterval = 200 * time.Millisecond

func newLogWatch(c *Container) *logWatch {
	w := &logWatch{container: c, stale: true, events: make([]byte, 16<<10)}
	var err error
	if w.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		w.inotify = -1
		return w
	}
	const replaced = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_DELETE_SELF
	_, err = unix.InotifyAddWatch(w.inotify, c.dir(), unix.IN_MODIFY|replaced)
	if err == nil {
		_, err = unix.InotifyAddWatch(w.inotify, c.run(), replaced)
	}
	// Without a run directory it does not run.
	if err != nil && !errors.Is(err, unix.ENOENT) {
		unix.Close(w.inotify)
		w.inotify = -1
	}
	return w
}

func (w *logWatch) close() {
	if w.inotify >= 0 {
		unix.Close(w.inotify)
	}
	w.forget()
}

func (w *logWatch) forget() {
	for _, fd := range w.pids {
		unix.Close(fd)
	}
	w.pids = nil
}

// ended says whether nothing will be added to the log any more. A container that
// waits for its restart has not ended: its monitor lives.
func (w *logWatch) ended() (bool, error) {
	if !w.stale {
		return false, nil
	}
	w.stale = w.inotify < 0
	w.forget()
	now, err := load(w.container.layout, w.container.Config.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if now.Live == nil {
		return true, nil
	}
	w.watch(now.Live.Pid, now.Live.PidStart)
	if start, _, err := processStart(now.Live.Monitor); err == nil {
		w.watch(now.Live.Monitor, start)
	}
	return !now.Running() && !locked(w.container.layout, w.container.Config.ID), nil
}

// watch wants to be told of a process's end. One that has ended by now is left
// out: it would tell so without end.
func (w *logWatch) watch(pid int, start uint64) {
	if !alive(pid, start) {
		return
	}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		w.pids = append(w.pids, fd)
	}
}

// wait sleeps until there may be news, or until the deadline, if any; then it
// says no.
func (w *logWatch) wait(deadline time.Time) bool {
	var fds []unix.PollFd
	for _, fd := range append([]int{w.inotify}, w.pids...) {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) // poll(2) passes a negative one over.
	}
	for {
		left := time.Duration(-1)
		if w.inotify < 0 || len(w.pids) == 0 {
			left = logPollInterval
		}
		if !deadline.IsZero() {
			until := max(0, time.Until(deadline))
			if left < 0 || until < left {
				left = until
			}
		}
		n, err := unix.Poll(fds, milliseconds(left))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case n > 0:
			w.take(fds)
			return true
		case !deadline.IsZero() && !time.Now().Before(deadline):
			return false
		default:
			w.stale = true
			return true
		}
	}
}

// milliseconds rounds up, so that nothing is waited for by asking all the time.
func milliseconds(d time.Duration) int {
	const longest = 24 * time.Hour // poll(2) takes an int.
	if d < 0 {
		return -1
	}
	return int((min(d, longest) + time.Millisecond - 1) / time.Millisecond)
}

// take finds out whether there is more news than that of a growing log.
func (w *logWatch) take(fds []unix.PollFd) {
	for _, fd := range fds[1:] {
		w.stale = w.stale || fd.Revents != 0
	}
	if w.inotify < 0 {
		return
	}
	log := filepath.Base(w.container.LogPath())
	for {
		n, err := unix.Read(w.inotify, w.events)
		if err != nil || n <= 0 {
			return // EAGAIN: that was all.
		}
		for rest := w.events[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:])) // struct inotify_event: len
			name := string(bytes.TrimRight(rest[unix.SizeofInotifyEvent:size], "\x00"))
			w.stale = w.stale || !strings.HasPrefix(name, log)
			rest = rest[size:]
		}
	}
}
