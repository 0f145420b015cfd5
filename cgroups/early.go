package cgroups

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// KindAnnounce is a move that moves nobody; there is nothing to undo.
const KindAnnounce steps.Kind = "announce"

// AnnounceMove makes the kernel get ready, in the background, to move a process
// from one group to another. After a while without any move the kernel first has
// to wait for an RCU grace period, 5 to 20 ms, since forks, whom a move excludes,
// have gone their fast path meanwhile (kernel, Documentation/admin-guide/
// cgroup-v2.rst, "favordynmods"). Who announces a move early has other things done
// in that time.
//
// It writes the calling process to the group that it is in already. Nothing
// depends on it, so its failure is not told.
func AnnounceMove(l *steps.Ledger) error {
	dir := groupOfCaller(mountpoint)
	if dir == "" {
		return nil
	}
	file := filepath.Join(dir, "cgroup.procs")
	s := writeStep(KindAnnounce, file, "0",
		"Announce that a process is about to change groups, by moving this one (0 means the writer) to where it is already: "+
			"after a quiet while the kernel waits up to 20 ms before the first move, and now it does so while there is other work.")
	s.Shell = []string{echo(file, "$$")}
	return l.Do(s, func() error {
		go func() { _ = overwrite(file, "0") }()
		return nil
	})
}

// groupOfCaller is the directory of the version 2 group that this process is in; ""
// where there is none, or where a cgroup namespace hides it.
func groupOfCaller(mountpoint string) string {
	tree := ""
	for _, dir := range []string{mountpoint, filepath.Join(mountpoint, "unified")} {
		if isType(dir, unix.CGROUP2_SUPER_MAGIC) {
			tree = dir
		}
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || tree == "" {
		return ""
	}
	for entry := range strings.Lines(string(text)) {
		// cgroups(7): version 2 has number 0 and names no controllers.
		path, found := strings.CutPrefix(strings.TrimSuffix(entry, "\n"), "0::")
		if dir := filepath.Join(tree, path); found && exists(filepath.Join(dir, "cgroup.procs")) {
			return dir
		}
	}
	return ""
}
