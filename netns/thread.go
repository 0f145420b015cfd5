package netns

import (
	"errors"
	"fmt"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// OnThrownThread runs do on a thread of its own that ends with it, so that
// whatever namespace the thread has gone to goes with it. Go starts new threads
// from a clean one, so nobody else gets there by accident. It is never the main
// thread: that can't end before the process does, and /proc/self speaks of it.
func OnThrownThread(do func() error) error {
	done := make(chan error, 1)
	throw(func() {
		defer close(done)
		done <- do()
	})
	err, returned := <-done
	if !returned {
		return errEnded
	}
	return err
}

// throw begins f on a thread that ends with it, and does not wait.
func throw(f func()) {
	go func() {
		goruntime.LockOSThread() // Never unlocked: so Go ends the thread.
		if unix.Gettid() == unix.Getpid() {
			// As long as this goroutine has the main thread, the other gets another.
			started := make(chan struct{})
			throw(func() { close(started); f() })
			<-started
			goruntime.UnlockOSThread()
			return
		}
		f()
	}()
}

// errEnded says that what was to be done did not come back (runtime.Goexit).
var errEnded = errors.New("thread ended")

// Inside runs do in the network namespace that file names (a bind mount, or
// /proc/PID/ns/net): sockets that it opens and sysctls that it writes are that
// namespace's. It runs on a thread of its own, and returns do's error.
func Inside(file string, do func() error) error {
	return OnThrownThread(func() error {
		if err := enter(file); err != nil {
			return err
		}
		return do()
	})
}

// enter moves the calling thread, which has to be a thrown one.
func enter(file string) error {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open namespace %s: %w", file, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", file, err)
	}
	return nil
}

// enterCall tells what [Inside] asks of the kernel.
func enterCall(file string) string { return fmt.Sprintf("setns(%q, CLONE_NEWNET)", file) }
