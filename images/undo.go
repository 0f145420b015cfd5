package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// The kinds of step of this package.
const (
	// KindMount is a mount; its target is the mount point.
	KindMount steps.Kind = "mount"
	// KindDirectory is a directory, with everything that comes to be in it.
	KindDirectory steps.Kind = "directory"
	// KindWritable is what a container's directory holds for overlayfs.
	KindWritable steps.Kind = "writable"
	// KindStaging is the directory of an import under way.
	KindStaging steps.Kind = "staging"
	// KindUnpack fills a staging directory, and goes with it.
	KindUnpack steps.Kind = "unpack"
	// KindLayer and KindBlob are parts of images. They may be shared: their undo
	// removes what no image refers to.
	KindLayer steps.Kind = "layer"
	// KindBlob is a file below images/blobs.
	KindBlob steps.Kind = "blob"
	// KindIndex makes an image exist: the step after which there is nothing to
	// undo.
	KindIndex steps.Kind = "index"
)

// Undos returns how to take back what this package's steps make. Those of
// [KindLayer] and [KindBlob] are for [Store.Cleanup], which holds the store's lock.
func Undos() steps.Undos {
	return steps.Undos{
		KindMount:     undoMount,
		KindDirectory: undoDirectory,
		KindWritable:  undoWritable,
		KindStaging:   undoDirectory,
		KindLayer:     undoLayer,
		KindBlob:      undoBlob,
	}
}

// undoMount lets go of the mount at once; the kernel takes it down when the last
// process that uses it ends (umount2(2), MNT_DETACH). A target that is no mount
// point, or not there, needs nothing.
func undoMount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return &fs.PathError{Op: "umount2", Path: target, Err: err}
}

// undoDirectory removes a directory with all that is in it. Symbolic links go
// themselves, not what they lead to. Where anything is still mounted in it
// nothing is removed: what is mounted is not ours.
func undoDirectory(target string) error {
	if err := refuseMounts(target); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	return nil
}

// refuseMounts fails when target or something in it is a mount point.
func refuseMounts(target string) error {
	if !filepath.IsAbs(target) || filepath.Clean(target) != target || target == "/" {
		return fmt.Errorf("remove directory %q: not the absolute path of a directory of ours", target)
	}
	// The kernel lists mounts by the names that no symbolic link is part of.
	parent, err := filepath.EvalSymlinks(filepath.Dir(target))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove directory: %w", err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(filepath.Join(parent, filepath.Base(target))))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("remove directory %s: %s is mounted on %s: %w", target, mounts[0].Source, mounts[0].Mountpoint, unix.EBUSY)
	}
	return nil
}

func undoWritable(dir string) error {
	if err := refuseMounts(dir); err != nil {
		return err
	}
	var errs []error
	for _, path := range writablePaths(dir) {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// leaving marks a layer that is being removed: what has this name is nobody's
// layer any more, even when its removal breaks off.
const leaving = ".leaving"

// undoLayer removes an unpacked layer that no image refers to.
func undoLayer(target string) error {
	s := Open(filepath.Dir(filepath.Dir(target)))
	used, err := s.references()
	if err != nil {
		return err
	}
	if used[filepath.Base(target)] {
		return nil
	}
	if err := undoDirectory(target + leaving); err != nil {
		return err
	}
	if err := refuseMounts(target); err != nil {
		return err
	}
	err = os.Rename(target, target+leaving)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove layer: %w", err)
	}
	return undoDirectory(target + leaving)
}

// undoBlob removes a blob that no image refers to, and what was not yet one.
func undoBlob(target string) error {
	if err := os.Remove(target + part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob: %w", err)
	}
	s := Open(filepath.Join(filepath.Dir(target), "..", "..", ".."))
	used, err := s.references()
	if err != nil {
		return err
	}
	if used[filepath.Base(target)] {
		return nil
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob: %w", err)
	}
	return nil
}

// references collects the digests, as hexadecimal digits, of everything that the
// images in the index need: layers by DiffID, and blobs.
func (s *Store) references() (map[string]bool, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, d := range index.Manifests {
		if !d.MediaType.IsImage() {
			return nil, fmt.Errorf("collect references: %s holds an entry of type %s, whose parts are unknown", s.indexPath(), d.MediaType)
		}
		blobs, layers, err := s.partsOf(d)
		if err != nil {
			return nil, err
		}
		for _, h := range append(blobs, layers...) {
			used[h.Hex] = true
		}
	}
	return used, nil
}

// partsOf lists an image's blobs, the manifest among them, and its layers' DiffIDs.
func (s *Store) partsOf(d v1.Descriptor) (blobs, layers []v1.Hash, err error) {
	var m v1.Manifest
	var c v1.ConfigFile
	if err := s.readBlob(d.Digest, &m); err != nil {
		return nil, nil, err
	}
	if err := s.readBlob(m.Config.Digest, &c); err != nil {
		return nil, nil, err
	}
	blobs = []v1.Hash{d.Digest, m.Config.Digest}
	for _, layer := range m.Layers {
		blobs = append(blobs, layer.Digest)
	}
	return blobs, c.RootFS.DiffIDs, nil
}
