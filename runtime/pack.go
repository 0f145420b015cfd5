package runtime

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// packer writes files and trees as a tar archive (pax, POSIX.1-2001): owners as
// numbers, times in seconds as Docker has them, hard links, and the extended
// attributes that belong to the files (user.*, and security.capability). It
// walks by descriptors (openat(2)) and follows no link, so that it copes with a
// tree that changes under it: what has gone is left out, a file that has become
// shorter is filled up with zeros.
type packer struct {
	out *tar.Writer
	// below is where the entries are to be unpacked; see [placed].
	below string
	// nodes says that device nodes are wanted, too.
	nodes bool
	// warn hears what is left out.
	warn func(string)
	// first is the name under which a file with several links was packed, or left
	// out.
	first map[inode]string
	left  map[string]bool
	// size is the bytes of the regular files so far.
	size int64
}

type inode struct{ device, number uint64 }

func newPacker(w io.Writer, nodes bool, warn func(string)) *packer {
	return &packer{out: tar.NewWriter(w), nodes: nodes, warn: warn, first: map[inode]string{}, left: map[string]bool{}}
}

// xattrPrefix introduces an extended attribute in a pax header, as star(1) and
// Docker write it.
const xattrPrefix = "SCHILY.xattr."

// pack writes what is at path, under another name in the archive: for a directory
// with all that is in it. A name of "" leaves out the directory itself.
func (p *packer) pack(path string, dir bool, as string) error {
	at, name := filepath.Split(path)
	if dir {
		at = path
	}
	fd, err := unix.Open(orHere(at), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: at, Err: err}
	}
	defer unix.Close(fd)
	if dir {
		err = p.directory(fd, as)
	} else {
		err = p.entry(fd, name, as)
	}
	if err != nil {
		return err
	}
	return p.out.Close()
}

func (p *packer) write(h *tar.Header) error {
	if wanted, err := placed(h, p.below); err != nil || !wanted {
		return err
	}
	return p.out.WriteHeader(h)
}

func orHere(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// inDirectory names a directory's entry: "" is the archive's own top, "/" and "."
// stay in front as Docker leaves them.
func inDirectory(dir, name string) string {
	switch dir {
	case "", "/":
		return dir + name
	}
	return dir + "/" + name
}

// directory packs an open directory and what is in it, in the order of the names.
func (p *packer) directory(fd int, as string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: as, Err: err}
	}
	if as != "" {
		h := headerOf(&st, strings.TrimSuffix(as, "/")+"/", tar.TypeDir)
		h.PAXRecords = attributesOf(fd)
		if err := p.write(h); err != nil {
			return err
		}
	}
	names, err := namesIn(fd, as)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := p.entry(fd, name, inDirectory(as, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// namesIn reads a directory through a descriptor of its own, as reading moves it.
func namesIn(fd int, as string) ([]string, error) {
	own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "openat", Path: as, Err: err}
	}
	dir := os.NewFile(uintptr(own), as)
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// entry packs one entry of an open directory.
func (p *packer) entry(dir int, name, as string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "lstat", Path: as, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR || st.Nlink < 2 {
		return p.file(dir, name, as, &st)
	}
	key := inode{st.Dev, st.Ino}
	earlier, packed := p.first[key]
	switch {
	case p.left[earlier]:
		p.leave(as, "a hard link to "+earlier)
		return nil
	case packed:
		h := headerOf(&st, as, tar.TypeLink)
		h.Linkname = earlier
		return p.write(h)
	}
	err := p.file(dir, name, as, &st)
	if err == nil {
		p.first[key] = as
	}
	return err
}

// file packs what no earlier entry is.
func (p *packer) file(dir int, name, as string, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR, unix.S_IFREG:
		return p.opened(dir, name, as)
	case unix.S_IFLNK:
		return p.symlink(dir, name, as, st)
	case unix.S_IFIFO:
		return p.write(headerOf(st, as, tar.TypeFifo))
	case unix.S_IFCHR, unix.S_IFBLK:
		return p.node(as, st)
	}
	p.leave(as, "a socket")
	return nil
}

func (p *packer) leave(as, why string) {
	p.left[as] = true
	p.warn(fmt.Sprintf("left out %s: %s", as, why))
}

// opened packs what has content. Between the look and the opening it may have
// been changed for something else, on which opening must not wait.
func (p *packer) opened(dir int, name, as string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return &fs.PathError{Op: "openat", Path: as, Err: fs.ErrNotExist}
	}
	if err != nil {
		return &fs.PathError{Op: "openat", Path: as, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: as, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return p.directory(fd, as)
	case unix.S_IFREG:
		return p.regular(fd, as, &st)
	}
	p.leave(as, "it changed meanwhile")
	return nil
}

func (p *packer) regular(fd int, as string, st *unix.Stat_t) error {
	h := headerOf(st, as, tar.TypeReg)
	h.Size, h.PAXRecords = st.Size, attributesOf(fd)
	if err := p.write(h); err != nil {
		return err
	}
	p.size += st.Size
	n, err := io.Copy(p.out, io.LimitReader(content(fd), st.Size))
	if err == nil && n < st.Size {
		p.warn(fmt.Sprintf("%s became shorter while it was read: its end is zeros", as))
		_, err = io.CopyN(p.out, zeros{}, st.Size-n)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", as, err)
	}
	return nil
}

// content reads an open file without Go's poller, which has nothing to do for
// files: asking it costs as much as reading a small one.
type content int

func (c content) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(c), b)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func (p *packer) symlink(dir int, name, as string, st *unix.Stat_t) error {
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, target)
	if errors.Is(err, unix.EINVAL) {
		err = fs.ErrNotExist // It has become something else.
	}
	if err != nil {
		return &fs.PathError{Op: "readlink", Path: as, Err: err}
	}
	h := headerOf(st, as, tar.TypeSymlink)
	h.Linkname = string(target[:n])
	return p.write(h)
}

func (p *packer) node(as string, st *unix.Stat_t) error {
	if !p.nodes {
		p.leave(as, "a device node")
		return nil
	}
	kind := byte(tar.TypeChar)
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = tar.TypeBlock
	}
	h := headerOf(st, as, kind)
	h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	return p.write(h)
}

// headerOf has no names of users and groups: those of the host mean nothing in a
// container, nor the other way round.
func headerOf(st *unix.Stat_t, name string, kind byte) *tar.Header {
	return &tar.Header{
		Name: name, Typeflag: kind, Format: tar.FormatPAX,
		Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0),
	}
}

// attributesOf reads the attributes that go with a file. A file system without
// any, and one that has gone meanwhile, give none.
func attributesOf(fd int) map[string]string {
	list := make([]byte, unix.PathMax)
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 64<<10) // XATTR_LIST_MAX (linux/limits.h).
		n, err = unix.Flistxattr(fd, list)
	}
	if err != nil {
		return nil
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") && name != "security.capability" || strings.Contains(name, "=") {
			continue // A pax header's key can't have a "=".
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX.
		if n, err := unix.Fgetxattr(fd, name, value); err == nil {
			records[xattrPrefix+name] = string(value[:n])
		}
	}
	return records
}
