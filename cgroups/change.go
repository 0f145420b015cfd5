package cgroups

import (
	"cmp"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/steps"
)

// Change moves a running container's group from its old limits to others, one step
// for each file that has to change; what is not limited any more gets the kernel's
// default back. Should the kernel refuse one, those already written get their
// former values back, so that the group has either all of the new limits or all of
// the old. Less memory than is used is not refused: the kernel reclaims until it
// fits, and kills where it can't (cgroup-v2.rst, memory.max).
//
// The caller has checked the limits ([Limits.Check]). On a host that is not
// [Unified] a limit is an error, and nothing is done.
func (g *Group) Change(l *steps.Ledger, old, limits Limits) error {
	if err := limits.checkHost(g.host); err != nil || g.host.Mode != Unified {
		return err
	}
	changes, err := g.changes(old, limits)
	if err != nil {
		return err
	}
	for i, c := range changes {
		if err := g.write(l, c.File); err != nil {
			return errors.Join(err, g.takeBack(l, changes[:i]))
		}
	}
	return nil
}

// change is one file to write, and what it holds until then.
type change struct {
	File
	before string
}

// changes lists what to write: first what loosens, then what tightens, so that at
// no moment the container has less than both the old and the new limits allow;
// swap before memory, as in [Limits.Files].
func (g *Group) changes(old, limits Limits) ([]change, error) {
	var all []change
	for _, f := range g.difference(old, limits) {
		if f.Name == "memory.swap.max" && !g.has(f.Name) && g.has("memory.max") {
			continue // No swap accounting: see Warnings.
		}
		before := strings.TrimSpace(readText(filepath.Join(g.Dir(), f.Name)))
		var err error
		if f.Name == "cpuset.cpus" {
			before, err = g.cpusOr(before)
		}
		if err == nil && f.Name == "cpuset.cpus" {
			f.Value, err = g.cpusOr(f.Value)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, change{f, before})
	}
	slices.SortStableFunc(all, func(a, b change) int { return cmp.Compare(a.rank(), b.rank()) })
	return all, nil
}

// difference is what the new limits write where the old wrote something else, and
// a default for what only the old wrote.
func (g *Group) difference(old, limits Limits) []File {
	wrote := map[string]string{}
	for _, f := range old.Files() {
		wrote[f.Name] = f.Value
	}
	var list []File
	for _, f := range limits.Files() {
		if before, ok := wrote[f.Name]; !ok || before != f.Value {
			list = append(list, f)
		}
		delete(wrote, f.Name)
	}
	for _, f := range old.Files() {
		if _, ok := wrote[f.Name]; ok {
			list = append(list, File{Name: f.Name, Value: defaults[f.Name], Why: "Take the limit away: this is what the kernel gives a new group."})
		}
	}
	return list
}

// defaults is what the files of a new group hold (cgroup-v2.rst). A group with
// processes can't have an empty cpuset.cpus (kernel/cgroup/cpuset.c,
// validate_change: ENOSPC): it gets all that its parent has.
var defaults = map[string]string{
	"cpu.weight": "100", "cpu.max": unlimited + " 100000", "cpuset.cpus": "",
	"memory.swap.max": unlimited, "memory.max": unlimited, "memory.high": unlimited, "memory.low": "0",
	"pids.max": unlimited,
}

// cpusOr returns a list of processors, or for an empty one the parent's.
func (g *Group) cpusOr(list string) (string, error) {
	if list != "" {
		return list, nil
	}
	parent, err := fields(filepath.Join(g.host.Dir(parentOf(g.path)), "cpuset.cpus.effective"))
	return strings.Join(parent, ""), err
}

// rank is 0 for a limit that is raised or taken away.
func (c change) rank() int {
	if bound(c.Value) > bound(c.before) {
		return 0
	}
	return 1
}

// bound is a limit as a number; files that hold no single number count as equal.
func bound(value string) int64 {
	if value == unlimited {
		return math.MaxInt64
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// takeBack writes the former values, the last written first.
func (g *Group) takeBack(l *steps.Ledger, written []change) error {
	var errs []error
	for _, c := range slices.Backward(written) {
		errs = append(errs, g.write(l, File{
			Name: c.Name, Value: c.before, Why: "Give back the value from before: another part of the same change was refused.",
		}))
	}
	return errors.Join(errs...)
}
