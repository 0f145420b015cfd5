package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/minidock/minidock/images"
)

// Prune removes every container that does not run and that wanted agrees to. It
// returns their IDs, and the bytes of their own layers; both also beside an error,
// which tells of those that could not be removed.
func Prune(l Layout, wanted func(*Container) bool) (removed []string, reclaimed int64, err error) {
	if err := needRoot(); err != nil {
		return nil, 0, err
	}
	all, err := List(l)
	errs := []error{err}
	for _, c := range all {
		if c.Started() || !wanted(c) {
			continue
		}
		size, err := treeSize(filepath.Join(c.dir(), "upper"))
		if err == nil {
			err = Remove(l, c.Config.ID, false, nil)
		}
		switch {
		case errors.Is(err, ErrNoContainer), errors.Is(err, errStarted): // Somebody else was faster.
		case err != nil:
			errs = append(errs, err)
		default:
			removed, reclaimed = append(removed, c.Config.ID), reclaimed+size
		}
	}
	l.emitPrune("container", reclaimed)
	return removed, reclaimed, errors.Join(errs...)
}

func (l Layout) emitPrune(what string, reclaimed int64) {
	_ = l.events().append(Event{Type: what, Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(reclaimed, 10)}})
}

// PruneImages removes the images that no container was made from and that wanted
// agrees to: those without a name, or with all also the others. It returns what
// was done in Docker's words, and the bytes of the layers that are gone.
func PruneImages(l Layout, all bool, wanted func(images.Image) bool) (said []string, reclaimed int64, err error) {
	if err := needRoot(); err != nil {
		return nil, 0, err
	}
	store := images.Open(l.Root)
	list, err := store.List()
	if err != nil {
		return nil, 0, err
	}
	used, err := imageUsers(l)
	if err != nil {
		return nil, 0, err
	}
	o := images.RemoveOptions{Users: func(id string) ([]images.User, error) {
		users, err := imageUsers(l)
		return users[id], err
	}}
	layers := map[string]int64{}
	var errs []error
	for _, image := range list {
		if len(used[image.ID]) > 0 || image.Name != "" && !all || !wanted(image) {
			continue
		}
		if err := measure(image.Layers, layers); err != nil {
			return said, reclaimed, err
		}
		lines, err := store.Remove(firstOf(image.Name, image.ID), o)
		TellRemoval(l, image.ID, lines)
		said, errs = append(said, lines...), append(errs, err)
	}
	for dir, size := range layers {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			reclaimed += size
		}
	}
	l.emitPrune("image", reclaimed)
	return said, reclaimed, errors.Join(errs...)
}

// imageUsers maps the IDs of images to the containers that were made from them.
// One whose state can't be read may be made from any, so that is an error.
func imageUsers(l Layout) (map[string][]images.User, error) {
	all, err := List(l)
	if err != nil {
		return nil, err
	}
	users := map[string][]images.User{}
	for _, c := range all {
		users[c.Config.ImageID] = append(users[c.Config.ImageID], images.User{ID: c.Config.ID, Running: c.Running()})
	}
	return users, nil
}

// measure adds the sizes of the layers that it does not have yet.
func measure(layers []string, sizes map[string]int64) error {
	for _, dir := range layers {
		if _, known := sizes[dir]; known {
			continue
		}
		size, err := treeSize(dir)
		if err != nil {
			return err
		}
		sizes[dir] = size
	}
	return nil
}

// DiskUsage says what takes room on the disk. All sizes are in bytes.
type DiskUsage struct {
	Images []ImageUsage
	// LayersSize is that of all images' layers, each counted once.
	LayersSize int64
	Containers []ContainerUsage
}

// ImageUsage is one image, which may have several names.
type ImageUsage struct {
	// Image has the first of the names.
	images.Image
	// Names are all of them, empty for an image that has none.
	Names []string
	// Size is that of its layers, and Shared of those that another image has too.
	Size, Shared int64
	// Containers is how many were made from it.
	Containers int
}

// ContainerUsage is one container. Size is that of its own layer; as in Docker its
// log does not count.
type ContainerUsage struct {
	Container *Container
	Size      int64
	// Active says that it runs, or will again by itself: prune leaves it.
	Active bool
}

// Disk measures what takes room on the disk.
func Disk(l Layout) (DiskUsage, error) {
	var d DiskUsage
	list, err := List(l)
	if err != nil {
		return d, err
	}
	for _, c := range list {
		size, err := treeSize(filepath.Join(c.dir(), "upper"))
		if err != nil {
			return d, fmt.Errorf("measure container %s: %w", c.Config.Name, err)
		}
		d.Containers = append(d.Containers, ContainerUsage{Container: c, Size: size, Active: c.Started()})
	}
	return d, d.addImages(l)
}

func (d *DiskUsage) addImages(l Layout) error {
	list, err := images.Open(l.Root).List()
	if err != nil {
		return err
	}
	for _, image := range list {
		i := slices.IndexFunc(d.Images, func(u ImageUsage) bool { return u.ID == image.ID })
		if i < 0 {
			i = len(d.Images)
			d.Images = append(d.Images, ImageUsage{Image: image})
		}
		if image.Name != "" {
			d.Images[i].Names = append(d.Images[i].Names, image.Name)
		}
	}
	sizes, users := map[string]int64{}, map[string]int{}
	for _, u := range d.Images {
		if err := measure(u.Layers, sizes); err != nil {
			return err
		}
		for _, layer := range u.Layers {
			users[layer]++
		}
	}
	for _, size := range sizes {
		d.LayersSize += size
	}
	for i := range d.Images {
		d.Images[i].count(sizes, users, d.Containers)
	}
	return nil
}

func (u *ImageUsage) count(sizes map[string]int64, users map[string]int, containers []ContainerUsage) {
	for _, layer := range u.Layers {
		u.Size += sizes[layer]
		if users[layer] > 1 {
			u.Shared += sizes[layer]
		}
	}
	for _, c := range containers {
		if c.Container.Config.ImageID == u.ID {
			u.Containers++
		}
	}
}
