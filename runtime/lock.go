package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// errBusy says that another process holds a container's lock.
var errBusy = errors.New("container is busy")

// lock is the container's lock: a flock(2) on its run directory, held by the
// monitor while it lives and by whoever makes, removes or cleans up. The kernel
// drops it when the holder dies, so it can't be left behind.
type lock struct {
	dir *os.File
	// made says that the directory was made for this lock; handed that it is
	// somebody else's by now, who got a copy of the descriptor.
	made, handed bool
}

// tryLock takes a container's lock, making the run directory where a reboot
// took it, or returns errBusy.
func tryLock(l Layout, id string) (*lock, error) {
	path := l.RunContainer(id)
	made, err := makeDirectory(path)
	if err != nil {
		return nil, fmt.Errorf("make lock directory: %w", err)
	}
	dir, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errBusy // Its holder removed it between the two calls.
	}
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errBusy
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if stale(dir, path) {
		dir.Close()
		return nil, errBusy
	}
	return &lock{dir: dir, made: made}, nil
}

// makeDirectory says whether it was not there yet.
func makeDirectory(path string) (made bool, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	if err = os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// tellLock tells of a lock that was taken for one verb: nothing of it is kept.
func (c *Container) tellLock(held *lock, tell func(steps.Record)) error {
	story, err := steps.Open(steps.Paths{}, tell)
	if err != nil {
		return err
	}
	return story.Do(flockStep(c.run(), held.made), func() error { return nil })
}

// lockPatience is how long a command waits for another that works on the same
// container; nothing but the monitor itself keeps a lock for longer.
const lockPatience = 10 * time.Second

// stale says whether the directory was removed and perhaps made again between
// opening and locking it.
func stale(dir *os.File, path string) bool {
	held, err1 := dir.Stat()
	now, err2 := os.Stat(path)
	return err1 != nil || err2 != nil || !os.SameFile(held, now)
}

// takeLock waits for a container's lock until the deadline.
func takeLock(l Layout, id string, deadline time.Duration) (*lock, error) {
	end := time.Now().Add(deadline)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		held, err := tryLock(l, id)
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			return held, err
		}
		time.Sleep(wait)
	}
}

// locked says whether somebody holds the container's lock.
func locked(l Layout, id string) bool {
	if _, err := os.Stat(l.RunContainer(id)); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	held, err := tryLock(l, id)
	if err != nil {
		return true
	}
	held.release()
	return false
}

// release gives the lock back, and with it a directory that is there for nothing
// else. While we hold the lock nobody can put another directory in its place.
func (k *lock) release() {
	if k == nil || k.dir == nil {
		return
	}
	if path := k.dir.Name(); !k.handed && !stale(k.dir, path) {
		_ = os.Remove(path) // One that holds something stays.
	}
	k.dir.Close()
	k.dir = nil
}
