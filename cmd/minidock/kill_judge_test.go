package main

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minidock/minidock/internal/leftover"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

// judge looks at what is there after a play the way a user would, removes what
// lives on, and compares all that is left with what was there before.
func (k *killing) judge() {
	k.t.Helper()
	if k.networked() {
		k.eventually(k.leasesAreRight, "a container has the addresses that it is said to have")
	}
	for _, id := range k.listed() {
		k.must("rm", "-f", id)
	}
	if strings.Contains(k.args, "image") || strings.Contains(k.args, "cleanup") {
		k.removeOthers()
	}
	if k.networked() {
		for _, id := range strings.Fields(k.must("network", "ls", "-q", "--filter", "type=custom")) {
			k.must("network", "rm", id)
		}
	}
	k.cleanUp()
	for _, g := range k.gates {
		if gone, err := g.Gone(patience); !gone || err != nil {
			k.t.Errorf("all processes are gone: %v, %v", gone, err)
		}
	}
	// What was at work at the first is left to the next, and the monitors' own group goes
	// when the last of them has left it. The gate does not know a monitor that has done
	// nothing yet but find its command gone.
	var left []leftover.Object
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		k.cleanUp()
		left = leftover.Compare(k.before, leftover.Snapshot(k.ties...))
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, o := range left {
		k.t.Errorf("left behind: %s", o)
	}
	if left, err := runtime.Cleanup(k.layout, true); len(left) > 0 || err != nil {
		k.t.Errorf("left for another cleanup: %v, %v", left, err)
	}
	k.compareFiles()
	k.look(k.t)
}

// networked says whether a network of the user's may be there.
func (k *killing) networked() bool { return strings.Contains(k.args, "network") }

// leasesAreRight says whether nobody has an address without being on the network, or
// the other way round. Who was killed in between left that to the next.
func (k *killing) leasesAreRight() bool {
	k.cleanUp()
	leases, err := k.layout.Networks().Leases("victims")
	if err != nil {
		k.t.Fatal(err)
	}
	all, err := runtime.List(k.layout)
	if err != nil {
		k.t.Fatal(err)
	}
	var written []netns.Lease
	for _, c := range all {
		for _, e := range c.Config.Network.Endpoints {
			if e.Network == "victims" {
				written = append(written, netns.Lease{Address: e.Address, Container: c.Config.ID})
			}
		}
	}
	return slices.Equal(leases, written) // There is one container at most.
}

// cleanUp does what the command does; that is played in an episode of its own.
func (k *killing) cleanUp() {
	k.t.Helper()
	if _, err := runtime.Cleanup(k.layout, false); err != nil {
		k.t.Errorf("cleanup: %v", err)
	}
}

// removeOthers removes all images but the first.
func (k *killing) removeOthers() {
	k.t.Helper()
	for line := range strings.Lines(k.must("image", "ls", "--format", "{{.ID}} {{.Repository}}")) {
		if id, name, _ := strings.Cut(strings.TrimSpace(line), " "); name != "probe" {
			k.must("image", "rm", id)
		}
	}
}

// listed lists the containers, and holds what ps says of them against the kernel.
func (k *killing) listed() (ids []string) {
	k.t.Helper()
	said := k.must("ps", "-a", "--no-trunc")
	for _, line := range strings.Split(strings.TrimSpace(said), "\n")[1:] {
		id := strings.Fields(line)[0]
		if slices.Contains(ids, id) {
			k.t.Errorf("ps shows a container twice:\n%s", said)
		}
		ids = append(ids, id)
		if strings.Contains(line, " Up ") {
			k.judgeState(id)
		}
	}
	return ids
}

// judgeState says whether the container runs that is said to. It may end while
// we look: then the next look must say so.
func (k *killing) judgeState(id string) {
	k.t.Helper()
	lie := ""
	for range 2 {
		said, _, code := k.run("inspect", "--format", "{{.State.Status}} {{.State.Pid}}", id)
		status, pid, _ := strings.Cut(strings.TrimSpace(said), " ")
		if code != 0 || status != "running" || isAlive(pid) {
			return
		}
		lie = said
	}
	k.t.Errorf("inspect says %q, but there is no such process", lie)
}

// isAlive says whether a process is there that can still do something.
func isAlive(pid string) bool {
	state, err := filepath.Glob("/proc/" + pid + "/exe")
	return err == nil && len(state) > 0
}

func (k *killing) compareFiles() {
	k.t.Helper()
	now := k.listFiles()
	for _, name := range now {
		if !slices.Contains(k.files, name) {
			k.t.Errorf("left behind: file %s", name)
		}
	}
	for _, name := range k.files {
		if !slices.Contains(now, name) {
			k.t.Errorf("taken away: file %s", name)
		}
	}
	k.files = now // What is left is told once.
}

// listFiles lists what is below the root directory.
func (k *killing) listFiles() (names []string) {
	_ = filepath.WalkDir(k.layout.Root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			names = append(names, strings.TrimPrefix(path, k.layout.Root))
		}
		return nil
	})
	return names
}
