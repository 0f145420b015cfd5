package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup2"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// The kinds of this package's steps.
const (
	// KindGroup is a container's own group; its undo kills who is in it.
	KindGroup steps.Kind = "cgroup"
	// KindShared is a group that several containers share; its undo removes it
	// when it is empty.
	KindShared steps.Kind = "shared-cgroup"
	// KindControllers passes controllers on to the groups below; nothing is undone.
	KindControllers steps.Kind = "controllers"
	// KindLimit writes a limit; it goes with the group.
	KindLimit steps.Kind = "limit"
	// KindJoin moves a process into a group.
	KindJoin steps.Kind = "join"
	// KindDevices writes the device rules of a group; they go with it.
	KindDevices steps.Kind = "devices"
)

const manual = "cgroups(7), kernel Documentation/admin-guide/cgroup-v2.rst"

// Group is one control group of minidock's.
type Group struct {
	host Host
	path string
	// unheld is why controllers could not be passed on to the group.
	unheld error
}

// Open returns the group at path ("/minidock/<id>", as in /proc/PID/cgroup),
// whether it exists or not; it does nothing to the kernel.
func Open(h Host, path string) *Group { return &Group{host: h, path: path} }

// Path returns the group's path below the mount point.
func (g *Group) Path() string { return g.path }

// Dir returns the group's directory on a [Unified] host.
func (g *Group) Dir() string { return g.host.Dir(g.path) }

// Create makes the group at path ("/minidock/<id>") and, where they are missing,
// its parent and the controllers on the way, each as a step of l. The host has to
// be [Unified]. A group that exists already gives an error that is [fs.ErrExist].
//
// Controllers that can't be passed on are no error here (a container without
// limits does without them): the step is recorded as failed, and [Group.Apply]
// says so when a limit needs one.
func Create(l *steps.Ledger, h Host, path string) (*Group, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if h.Mode != Unified {
		return nil, fmt.Errorf("create cgroup %s: this host's control groups are %s, not unified", path, h.Mode)
	}
	g := Open(h, path)
	if err := g.make(l); err != nil {
		return nil, err
	}
	if err := g.passOnControllers(l); err != nil {
		return nil, err
	}
	return g, nil
}

// passOnControllers enables what is missing at the root, and everything at the
// parent each time: while another container's start enables it, the kernel shows
// a controller as enabled before it has made its files, and only a write waits.
func (g *Group) passOnControllers(l *steps.Ledger) error {
	offered, missing, err := controllersOf(g.host.Dir("/"))
	if err == nil && len(missing) > 0 {
		err = g.passOn(l, "/", missing)
	}
	if err == nil {
		offered, _, err = controllersOf(g.host.Dir(parentOf(g.path)))
	}
	if err == nil && len(offered) > 0 {
		err = g.passOn(l, parentOf(g.path), offered)
	}
	return err
}

// make makes the parent and then the group. Until the group is there, another
// container's clean-up may take the empty parent away again.
func (g *Group) make(l *steps.Ledger) error {
	if err := makeShared(l, g.host, parentOf(g.path)); err != nil {
		return err
	}
	s := makeStep(KindGroup, g.host, g.path,
		"Make a group of its own for the container: what it may use is written here, what it used is read here.")
	s.Undo = echo(filepath.Join(g.Dir(), "cgroup.kill"), "1") + "; " + s.Undo
	return l.Do(s, func() error { return mkdirBelow(g.host, g.path) })
}

func makeStep(kind steps.Kind, h Host, path, why string) steps.Step {
	dir := h.Dir(path)
	return steps.Step{
		Kind: kind, Target: path, Why: why,
		Call:  []string{mkdirCall(dir)},
		Shell: []string{"mkdir " + steps.ShellQuote(dir)},
		Undo:  "rmdir " + steps.ShellQuote(dir),
		See:   "ls " + steps.ShellQuote(dir), Man: manual,
	}
}

func mkdirCall(dir string) string { return "mkdirat(AT_FDCWD, " + steps.Quote(dir) + ", 0755)" }

// makeShared makes a group that stays as long as anybody is below it.
func makeShared(l *steps.Ledger, h Host, path string) error {
	if exists(h.Dir(path)) {
		return nil
	}
	why := "Make one parent for all containers, outside of anybody's login session or service."
	if parentOf(path) != "/" {
		why = "Make a place for minidock's own processes, so that no container's limit holds them and no log-out ends them."
	}
	return l.Do(makeStep(KindShared, h, path, why), func() error {
		err := mkdirBelow(h, path)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	})
}

// mkdirBelow makes a directory, and its parent again when another container's
// clean-up took that away in between. Each turn lost to it means that another
// container ended, so the bound is generous.
func mkdirBelow(h Host, path string) error {
	dir := h.Dir(path)
	for range 100 {
		err := os.Mkdir(dir, 0o755)
		if !errors.Is(err, fs.ErrNotExist) || parentOf(path) == "/" {
			return err
		}
		if err := os.Mkdir(filepath.Dir(dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("make %s: its parent is taken away again and again", dir)
}

// passOn enables controllers for the groups below path. The kernel's no is kept for
// the limit that needs them.
func (g *Group) passOn(l *steps.Ledger, path string, controllers []string) error {
	file, value := filepath.Join(g.host.Dir(path), "cgroup.subtree_control"), "+"+strings.Join(controllers, " +")
	s := writeStep(KindControllers, file, value,
		"Pass controllers on to the groups below: without this line the files of these limits are missing there.")
	var refused error
	err := l.Do(s, func() error {
		refused = toggle(g.host, path, controllers)
		return refused
	})
	if refused != nil {
		g.unheld = errors.Join(g.unheld, refused)
		return nil
	}
	return err
}

// controllersOf lists those of the wanted controllers that the group in dir has
// itself, and of these the ones that it does not pass on.
func controllersOf(dir string) (offered, missing []string, err error) {
	have, err := fields(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, nil, fmt.Errorf("read controllers: %w", err)
	}
	enabled, err := fields(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return nil, nil, fmt.Errorf("read controllers: %w", err)
	}
	for _, c := range have {
		if !slices.Contains(strings.Fields(wanted), c) {
			continue
		}
		offered = append(offered, c)
		if !slices.Contains(enabled, c) {
			missing = append(missing, c)
		}
	}
	return offered, missing, nil
}

// toggle writes one file: containerd/cgroups writes the subtree_control of every
// group from its mount point down to the parent of its group, so it is told that
// the tree begins here, and given any name below.
func toggle(h Host, dir string, controllers []string) error {
	m, err := cgroup2.Load("/below", cgroup2.WithMountpoint(path.Join(h.Mountpoint, dir)))
	if err != nil {
		return err
	}
	err = m.ToggleControllers(controllers, cgroup2.Enable)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("processes sit in %s itself, where version 2 allows none once controllers are passed on: %w", dir, err)
	}
	return err
}

func writeStep(kind steps.Kind, file, value, why string) steps.Step {
	return steps.Step{
		Kind: kind, Target: file, Why: why,
		Call:  []string{writeCall(file, value)},
		Shell: []string{echo(file, value)},
		See:   "cat " + steps.ShellQuote(file), Man: manual,
	}
}

func writeCall(file, value string) string {
	return "write(" + steps.Quote(file) + ", " + steps.Quote(value) + ")"
}

func echo(file, value string) string {
	return `echo "` + value + `" > ` + steps.ShellQuote(file)
}

// Warnings says, in Docker's words, which limits the kernel can't keep although
// the controller is there; [Group.Apply] leaves those out. The group has to exist.
func (g *Group) Warnings(limits Limits) []string {
	swap, set := limits.swap()
	if !set || swap == unlimited || limits.Memory == 0 || g.has("memory.swap.max") || !g.has("memory.max") {
		return nil
	}
	return []string{"Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap."}
}

// Apply writes the limits, one step for each file. A kernel without swap
// accounting has no memory.swap.max: that one is left out, see [Group.Warnings].
//
// containerd/cgroups writes all but one: "max" to memory.swap.max, where it knows
// numbers only.
func (g *Group) Apply(l *steps.Ledger, limits Limits) error {
	if err := limits.checkHost(g.host); err != nil {
		return err
	}
	if g.host.Mode != Unified {
		return nil
	}
	for _, f := range limits.Files() {
		if f.Name == "memory.swap.max" && !g.has(f.Name) && g.has("memory.max") {
			continue
		}
		if err := g.write(l, f); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) has(file string) bool { return exists(filepath.Join(g.Dir(), file)) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (g *Group) write(l *steps.Ledger, f File) error {
	if !g.has(f.Name) {
		return g.missing(f)
	}
	file := filepath.Join(g.Dir(), f.Name)
	err := l.Do(writeStep(KindLimit, file, f.Value, f.Why), func() error { return g.put(f) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
		return &steps.Fault{
			Msg:  fmt.Sprintf("the kernel refuses %q for %s", f.Value, f.Name),
			Hint: "See " + f.Name + " in the kernel's Documentation/admin-guide/cgroup-v2.rst for what it takes.",
			Code: 125, Err: err,
		}
	}
	return err
}

// missing says why a group has no file of that name.
func (g *Group) missing(f File) error {
	if !exists(g.Dir()) {
		return fmt.Errorf("write %s: cgroup %s is gone: %w", f.Name, g.path, fs.ErrNotExist)
	}
	controller, _, _ := strings.Cut(f.Name, ".")
	return &steps.Fault{
		Msg:  fmt.Sprintf("cgroup %s has no %s: the %s controller is not passed on to it", g.path, f.Name, controller),
		Hint: "Compare cgroup.controllers and cgroup.subtree_control in " + g.host.Mountpoint + " and below.",
		Code: 125, Err: g.unheld,
	}
}

func (g *Group) put(f File) error {
	r, ok := f.resources()
	if !ok {
		return overwrite(filepath.Join(g.Dir(), f.Name), f.Value)
	}
	m, err := cgroup2.Load(g.path, cgroup2.WithMountpoint(g.host.Mountpoint))
	if err != nil {
		return err
	}
	return m.Update(r)
}

func overwrite(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
