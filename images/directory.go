package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// ImportDir makes an image of a directory, as [Store.Import] does of an archive
// of it. It stays on the directory's filesystem: what is mounted below becomes an
// empty directory, so that /proc and other containers stay out.
func (s *Store) ImportDir(ctx context.Context, dir, ref string, o ImportOptions) (Image, error) {
	if err := s.refuseOwn(dir); err != nil {
		return Image{}, err
	}
	out, in := io.Pipe()
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	go func() { in.CloseWithError(tarDirectory(in, dir, o.Warn)) }()
	image, err := s.Import(ctx, out, ref, o)
	out.CloseWithError(io.ErrClosedPipe)
	return image, err
}

// refuseOwn keeps an import from reading what it writes.
func (s *Store) refuseOwn(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return s.translate(fmt.Errorf("read directory: %w", err))
	}
	root, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return nil // There is no store yet to be inside of anything.
	}
	if rel, err := filepath.Rel(real, root); err != nil || !filepath.IsLocal(rel) {
		return nil
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("%s holds minidock's own images (%s)", dir, s.root),
		Hint: "Import a directory that does not, or keep the images elsewhere with --root.",
	}
}

// tarDirectory writes the tree below dir, in the order of its names, so that the
// same tree makes the same archive.
func tarDirectory(w io.Writer, dir string, warn func(string)) error {
	top, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	p := &packer{tar: tar.NewWriter(w), dir: dir, device: statOf(top).Dev, seen: map[uint64]string{}, warn: warn}
	// The final slash lets dir itself be a symbolic link.
	if err := filepath.WalkDir(dir+"/", p.visit); err != nil {
		return err
	}
	return p.tar.Close()
}

// packer writes one directory into an archive.
type packer struct {
	tar    *tar.Writer
	dir    string
	device uint64
	// seen finds the first name of a file that has several.
	seen map[uint64]string
	warn func(string)
}

func (p *packer) visit(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	name, err := filepath.Rel(p.dir, path)
	if err != nil || name == "." {
		return err
	}
	info, err := d.Info()
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	if info.Mode()&fs.ModeSocket != 0 {
		p.warn(fmt.Sprintf("left out %s: a socket", name))
		return nil
	}
	if err := p.add(path, name, info); err != nil {
		return fmt.Errorf("pack %s: %w", path, err)
	}
	if info.IsDir() && statOf(info).Dev != p.device {
		p.warn(fmt.Sprintf("left %s empty: another filesystem is mounted there", name))
		return fs.SkipDir
	}
	return nil
}

func (p *packer) add(path, name string, info fs.FileInfo) error {
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		var err error
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(nameless{info}, link)
	if err != nil {
		return err
	}
	h.Name, h.Format = name, tar.FormatPAX
	// Reading a tree changes its access times: they would make each archive another.
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
	}
	if first := p.firstName(name, info); first != "" {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
	} else if h.PAXRecords, err = attributesOf(path); err != nil {
		return err
	}
	if err := p.tar.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	return p.content(path)
}

// firstName returns the name under which a file with several is in the archive
// already, and remembers this one if there is none.
func (p *packer) firstName(name string, info fs.FileInfo) string {
	st := statOf(info)
	if info.IsDir() || st.Nlink < 2 {
		return ""
	}
	first := p.seen[st.Ino]
	if first == "" {
		p.seen[st.Ino] = name
	}
	return first
}

func (p *packer) content(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(p.tar, f)
	if errors.Is(err, tar.ErrWriteTooLong) {
		return fmt.Errorf("the file grew while it was read: %w", err)
	}
	return err
}

// attributesOf reads what a file has beside its content, mode and owner.
func attributesOf(path string) (map[string]string, error) {
	// XATTR_LIST_MAX (xattr(7)): no list is longer.
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		// SELinux labels belong to the machine, not to the files.
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, maxXattr)
		size, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("read attribute %s: %w", name, err)
		}
		records[xattrPrefix+name] = string(value[:size])
	}
	return records, nil
}
