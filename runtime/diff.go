package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// Change is how one path of a container differs from its image.
type Change struct {
	// Kind is "A" for added, "C" for changed, "D" for deleted.
	Kind string
	Path string
}

// Diff compares a container with its image: what is in its own layer, of which
// overlayfs keeps a whole copy of whatever was touched. A copy that is no
// different is no change; a directory is one if its owner or mode is, or anything
// in it is. The mount points that minidock itself made don't count, as Docker's
// don't. Paths come in order, a directory before what is in it.
func Diff(l Layout, ref string) ([]Change, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	c, err := Find(l, ref)
	if err != nil {
		return nil, err
	}
	d := differ{made: c.mountPoints()}
	upper, err := unix.Open(filepath.Join(c.dir(), "upper"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // Never started: it has no layer yet.
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(c.dir(), "upper"), Err: err}
	}
	defer unix.Close(upper)
	err = d.directory(upper, "/", imageOf(c), false)
	return d.changes, err
}

// differ walks a container's own layer. It does so by descriptors, as the
// container may change it meanwhile.
type differ struct {
	changes []Change
	// made are the mount points that the runtime makes where they are missing.
	made map[string]bool
}

// directory compares what is in an open directory of the upper layer with the
// lower directories that it stands for. In an opaque one they don't show through:
// what has not come again is deleted.
func (d *differ) directory(fd int, path string, lower lowers, opaque bool) error {
	names, err := namesIn(fd, path)
	if err != nil {
		return err
	}
	if opaque {
		names = append(names, lower.names()...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	for _, name := range names {
		err := d.entry(fd, name, inDirectory(path, name), lower, opaque)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (d *differ) entry(fd int, name, path string, lower lowers, opaque bool) error {
	old, below, found := lower.look(name)
	var st unix.Stat_t
	err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	deleted := err == nil && isWhiteout(&st) || errors.Is(err, fs.ErrNotExist) && opaque
	switch {
	case deleted && found:
		d.add("D", path)
	case deleted:
	case err != nil:
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return d.subdirectory(fd, name, path, old, below, opaque)
	case !found && d.made[path] && st.Size == 0:
	case !found:
		d.add("A", path)
	case differs(&st, old):
		d.add("C", path)
	}
	return nil
}

func (d *differ) add(kind, path string) { d.changes = append(d.changes, Change{kind, path}) }

// subdirectory is named before what is in it, if it is to be named at all. One
// that leads to a mount point is, as in Docker, never a new one.
func (d *differ) subdirectory(fd int, name, path string, old *unix.Stat_t, below lowers, opaque bool) error {
	sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fs.ErrNotExist // It has become something else.
	}
	if err != nil {
		return &fs.PathError{Op: "openat", Path: path, Err: err}
	}
	defer unix.Close(sub)
	var st unix.Stat_t
	if err := unix.Fstat(sub, &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	made := old == nil && d.leadsToMade(path)
	at := len(d.changes)
	if old == nil && !made {
		d.add("A", path)
	} else {
		d.add("C", path)
	}
	if err := d.directory(sub, path, below, opaque || isOpaque(sub)); err != nil {
		return err
	}
	alone := len(d.changes) == at+1
	if alone && (made || old != nil && !differs(&st, old)) {
		d.changes = d.changes[:at]
	}
	return nil
}

// leadsToMade says whether a directory may have been made on the way to a mount
// point, or as one.
func (d *differ) leadsToMade(path string) bool {
	for made := range d.made {
		if made == path || strings.HasPrefix(made, path+"/") {
			return true
		}
	}
	return false
}

// isWhiteout: a character device 0:0 hides the name below it (overlayfs.rst,
// "whiteouts and opaque directories").
func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// isOpaque: a directory with this attribute is not merged with those below it.
func isOpaque(fd int) bool {
	value := make([]byte, 8)
	n, err := unix.Fgetxattr(fd, "trusted.overlay.opaque", value)
	return err == nil && n == 1 && value[0] == 'y'
}

// differs compares as Docker does: type and mode, owner, device; of all but
// directories size and time of modification, too.
func differs(a, b *unix.Stat_t) bool {
	if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev {
		return true
	}
	return a.Mode&unix.S_IFMT != unix.S_IFDIR && (a.Size != b.Size || a.Mtim != b.Mtim)
}

// lowers are the directories of an image's layers that are merged into one,
// topmost first. Nobody changes them.
type lowers []string

func imageOf(c *Container) lowers {
	list := slices.Clone(c.Config.Layers)
	slices.Reverse(list)
	return list
}

// look finds what the image has under a name; of a directory also the lower
// directories that it is merged from.
func (l lowers) look(name string) (st *unix.Stat_t, below lowers, found bool) {
	for _, dir := range l {
		path := filepath.Join(dir, name)
		var here unix.Stat_t
		if unix.Lstat(path, &here) != nil {
			continue
		}
		isDir := here.Mode&unix.S_IFMT == unix.S_IFDIR
		if isWhiteout(&here) || found && !isDir {
			break
		}
		if !found {
			st, found = &here, true
		}
		if !isDir {
			break
		}
		below = append(below, path)
		if opaquePath(path) {
			break
		}
	}
	return st, below, found
}

// names lists what is in the merged directory.
func (l lowers) names() []string {
	var names []string
	for _, dir := range l {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	return names
}

func opaquePath(path string) bool {
	value := make([]byte, 8)
	n, err := unix.Lgetxattr(path, "trusted.overlay.opaque", value)
	return err == nil && n == 1 && value[0] == 'y'
}

// mountPoints are the paths at which the runtime makes an empty file or directory
// to mount something on, with the image's symbolic links followed.
func (c *Container) mountPoints() map[string]bool {
	made := map[string]bool{}
	for _, m := range mountsOf(c.layout, &c.Config) {
		if m.Destination == initPath {
			continue // Docker names it.
		}
		made[m.Destination] = true
		if path, err := securejoin.SecureJoinVFS("/", m.Destination, imageOf(c)); err == nil {
			made[path] = true
		}
	}
	return made
}

// Lstat and Readlink let securejoin look into the image.
func (l lowers) Lstat(path string) (os.FileInfo, error) {
	at, err := l.find(path)
	if err != nil {
		return nil, err
	}
	return os.Lstat(at)
}

// Readlink is part of securejoin.VFS, as is Lstat.
func (l lowers) Readlink(path string) (string, error) {
	at, err := l.find(path)
	if err != nil {
		return "", err
	}
	return os.Readlink(at)
}

// find goes down to the topmost file of that path, which holds no symbolic link
// but as its end.
func (l lowers) find(path string) (string, error) {
	missing := &fs.PathError{Op: "lstat", Path: path, Err: fs.ErrNotExist}
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, name := range names {
		_, below, found := l.look(name)
		if !found {
			return "", missing
		}
		if i == len(names)-1 {
			return l.top(name)
		}
		l = below
	}
	if len(l) == 0 {
		return "", missing
	}
	return l[0], nil
}

func (l lowers) top(name string) (string, error) {
	for _, dir := range l {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fs.ErrNotExist
}
