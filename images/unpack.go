package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// The kernel's own bounds (linux/limits.h): PATH_MAX counts the final NUL.
const (
	maxPath  = 4096 - 1
	maxXattr = 64 << 10
)

// Names that aufs gave a meaning to (image-spec, layer.md, "Whiteouts").
const (
	whiteoutMeta   = archive.WhiteoutMetaPrefix
	whiteoutOpaque = archive.WhiteoutOpaqueDir
)

// xattrPrefix introduces an extended attribute in a pax header.
const xattrPrefix = "SCHILY.xattr."

// unpacked is what became of an archive.
type unpacked struct {
	diffID v1.Hash
	// size is the bytes of the files.
	size int64
}

// unpack lets an archive become the tree below dir, and writes it, uncompressed,
// to keep. Nothing of it is believed:
//   - names are taken below dir, and one that leads out of it is an error, also
//     through a symbolic link of the archive's own or as a hard link's target;
//   - device nodes are left out with a warning, and so are attributes by which
//     overlayfs would be told what to do;
//   - sizes are limited as the archive claims them and as they are, and so are the
//     number of entries and the lengths of names.
//
// A file or directory whose name begins with .wh. deletes, as in any image layer.
func unpack(ctx context.Context, r io.Reader, dir string, keep io.Writer, b *budget, warn func(string)) (unpacked, error) {
	plain, err := decompress(ctx, r)
	if err != nil {
		return unpacked{}, damaged(err)
	}
	in := newIntake(plain, keep, b)
	sieve := &sieve{in: in, warn: warn, left: map[string]bool{}}
	if err := sieve.into(ctx, dir, plain); err != nil {
		return unpacked{}, err
	}
	if !in.ended() {
		warn("the archive has no end mark: it may be cut short")
	}
	return unpacked{diffID: in.digest(), size: b.size}, nil
}

// sieve hands on the entries of an archive that may be unpacked.
type sieve struct {
	in   *intake
	warn func(string)
	// left holds the names that were left out, for hard links to them.
	left map[string]bool
}

// into unpacks the entries that pass. The tree is made by a library that does
// every step relative to dir's descriptor (openat(2)), so that the kernel itself
// refuses what leads out; it reads what the sieve writes.
//
// A read from a pipe or a terminal can't be interrupted. So an end by error or
// cancellation does not wait for the sieve: it closes the source when it can.
func (s *sieve) into(ctx context.Context, dir string, source io.Closer) error {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	defer stop()
	sieved := make(chan error, 1)
	go func() {
		err := s.copy(tar.NewReader(s.in), tar.NewWriter(in))
		in.CloseWithError(err)
		_ = source.Close()
		sieved <- err
	}()
	err := archive.Unpack(out, dir, &archive.TarOptions{WhiteoutFormat: archive.OverlayWhiteoutFormat})
	out.CloseWithError(err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return explain(err)
	}
	return <-sieved
}

// copy passes entries until the end of the archive, and then reads the rest, as
// the digest is of all of it.
func (s *sieve) copy(from *tar.Reader, to *tar.Writer) error {
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.broken(err)
		}
		if err := s.pass(h, from, to); err != nil {
			return err
		}
	}
	if s.in.length == 0 {
		return notTar("the archive is empty", io.EOF)
	}
	if err := to.Close(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, s.in)
	return err
}

// pass hands on one entry, or leaves it out.
func (s *sieve) pass(h *tar.Header, from *tar.Reader, to *tar.Writer) error {
	size := h.Size
	if h.Typeflag == tar.TypeSymlink {
		size = int64(len(h.Linkname)) // As lstat(2) counts it, and Docker.
	}
	if err := s.in.budget.entry(size); err != nil {
		return err
	}
	clean, err := s.check(h)
	if err != nil || clean == nil {
		return err
	}
	if err := to.WriteHeader(clean); err != nil {
		return fmt.Errorf("pass on %s: %w", clean.Name, err)
	}
	if _, err := io.Copy(to, from); errors.Is(err, io.ErrUnexpectedEOF) {
		return cutShort(err)
	} else if err != nil {
		return err
	}
	return nil
}

// check returns the entry with nothing but what an image may have, or nil to
// leave it out.
func (s *sieve) check(h *tar.Header) (*tar.Header, error) {
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	switch {
	case h.Typeflag == tar.TypeXGlobalHeader, name == ".":
		return nil, nil
	case !filepath.IsLocal(name):
		return nil, escape(h.Name, "its name")
	case len(name) > maxPath:
		return nil, malformed(name, fmt.Errorf("name of %d bytes", len(name)))
	case strings.HasPrefix(path.Base(name), whiteoutMeta) && path.Base(name) != whiteoutOpaque:
		return nil, nil // Book-keeping of aufs, which no image needs.
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= math.MaxUint32 || h.Gid >= math.MaxUint32 {
		return nil, malformed(name, fmt.Errorf("owner %d:%d", h.Uid, h.Gid))
	}
	clean := &tar.Header{
		Name: name, Typeflag: h.Typeflag, Linkname: h.Linkname, Size: h.Size,
		Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime, Format: tar.FormatPAX,
	}
	pass, err := s.checkType(clean)
	s.left[name] = !pass
	if err != nil || !pass {
		return nil, err
	}
	clean.PAXRecords, err = s.attributes(clean, h.PAXRecords)
	return clean, err
}

// checkType says whether an entry of this type may be unpacked.
func (s *sieve) checkType(h *tar.Header) (bool, error) {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		// Holes come out of the reader as zeros, and contiguous files are files.
		h.Typeflag = tar.TypeReg
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxPath {
			return false, malformed(h.Name, fmt.Errorf("symbolic link to a name of %d bytes", len(h.Linkname)))
		}
	case tar.TypeLink:
		return s.checkLink(h)
	case tar.TypeChar, tar.TypeBlock:
		s.warn(fmt.Sprintf("left out %s: a device node; every container gets its own /dev", h.Name))
		return false, nil
	default:
		return false, malformed(h.Name, fmt.Errorf("type %q", h.Typeflag))
	}
	return true, nil
}

// checkLink also keeps a hard link from missing an entry that was left out.
func (s *sieve) checkLink(h *tar.Header) (bool, error) {
	target := path.Clean(strings.TrimLeft(h.Linkname, "/"))
	switch {
	case target == "." || !filepath.IsLocal(target):
		return false, escape(h.Name, fmt.Sprintf("its hard link to %q", h.Linkname))
	case s.left[target]:
		s.warn(fmt.Sprintf("left out %s: a hard link to %s", h.Name, target))
		return false, nil
	}
	h.Linkname = target
	return true, nil
}

// attributes picks the extended attributes that may be set.
func (s *sieve) attributes(h *tar.Header, records map[string]string) (map[string]string, error) {
	kept := map[string]string{}
	for key, value := range records {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		switch {
		case !ok:
		case strings.HasPrefix(name, "trusted.overlay."), strings.HasPrefix(name, "user.overlay."):
			s.warn(fmt.Sprintf("left out attribute %s of %s: it would give orders to overlayfs", name, h.Name))
		case strings.HasPrefix(name, "user.") && h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir && h.Typeflag != tar.TypeLink:
			// The kernel has none of these on links and fifos (xattr(7)).
			s.warn(fmt.Sprintf("left out attribute %s of %s: only files and directories can have it", name, h.Name))
		case len(value) > maxXattr:
			return nil, malformed(h.Name, fmt.Errorf("attribute %s of %d bytes", name, len(value)))
		default:
			kept[key] = value
		}
	}
	return kept, nil
}

// broken explains why the next entry can't be read.
func (s *sieve) broken(err error) error {
	var fault *steps.Fault
	switch {
	case errors.As(err, &fault):
		return err
	case s.in.budget.entries == 0 && (errors.Is(err, tar.ErrHeader) || s.in.length < 512):
		return notTar("the input is no tar archive", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return cutShort(err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong):
		return &steps.Fault{
			Msg:  fmt.Sprintf("the archive is damaged after entry %d: %v", s.in.budget.entries, err),
			Hint: "Check the file (`tar -tf FILE`), or get it again.", Err: err,
		}
	}
	return err
}

func notTar(msg string, err error) error {
	return &steps.Fault{
		Msg:  msg,
		Hint: "Give a root filesystem as a tar archive (also .gz, .zst, .bz2, .xz) or as a directory.",
		Err:  err,
	}
}

func escape(name, how string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("archive entry %q leads out of the image by %s", name, how),
		Hint: "Nothing of this archive was kept. Don't use it unless you know why it does so.",
	}
}

// maxShown keeps a hostile name from filling the screen.
const maxShown = 100

func malformed(name string, err error) error {
	if len(name) > maxShown {
		name = name[:maxShown] + "…"
	}
	what := fmt.Sprintf("archive entry %q", name)
	if name == "" {
		what = "the archive"
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("%s can't be unpacked: %v", what, err),
		Hint: "Nothing of this archive was kept. Make it again with a current tar.",
		Err:  err,
	}
}

// explain gives what the kernel refused the meaning that it has here.
func explain(err error) error {
	var fault *steps.Fault
	var link *os.LinkError
	name := entryOf(err)
	switch {
	case errors.As(err, &fault):
		return err
	case strings.Contains(err.Error(), "path escapes from parent"):
		return escape(name, "a symbolic link")
	case isXattr(err):
		return malformed(name, fmt.Errorf("this filesystem can't hold its attributes: %w", err))
	case errors.As(err, &link) && errors.Is(err, fs.ErrNotExist):
		return malformed(name, fmt.Errorf("hard link to %q, which is not in the archive", link.Old))
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, fs.ErrExist):
		return malformed(name, rootCause(name, err))
	}
	return fmt.Errorf("unpack archive: %w", err)
}

// rootCause drops what only repeats the entry's name.
func rootCause(name string, err error) error {
	var number syscall.Errno
	if name != "" && errors.As(err, &number) {
		return number
	}
	return err
}

// entryOf finds which entry the kernel refused, or "" where the error has no name.
func entryOf(err error) string {
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &link):
		return link.New
	case errors.As(err, &at):
		return at.Path
	}
	return ""
}

// isXattr says whether setting an extended attribute failed; ext4 says "no space"
// of an attribute that does not fit into its one block.
func isXattr(err error) bool {
	var at *fs.PathError
	return errors.As(err, &at) && strings.Contains(at.Op, "xattr")
}
