package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Undos tells how what this package makes is taken back.
//
//   - [KindGroup]: whoever is in the group is killed, then the group and what was
//     made below it are removed, in every tree on version 1; its parent goes too
//     when it is empty.
//   - [KindShared]: the group is removed when it is empty, and stays otherwise.
func Undos() steps.Undos {
	return steps.Undos{KindGroup: undoGroup, KindShared: func(path string) error {
		err := undoShared(path)
		if h, probeErr := Probe(); err == nil && probeErr == nil && slices.ContainsFunc(h.dirs(path), exists) {
			err = steps.ErrStays
		}
		return err
	}}
}

// patience is how long an undo waits for killed processes to be gone. They are
// within milliseconds, unless the machine is overloaded or one of them hangs in
// the kernel (state D), which no signal ends.
const patience = 10 * time.Second

func undoGroup(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	h, err := Probe()
	if err != nil {
		return err
	}
	dirs := removeEmpty(h.dirs(path))
	if err := until(patience, func() (bool, error) { return empty(dirs) }); err != nil {
		return fmt.Errorf("kill processes of cgroup %s: %w", path, err)
	}
	if err := removeAll(dirs); err != nil {
		return fmt.Errorf("remove cgroup %s: %w", path, err)
	}
	return removeUnused(h, parentOf(path))
}

// removeEmpty removes the groups in which nobody is, and nothing was made, and
// returns the others: at the end of most containers there are none.
func removeEmpty(dirs []string) []string {
	return slices.DeleteFunc(dirs, func(dir string) bool {
		err := unix.Rmdir(dir)
		return err == nil || isGone(err)
	})
}

func undoShared(path string) error {
	if err := checkShared(path); err != nil {
		return err
	}
	h, err := Probe()
	if err != nil {
		return err
	}
	return removeUnused(h, path)
}

// RemoveUnused removes an instance's parent group ("minidock") and the monitors'
// below it, if nobody is in them. A monitor can't do so itself at its end, being in
// one of them: that is for whoever comes next.
func RemoveUnused(instance string) error { return undoShared("/" + instance) }

// removeUnused removes groups that nobody is in, and with the last container's
// the monitors'. Others may make and fill them at the same moment: the kernel
// refuses to remove what is in use, and on version 2 that is all the locking there is.
func removeUnused(h Host, path string) error {
	var errs []error
	dirs := h.dirs(path)
	if h.Unified() {
		dirs = append(h.dirs(filepath.Join(path, monitors)), dirs...)
	} else {
		release, ok := h.claimParents()
		if !ok {
			return nil // They are needed: whoever starts at this moment removes them at its end.
		}
		defer release()
	}
	for _, dir := range dirs {
		err := unix.Rmdir(dir)
		switch {
		case err == nil, errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOTEMPTY),
			errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		default:
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// until asks again and again until the condition holds, an error comes, or the
// time is over.
func until(patience time.Duration, holds func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not done after %s: %w", patience, os.ErrDeadlineExceeded)
		}
		<-pause.C
	}
}

// empty kills whoever is in the groups or below, and says whether nobody is left.
func empty(dirs []string) (bool, error) {
	nobody := true
	for _, dir := range dirs {
		pids, err := members(dir)
		if err != nil {
			return false, err
		}
		if len(pids) == 0 {
			continue
		}
		nobody = false
		if err := kill(dir, pids); err != nil {
			return false, err
		}
	}
	return nobody, nil
}

// kill ends all at once by cgroup.kill (Linux 5.14), which also takes those who
// are being born; elsewhere one by one, and the caller comes again for the rest.
func kill(dir string, pids []int) error {
	err := overwrite(filepath.Join(dir, "cgroup.kill"), "1")
	if err == nil {
		return nil
	}
	if !isGone(err) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	thaw(dir)
	return killEach(dir, pids)
}

// thaw wakes a frozen version 1 group: its tasks don't die before.
func thaw(dir string) {
	if file := filepath.Join(dir, "freezer.state"); exists(file) {
		_ = overwrite(file, "THAWED")
	}
}

// killEach holds on to each process before it looks a second time whether that
// is in the group: between the first look and the signal the process may have
// ended and its number been given to a stranger.
func killEach(dir string, pids []int) error {
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		}
	}
	still, err := members(dir)
	if err != nil {
		return err
	}
	for _, pid := range still {
		fd, ok := held[pid]
		if !ok {
			continue
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}

// members lists the processes in the group and below it.
func members(dir string) ([]int, error) {
	var pids []int
	err := walk(dir, func(dir string) error {
		listed, err := fields(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			return err
		}
		for _, text := range listed {
			// 0 is a process of another PID namespace: none that we may name.
			if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

func removeAll(dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, walk(dir, remove))
	}
	return errors.Join(errs...)
}

// remove waits for processes that are on their way out: they keep a group busy
// after they have left cgroup.procs.
func remove(dir string) error {
	return until(patience, func() (bool, error) {
		err := unix.Rmdir(dir)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return true, err
	})
}

// walk visits the groups below dir, deepest first, and dir itself at the end.
// What vanishes meanwhile is passed over.
func walk(dir string, visit func(dir string) error) error {
	entries, err := os.ReadDir(dir)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	groups := slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() })
	for _, e := range groups {
		if err := walk(filepath.Join(dir, e.Name()), visit); err != nil {
			return err
		}
	}
	if err := visit(dir); err != nil && !isGone(err) {
		return err
	}
	return nil
}

// isGone: an open file of a removed group gives ENODEV, a name of it ENOENT.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
