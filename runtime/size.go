package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/minidock/minidock/images"
)

// Sizes are the bytes of the container's own layer, and of all that it sees: that
// layer and its image. As in Docker each file counts with its length, once for
// all of its hard links, and directories count nothing. An image that is gone
// counts nothing either.
func (c *Container) Sizes() (own, whole int64, err error) {
	own, err = treeSize(filepath.Join(c.dir(), "upper"))
	if err != nil {
		return 0, 0, err
	}
	image, err := images.Open(c.layout.Root).Resolve(c.Config.ImageID)
	if err != nil && !errors.Is(err, images.ErrNoImage) {
		return 0, 0, err
	}
	return own, own + image.Size, nil
}

// treeSize passes over what a running container removes meanwhile.
func treeSize(dir string) (sum int64, err error) {
	type file struct{ device, inode uint64 }
	seen := map[file]bool{}
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return notThere(err)
		}
		info, err := entry.Info()
		if err != nil {
			return notThere(err)
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
			same := file{uint64(stat.Dev), stat.Ino} //nolint:unconvert // its type differs between architectures
			if seen[same] {
				return nil
			}
			seen[same] = true
		}
		sum += info.Size()
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure layer: %w", err)
	}
	return sum, nil
}

func notThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
