package runtime

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runc/libcontainer/configs"

	"github.com/minidock/minidock/steps"
)

// tree foretells what is where in a container's root file system while mounts
// are put over it: by the image as long as nothing covers it, in an empty file
// system what has been made there.
type tree struct {
	root string
	// covers are the mounts by destination, there the paths that libcontainer
	// makes, with their modes.
	covers map[string]cover
	there  map[string]string
}

// cover is a mount over a part of the image.
type cover struct{ path, kind string }

func newTree(root string) tree {
	return tree{root: root, covers: map[string]cover{}, there: map[string]string{}}
}

// place is what something is mounted on.
type place struct {
	// path has no symbolic links; it begins with the root's.
	path string
	// missing are the directories on the way that have to be made, outermost
	// first; with file, the last of them is a file.
	missing []string
	file    bool
	// mode is that of what is there; empty where nothing is.
	mode string
}

// placeFor finds what a mount goes on: a file for a bind mount of a file, else a
// directory.
func (t tree) placeFor(m *configs.Mount) place {
	info, err := os.Stat(m.Source)
	return t.place(m.Destination, m.IsBind() && err == nil && !info.IsDir())
}

func (t tree) place(destination string, file bool) place {
	p := place{path: t.resolve(destination), file: file}
	for path := p.path; path != t.root && path != "/"; path = filepath.Dir(path) {
		if mode, found := t.lookUp(path); found {
			if path == p.path {
				p.mode = mode
			}
			break
		}
		p.missing = append([]string{path}, p.missing...)
	}
	return p
}

// covering finds the innermost mount that holds a destination.
func (t tree) covering(destination string) (at string, c cover, found bool) {
	for at = filepath.Clean(destination); at != "/" && at != "."; at = filepath.Dir(at) {
		if c, found = t.covers[at]; found {
			return at, c, true
		}
	}
	return "", cover{}, false
}

// resolve follows the image's symbolic links, none of which leads out of it. In
// the mounts that cover it there are none.
func (t tree) resolve(destination string) string {
	if at, c, found := t.covering(destination); found {
		return filepath.Join(c.path, strings.TrimPrefix(filepath.Clean(destination), at))
	}
	path, err := securejoin.SecureJoin(t.root, destination)
	if err != nil {
		return filepath.Join(t.root, destination)
	}
	return path
}

// lookUp says whether a resolved path is there when its turn comes, and with
// which mode.
func (t tree) lookUp(path string) (mode string, found bool) {
	inside := strings.TrimPrefix(path, t.root)
	if _, c, covered := t.covering(inside); covered {
		return t.lookUpCovered(path, inside, c)
	}
	if mode, found = t.there[path]; found {
		return mode, true
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", false
	}
	return fmt.Sprintf("%04o", modeBits(info.Mode())), true
}

// lookUpCovered: a new process or system file system holds what the host's does,
// any other only what was made in it. Mount points in /sys have mode 0555 (Linux,
// fs/sysfs/mount.c).
func (t tree) lookUpCovered(path, inside string, c cover) (mode string, found bool) {
	switch {
	case path == c.path:
		return "0755", true
	case c.kind == "proc" || c.kind == "sysfs":
		return "0555", exists(inside)
	}
	mode, found = t.there[path]
	return mode, found
}

// modeBits are the permission bits as chmod(2) has them.
func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&b.mode != 0 {
			bits |= b.bit
		}
	}
	return bits
}

// mounted notes a mount, and what was made for it.
func (t tree) mounted(destination string, at place, kind string) {
	t.made(at)
	// The image may know it by two names.
	for _, name := range []string{filepath.Clean(destination), strings.TrimPrefix(at.path, t.root)} {
		t.covers[name] = cover{at.path, kind}
	}
}

// made notes what was made.
func (t tree) made(at place) {
	for i, path := range at.missing {
		t.there[path] = "0755"
		if at.file && i == len(at.missing)-1 {
			t.there[path] = "0644"
		}
	}
}

// missingUpTo lists the directories on the way to one inside the container, and
// itself, that are not there.
func (t tree) missingUpTo(dir string) []string {
	var missing []string
	for path := filepath.Clean(dir); path != "/" && path != "."; path = filepath.Dir(path) {
		if _, found := t.lookUp(t.resolve(path)); found {
			break
		}
		missing = append([]string{path}, missing...)
	}
	return missing
}

// data is what a mount is given as options: a tmpfs takes over the mode of the
// directory that it covers, unless its own options say something else.
func (p place) data(m *configs.Mount) string {
	switch {
	case m.Device != "tmpfs" || p.mode == "":
		return m.Data
	case m.Data == "":
		return "mode=" + p.mode
	}
	return "mode=" + p.mode + "," + m.Data
}

// calls make what is missing.
func (p place) calls() []string {
	var calls []string
	for i, path := range p.missing {
		dir, name := filepath.Split(path)
		call := fmt.Sprintf("mkdirat(%q, %q, 0755)", filepath.Clean(dir), name)
		if p.file && i == len(p.missing)-1 {
			call = fmt.Sprintf("openat(%q, %q, O_RDONLY|O_CREAT|O_EXCL|O_NOFOLLOW, 0644)", filepath.Clean(dir), name)
		}
		calls = append(calls, call)
	}
	return calls
}

// shell does the same by hand.
func (p place) shell() []string {
	if len(p.missing) == 0 {
		return nil
	}
	if !p.file {
		return []string{"mkdir -p " + steps.ShellQuote(p.path)}
	}
	var commands []string
	if len(p.missing) > 1 {
		commands = append(commands, "mkdir -p "+steps.ShellQuote(filepath.Dir(p.path)))
	}
	return append(commands, "touch "+steps.ShellQuote(p.path))
}
