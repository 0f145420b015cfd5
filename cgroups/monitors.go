package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// MonitorGroup moves the calling process to the group of minidock's own
// processes ("/minidock/monitors" for the instance "minidock"), and makes that
// group where it is missing. From then on neither the end of a login session nor
// that of a service takes the process down (systemd ends those by cgroup), and no
// container's limit holds it. On a host that is not [Unified] it does nothing.
//
// The move costs up to some 20 ms, unless [AnnounceMove] came that much before.
func MonitorGroup(l *steps.Ledger, h Host, instance string) error {
	path := "/" + instance + "/" + monitors
	if err := checkShared(path); err != nil || h.Mode != Unified {
		return err
	}
	for _, p := range []string{parentOf(path), path} {
		if err := makeShared(l, h, p); err != nil {
			return err
		}
	}
	file := filepath.Join(h.Mountpoint, path, "cgroup.procs")
	s := writeStep(KindJoin, file, "0",
		"Move this monitor (0 means the writer) out of the session that started it, so that it outlives a log-out.")
	s.Shell = []string{echo(file, "$$")}
	return l.Do(s, func() error { return joinMonitors(h, path, file) })
}

// joinMonitors makes the group again where a clean-up took it, empty as it was,
// between its making and the move.
func joinMonitors(h Host, path, file string) error {
	for range 100 {
		err := overwrite(file, "0")
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
		if err := mkdirBelow(h, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("write %s: the group is taken away again and again", file)
}
