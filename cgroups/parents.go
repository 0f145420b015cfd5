package cgroups

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// On version 1 libcontainer makes a container's groups, in many trees one after
// another, and gives up when the parent that it made or found is gone in the next
// moment. So whoever removes parents keeps out those who start, by a flock(2) on
// the directory of all trees; it is nobody's file, and ends with its holder.

// HoldParents keeps the parents of groups on version 1 from being removed until
// release is called.
func (h Host) HoldParents() (release func(), err error) {
	if h.Unified() {
		return func() {}, nil
	}
	fd, err := unix.Open(h.Mountpoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return func() {}, nil // No cgroups at all.
	}
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(fd, unix.LOCK_SH)
		if !errors.Is(err, unix.EINTR) {
			return func() { unix.Close(fd) }, err
		}
	}
}

// claimPatience is how long a removal waits for those who start.
const claimPatience = time.Second

// claimParents waits until nobody holds the parents, and says no when somebody
// does all the time.
func (h Host) claimParents() (release func(), ok bool) {
	fd, err := unix.Open(h.Mountpoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}, true // Nothing to remove there.
	}
	err = until(claimPatience, func() (bool, error) { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil, nil })
	if err != nil {
		unix.Close(fd)
		return nil, false
	}
	return func() { unix.Close(fd) }, true
}
