package runtime

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/steps"
)

// unpackOptions are Docker's for cp: a file never takes a directory's place nor
// the other way round, and what a file system can't hold of attributes is left.
func unpackOptions() *archive.TarOptions {
	return &archive.TarOptions{NoOverwriteDirNonDir: true, BestEffortXattrs: true}
}

// unpack makes a tree of an archive below dir, which holds everything: links are followed
// as if dir were the root, and names that lead out are refused. It reads the archive to
// its end.
func unpack(from io.Reader, dir string, o *archive.TarOptions) error {
	if err := archive.Unpack(from, dir, o); err != nil {
		return explainUnpack(err, dir)
	}
	_, err := io.Copy(io.Discard, from)
	return err
}

func explainUnpack(err error, dir string) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		var at *fs.PathError
		msg := err.Error()
		if errors.As(err, &at) {
			msg = filepath.Join(dir, at.Path) + ": " + unix.EBUSY.Error()
		}
		return &steps.Fault{
			Msg:  msg,
			Hint: "Something is mounted there, as on a container's /etc/hosts, /etc/hostname and /etc/resolv.conf: write to it from inside.",
			Err:  err,
		}
	case errors.Is(err, unix.EROFS):
		return &steps.Fault{Msg: err.Error(), Hint: "This file system is read-only.", Err: err}
	}
	if msg, ok := overwrites(err.Error(), dir); ok {
		return &steps.Fault{Msg: msg, Hint: "A file never takes a directory's place, nor the other way round: remove what is there first.", Err: err}
	}
	return explainDiskFull(err)
}

// overwrites recognises the library's refusal, and shows the whole path, which the
// library has below dir only, and the directory that it is in.
func overwrites(msg, dir string) (text string, ok bool) {
	for _, kinds := range [][2]string{{"directory", "non-directory"}, {"non-directory", "directory"}} {
		begin := "cannot overwrite " + kinds[0] + " "
		rest, found := strings.CutPrefix(msg, begin)
		if !found {
			continue
		}
		quoted, err := strconv.QuotedPrefix(rest)
		path, err2 := strconv.Unquote(quoted)
		if errors.Join(err, err2) == nil {
			whole := filepath.Join(dir, path)
			return fmt.Sprintf("%s%q with %s %q", begin, whole, kinds[1], filepath.Dir(whole)), true
		}
	}
	return msg, false
}

// sift reads an archive of the user's, compressed or not, and passes on what may
// be unpacked in a container: no device nodes, and no attributes by which
// overlayfs would be told what to do.
//
// below is where the entries are to be unpacked; see [placed].
func sift(ctx context.Context, from io.Reader, to io.Writer, below string, warn func(string)) error {
	plain, err := images.Decompress(ctx, from)
	if errors.Is(err, io.EOF) {
		return tar.NewWriter(to).Close() // No input is no entries, as in Docker.
	}
	if err != nil {
		return err
	}
	defer plain.Close()
	s := sifter{from: tar.NewReader(plain), to: tar.NewWriter(to), below: below, warn: warn, left: map[string]bool{}}
	for {
		h, err := s.from.Next()
		if errors.Is(err, io.EOF) {
			return s.to.Close()
		}
		if err == nil {
			err = s.pass(h)
		}
		if err != nil {
			return explainArchive(err)
		}
	}
}

// placed puts an entry of an archive into a directory of the root, in which it is then
// unpacked as a whole: what a link of the container's leads to is found there, as a
// program in it would find it. The directory itself is not wanted: it is there. "" is for
// an archive that is not unpacked in a container.
func placed(h *tar.Header, below string) (wanted bool, err error) {
	if below == "" {
		return true, nil
	}
	name := path.Clean(strings.TrimLeft(h.Name, "/"))
	if name == "." {
		return false, nil
	}
	if !filepath.IsLocal(name) {
		return false, leadsOut("invalid entry name", h.Name)
	}
	h.Name = path.Join(below, name)
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if h.Typeflag != tar.TypeLink {
		return true, nil
	}
	target := path.Clean(strings.TrimLeft(h.Linkname, "/"))
	if target == "." || !filepath.IsLocal(target) {
		return false, leadsOut("invalid hardlink target", h.Linkname)
	}
	h.Linkname = path.Join(below, target)
	return true, nil
}

func leadsOut(what, name string) error {
	return &steps.Fault{Msg: fmt.Sprintf("%s %q", what, name), Hint: "It leads out of the directory that the archive is unpacked in: see `tar -tv`."}
}

type sifter struct {
	from *tar.Reader
	to   *tar.Writer
	// below is where the entries go.
	below string
	warn  func(string)
	// left holds the names that were left out, for hard links to them.
	left map[string]bool
}

func (s *sifter) pass(h *tar.Header) error {
	name := path.Clean("/" + h.Name)
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeChar, tar.TypeBlock:
		return s.leave(h, name, "a device node; every container gets its own /dev")
	case tar.TypeLink:
		if s.left[path.Clean("/"+h.Linkname)] {
			return s.leave(h, name, "a hard link to what was left out")
		}
	case tar.TypeCont, tar.TypeGNUSparse:
		h.Typeflag = tar.TypeReg // Holes come out of the reader as zeros.
	}
	clean := &tar.Header{
		Name: h.Name, Typeflag: h.Typeflag, Linkname: h.Linkname, Size: h.Size, Format: tar.FormatPAX,
		Mode: h.Mode & 0o7777, Uid: h.Uid, Gid: h.Gid, ModTime: h.ModTime, PAXRecords: s.attributes(h),
	}
	if wanted, err := placed(clean, s.below); err != nil || !wanted {
		return err
	}
	if err := s.to.WriteHeader(clean); err != nil {
		return err
	}
	_, err := io.Copy(s.to, s.from)
	return err
}

func (s *sifter) leave(h *tar.Header, name, why string) error {
	s.left[name] = true
	s.warn(fmt.Sprintf("left out %s: %s", h.Name, why))
	return nil
}

func (s *sifter) attributes(h *tar.Header) map[string]string {
	kept := map[string]string{}
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		switch {
		case !ok:
		case strings.HasPrefix(name, "trusted.overlay."), strings.HasPrefix(name, "user.overlay."):
			s.warn(fmt.Sprintf("left out attribute %s of %s: it would give orders to overlayfs", name, h.Name))
		default:
			kept[key] = value
		}
	}
	return kept
}

// explainArchive tells what is wrong with an archive that can't be read.
func explainArchive(err error) error {
	var msg string
	switch {
	case errors.Is(err, tar.ErrHeader):
		msg = "the input is no tar archive, or a damaged one"
	case errors.Is(err, io.ErrUnexpectedEOF):
		msg = "the input is no tar archive, or one that is cut short"
	default:
		return err
	}
	return &steps.Fault{Msg: msg, Hint: "Check it with `tar -t`.", Err: err}
}
