package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// CopyOptions say how `cp` copies.
type CopyOptions struct {
	// Follow copies what a symbolic link as the source leads to, not the link.
	Follow bool
	// Owner gives what is copied into a container to its user, where it has one;
	// otherwise, as in Docker, owners are kept as numbers.
	Owner bool
	// Tell, when not nil, hears the steps; Warn hears what is left out.
	Tell func(steps.Record)
	Warn func(string)
}

// Copied tells what a copy was.
type Copied struct {
	// Content is the bytes of the files, Transferred those of the archive.
	Content, Transferred int64
	// To is where it went to.
	To string
}

// source is what is to be copied, and its name in the archive.
type source struct {
	path, name string
	dir        bool
}

// CopyFrom copies a file or tree of a container to a path of the host, by
// Docker's rules for what the two paths are.
func CopyFrom(ctx context.Context, l Layout, ref, from, to string, o CopyOptions) (Copied, error) {
	v, err := openView(ctx, l, ref, true, o.Tell)
	if err != nil {
		return Copied{}, err
	}
	done, err := v.copyFrom(ctx, from, to, o)
	return done, errors.Join(err, v.close())
}

func (v *view) copyFrom(ctx context.Context, from, to string, o CopyOptions) (Copied, error) {
	src, err := v.source(from, o.Follow)
	if err != nil {
		return Copied{}, err
	}
	to, err = absolute(to)
	if err != nil {
		return Copied{}, err
	}
	dst, err := archive.CopyInfoDestinationPath(to)
	if err != nil {
		return Copied{}, err
	}
	dir, name, err := landing(src, dst)
	if err != nil {
		return Copied{}, err
	}
	v.container.emit("archive-path", nil)
	done := Copied{To: to}
	options := unpackOptions()
	options.NoLchown = true // What comes from a container belongs to whoever copies it.
	done.Transferred, err = transfer(ctx,
		func(w io.Writer) error { return v.pack(w, src, name, false, o.Warn, &done.Content) },
		func(r io.Reader) error { return unpack(r, dir, options) })
	return done, err
}

// StreamFrom writes a file or tree of a container as a tar archive.
func StreamFrom(ctx context.Context, l Layout, ref, from string, w io.Writer, o CopyOptions) error {
	v, err := openView(ctx, l, ref, true, o.Tell)
	if err != nil {
		return err
	}
	src, err := v.source(from, o.Follow)
	if err == nil {
		v.container.emit("archive-path", nil)
		src.name = filepath.Base(src.path)
		err = v.stream(ctx, w, src, o.Warn)
	}
	return errors.Join(err, v.close())
}

// stream writes an archive of something in the container.
func (v *view) stream(ctx context.Context, w io.Writer, src source, warn func(string)) error {
	var size int64
	_, err := transfer(ctx,
		func(to io.Writer) error { return v.pack(to, src, src.name, true, warn, &size) },
		func(from io.Reader) error { _, err := io.Copy(w, from); return err })
	return err
}

// pack writes an archive in the confined thread.
func (v *view) pack(w io.Writer, src source, name string, nodes bool, warn func(string), size *int64) error {
	return v.do(func() error {
		p := newPacker(w, nodes, warn)
		err := p.pack(src.path, src.dir, name)
		*size = p.size
		return err
	})
}

// source finds what a path of the container means.
func (v *view) source(from string, follow bool) (source, error) {
	if from == "" {
		return source{}, v.noPath()
	}
	path := archive.PreserveTrailingDotOrSeparator(filepath.Join("/", from), from)
	s := source{path: path}
	err := v.do(func() error {
		info, err := os.Lstat(path)
		if err == nil && follow && info.Mode()&fs.ModeSymlink != 0 {
			info, err = s.follow()
		}
		if err == nil {
			s.dir = info.IsDir()
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return s, v.notFound(from)
	}
	if s.name == "" {
		_, s.name = archive.SplitPathDirEntry(s.path)
	}
	return s, err
}

func (v *view) noPath() error {
	return &steps.Fault{Msg: "the path in the container can not be empty", Hint: "Write it as " + v.container.Config.Name + ":/PATH."}
}

// follow goes on to what the source leads to; it keeps the link's name.
func (s *source) follow() (fs.FileInfo, error) {
	target, err := securejoin.SecureJoin("/", s.path)
	if err != nil {
		return nil, err
	}
	s.path, s.name = archive.GetRebaseName(s.path, target)
	return os.Lstat(s.path)
}

func (v *view) notFound(path string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("Could not find the file %s in container %s", path, v.container.Config.Name),
		Hint: "Paths in a container begin at its root; what is mounted into it while it runs (/proc, /dev, …) is not there.",
		Err:  fs.ErrNotExist,
	}
}

// absolute keeps what filepath.Abs would take off: an ending that says "a
// directory" or "what is in it".
func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return archive.PreserveTrailingDotOrSeparator(abs, path), nil
}

// landing decides in which directory a copy is unpacked, and under which name.
func landing(src source, dst archive.CopyInfo) (dir, name string, err error) {
	parent, base := archive.SplitPathDirEntry(dst.Path)
	switch {
	case dst.Exists && dst.IsDir:
		return dst.Path, src.name, nil
	case dst.Exists && src.dir:
		return "", "", &steps.Fault{Msg: "cannot copy directory", Hint: dst.Path + " is a file: choose a directory, or a name that is not there yet.", Err: archive.ErrCannotCopyDir}
	case !dst.Exists && !src.dir && (strings.HasSuffix(dst.Path, "/") || filepath.Base(dst.Path) == "."):
		return "", "", &steps.Fault{Msg: "no such directory", Hint: fmt.Sprintf("Make %q first, or leave out what says that it is a directory.", dst.Path), Err: archive.ErrDirNotExists}
	}
	return parent, base, nil
}

// CopyTo copies a file or tree of the host to a path in a container.
func CopyTo(ctx context.Context, l Layout, from, ref, to string, o CopyOptions) (Copied, error) {
	v, err := openView(ctx, l, ref, true, o.Tell)
	if err != nil {
		return Copied{}, err
	}
	done, err := v.copyTo(ctx, from, to, o)
	return done, errors.Join(err, v.close())
}

func (v *view) copyTo(ctx context.Context, from, to string, o CopyOptions) (Copied, error) {
	dst, err := v.destination(to)
	if err != nil {
		return Copied{}, err
	}
	if from, err = absolute(from); err != nil {
		return Copied{}, err
	}
	info, err := archive.CopyInfoSourcePath(from, o.Follow)
	if errors.Is(err, fs.ErrNotExist) {
		return Copied{}, noSource(from, err)
	}
	if err != nil {
		return Copied{}, err
	}
	src := source{path: info.Path, name: info.RebaseName, dir: info.IsDir}
	if src.name == "" {
		_, src.name = archive.SplitPathDirEntry(src.path)
	}
	dir, name, err := landing(src, dst)
	if err != nil {
		return Copied{}, err
	}
	done := Copied{To: v.container.Config.Name + ":" + dst.Path}
	done.Transferred, err = v.extract(ctx, dir, o.Owner, func(w io.Writer, below string) error {
		p := newPacker(w, false, o.Warn)
		p.below = below
		err := p.pack(src.path, src.dir, name)
		done.Content = p.size
		return err
	})
	return done, err
}

// noSource names the first part of the path that is not there.
func noSource(path string, err error) error {
	var missing *fs.PathError
	if errors.As(err, &missing) {
		path = missing.Path
	}
	return &steps.Fault{Msg: "lstat " + filepath.Clean(path) + ": " + unix.ENOENT.Error(), Hint: "Name a file or directory that is there; a path in a container is written NAME:/PATH.", Err: err}
}

// StreamTo unpacks a tar archive, compressed or not, in a directory of a
// container.
func StreamTo(ctx context.Context, l Layout, r io.Reader, ref, to string, o CopyOptions) (Copied, error) {
	v, err := openView(ctx, l, ref, true, o.Tell)
	if err != nil {
		return Copied{}, err
	}
	done, err := v.streamTo(ctx, r, to, o)
	return done, errors.Join(err, v.close())
}

func (v *view) streamTo(ctx context.Context, r io.Reader, to string, o CopyOptions) (Copied, error) {
	dst, err := v.destination(to)
	if err != nil {
		return Copied{}, err
	}
	name := v.container.Config.Name + ":" + to
	if !dst.IsDir {
		return Copied{}, &steps.Fault{Msg: fmt.Sprintf("destination %q must be a directory", name), Hint: "An archive is unpacked in a directory: name one that is there."}
	}
	done := Copied{To: v.container.Config.Name + ":" + dst.Path}
	done.Transferred, err = v.extract(ctx, dst.Path, o.Owner, func(w io.Writer, below string) error { return sift(ctx, r, w, below, o.Warn) })
	done.Content = done.Transferred // Docker doesn't look into the archive, either.
	return done, err
}

// destination finds what a path of the container is, and follows a link to its
// end. That nothing is there is no error: it may be made.
func (v *view) destination(to string) (archive.CopyInfo, error) {
	info := archive.CopyInfo{Path: to}
	if to == "" {
		return info, v.noPath()
	}
	info.Path = archive.PreserveTrailingDotOrSeparator(filepath.Join("/", to), to)
	var mode fs.FileMode
	_ = v.do(func() error {
		found, err := os.Lstat(info.Path)
		if err == nil && found.Mode()&fs.ModeSymlink != 0 {
			var target string
			if target, err = securejoin.SecureJoin("/", info.Path); err != nil {
				return err
			}
			info.Path = target
			found, err = os.Lstat(target)
		}
		if err == nil {
			info.Exists, info.IsDir, mode = true, found.IsDir(), found.Mode()
		}
		return err
	})
	if mode&(fs.ModeDevice|fs.ModeIrregular) != 0 {
		return info, &steps.Fault{Msg: fmt.Sprintf("destination \"%s:%s\" must be a directory or a regular file: got a device", v.container.Config.Name, to), Hint: "Choose another path."}
	}
	return info, nil
}

// extract unpacks what pack writes for a directory of the container, from the root on.
func (v *view) extract(ctx context.Context, dir string, owner bool, pack func(w io.Writer, below string) error) (int64, error) {
	options, cleanup, err := archive.WithProcSelfFD(unpackOptions())
	if err != nil {
		return 0, err
	}
	defer cleanup()
	if owner && v.container.Config.User != "" {
		user, err := userOf(v.merged(), v.container.Config.User)
		if err != nil {
			return 0, err
		}
		options.ChownOpts = &archive.ChownOpts{UID: int(user.UID), GID: int(user.GID)}
	}
	var inside string
	if err := v.do(func() (err error) { inside, err = v.directory(dir); return err }); err != nil {
		return 0, err
	}
	sent, err := transfer(ctx, func(w io.Writer) error { return pack(w, inside) }, func(r io.Reader) error {
		return v.do(func() error { return unpack(r, "/", options) })
	})
	if err == nil {
		v.container.emit("extract-to-dir", nil)
	}
	return sent, err
}

// directory finds a directory of the container that may be written to.
func (v *view) directory(dir string) (string, error) {
	path, err := filepath.EvalSymlinks(filepath.Join("/", dir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", v.notFound(dir)
	}
	if err != nil {
		return "", err
	}
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return "", errors.Join(err, &steps.Fault{Msg: "extraction point is not a directory", Hint: path + " is a file."})
	}
	if v.container.Config.ReadOnly {
		return "", &steps.Fault{Msg: "container rootfs is marked read-only", Hint: "It was made with --read-only."}
	}
	return path, nil
}

// transferBuffer is how much goes from one side of a transfer to the other at a
// time, in bytes: each hand-over changes threads.
const transferBuffer = 256 << 10

// transfer lets one side write what the other reads, and counts it. When ctx is
// cancelled both get an error, but one that waits for somebody else (a terminal,
// a full pipe) is not waited for.
func transfer(ctx context.Context, pack func(io.Writer) error, unpack func(io.Reader) error) (int64, error) {
	out, in := io.Pipe()
	stop := context.AfterFunc(ctx, func() {
		_ = in.CloseWithError(context.Cause(ctx))
		_ = out.CloseWithError(context.Cause(ctx))
	})
	defer stop()
	counted := &counter{w: in}
	packed, unpacked := make(chan error, 1), make(chan error, 1)
	go func() {
		buffered := bufio.NewWriterSize(counted, transferBuffer)
		err := pack(buffered)
		if err == nil {
			err = buffered.Flush()
		}
		_ = in.CloseWithError(err)
		packed <- err
	}()
	go func() {
		err := unpack(bufio.NewReaderSize(out, transferBuffer))
		_ = out.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		unpacked <- err
	}()
	var errs [2]error
	for range 2 {
		select {
		case errs[0] = <-packed:
			packed = nil
		case errs[1] = <-unpacked:
			unpacked = nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return counted.n, firstCause(errs[0], errs[1])
}

// firstCause drops the error that one side only has because the other failed.
func firstCause(packed, unpacked error) error {
	if unpacked != nil && !errors.Is(unpacked, packed) {
		return unpacked
	}
	return packed
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
