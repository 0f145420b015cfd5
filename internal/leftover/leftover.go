// Package leftover finds what a test leaves behind in the kernel: mounts,
// links, nftables tables, cgroups, named network namespaces, processes, and
// files in minidock's run directories.
//
// A test says at its start
//
//	leftover.Check(t, root)
//
// and fails at its end when something is there that was not there before.
// Objects end at their own pace, so the check looks again until a deadline.
package leftover

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Object is one thing in the kernel or below /run.
type Object struct {
	// Kind is mount, link, table (its rules are part of the name), cgroup, netns,
	// process or file.
	Kind string
	Name string
	// ties is all that may show to whom the object belongs.
	ties string
}

func (o Object) String() string { return o.Kind + " " + o.Name }

// patience is how long an object may take to end: a monitor that was told to
// stop syncs its log and undoes its steps, which takes a busy emulated machine
// a few seconds.
const patience = 15 * time.Second

// Check fails the test when, at its end, there are objects that were not there
// when Check was called. With ties, only objects that show one of these strings
// count: a root directory or the instance name made from it, so that tests of
// other roots can run at the same time.
func Check(t testing.TB, ties ...string) {
	t.Helper()
	before := Snapshot(ties...)
	t.Cleanup(func() { Settle(t, before, ties...) })
}

// Settle waits until nothing is left that was not there before, and fails the
// test when something stays.
func Settle(t testing.TB, before []Object, ties ...string) {
	t.Helper()
	settle(t, patience, before, ties...)
}

func settle(t testing.TB, patience time.Duration, before []Object, ties ...string) {
	t.Helper()
	left := Compare(before, Snapshot(ties...))
	for deadline := time.Now().Add(patience); len(left) > 0 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
		left = Compare(before, Snapshot(ties...))
	}
	for _, o := range left {
		t.Errorf("left behind: %s", o)
	}
}

// Compare lists the objects of after that are not in before; what is there
// twice counts twice.
func Compare(before, after []Object) []Object {
	known := map[string]int{}
	for _, o := range before {
		known[o.String()]++
	}
	var left []Object
	for _, o := range after {
		if known[o.String()]--; known[o.String()] < 0 {
			left = append(left, o)
		}
	}
	return left
}

// Snapshot lists the objects that show one of the ties, or without ties all
// objects of any minidock and every mount, link and table. What can't be read
// is left out.
func Snapshot(ties ...string) []Object {
	all := slices.Concat(mounts(), links(), tables(), cgroups(), namespaces(), processes(), files())
	if len(ties) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(o Object) bool {
		return !slices.ContainsFunc(ties, func(tie string) bool { return strings.Contains(o.ties, tie) })
	})
}

func mounts() []Object {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var all []Object
	for line := range strings.Lines(string(text)) {
		left, right, ok := strings.Cut(line, " - ")
		fields, source := strings.Fields(left), strings.Fields(right)
		if ok && len(fields) > 4 && len(source) > 0 {
			all = append(all, Object{"mount", fields[4] + " (" + source[0] + ")", line})
		}
	}
	return all
}

func links() []Object {
	found, _ := net.Interfaces()
	var all []Object
	for _, l := range found {
		all = append(all, Object{"link", l.Name, l.Name})
	}
	return all
}

// tables asks nft where it is installed; without it nobody made a table by hand
// either, and a library's tables show up where nft is. A table with other rules
// is another object; counters and the like don't count (-s).
func tables() []Object {
	text, err := exec.Command("nft", "-s", "list", "ruleset").Output()
	if err != nil {
		return nil
	}
	var all []Object
	for part := range strings.SplitSeq("\n"+string(text), "\ntable ") {
		if part = strings.TrimSpace(part); part != "" {
			name, _, _ := strings.Cut(part, " {")
			all = append(all, Object{"table", part, name})
		}
	}
	return all
}

// cgroups looks into every hierarchy, version 2 and 1, for groups of ours.
func cgroups() []Object {
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/minidock*")
	unified, _ := filepath.Glob("/sys/fs/cgroup/minidock*")
	var all []Object
	for _, root := range append(unified, roots...) {
		_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, Object{"cgroup", path, path})
			}
			return nil
		})
	}
	return all
}

func namespaces() []Object {
	names, _ := filepath.Glob("/run/netns/*")
	var all []Object
	for _, name := range names {
		all = append(all, Object{"netns", name, name})
	}
	return all
}

// processes finds minidock's own and what runs in its groups.
func processes() []Object {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var all []Object
	for _, dir := range dirs {
		if o, ok := process(dir); ok {
			all = append(all, o)
		}
	}
	return all
}

func process(dir string) (Object, bool) {
	pid, _ := strconv.Atoi(filepath.Base(dir))
	comm := strings.TrimSpace(read(dir + "/comm"))
	cmdline := strings.TrimSpace(strings.ReplaceAll(read(dir+"/cmdline"), "\x00", " "))
	groups := read(dir + "/cgroup")
	ours := strings.HasPrefix(comm, "minidock") || strings.HasPrefix(cmdline, "minidock") ||
		comm == "probe" || strings.Contains(groups, "/minidock")
	if !ours || pid == os.Getpid() || awaitsInit(dir) {
		return Object{}, false
	}
	ties := strings.Join([]string{cmdline, groups, read(dir + "/environ")}, "\n")
	return Object{"process", fmt.Sprintf("%d %s [%s]", pid, cmdline, comm), ties}, true
}

// awaitsInit says whether a process is dead, and its parent was before it: taking
// note of its end is up to the machine's init, which may take its time.
func awaitsInit(dir string) bool {
	status := read(dir + "/status")
	return strings.Contains(status, "\nState:\tZ") && strings.Contains(status, "\nPPid:\t1\n")
}

func read(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// files are what belongs to one object each, as in /run/minidock/ledgers/ID.jsonl;
// the directories that hold them stay.
func files() []Object {
	names, _ := filepath.Glob("/run/minidock*/*/*")
	var all []Object
	for _, name := range names {
		all = append(all, Object{"file", name, name})
	}
	return all
}
