package netns

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile is the file whose flock(2) is held by whoever changes what containers
// share on the host: bridges, tables, forwarding. It is one for all installations,
// since forwarding is the machine's: who turns it off must know that nobody comes
// to need it at the same moment. It is there while it is held.
const lockFile = "/run/minidock-networks.lock"

// locked runs do while this process is the only one that changes what is shared.
// The kernel drops the lock of a process that dies.
func locked(do func() error) error {
	file, err := lock()
	if err != nil {
		return err
	}
	defer file.Close()
	defer os.Remove(file.Name())
	return do()
}

func lock() (*os.File, error) {
	for {
		file, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock of networks: %w", err)
		}
		if err := flock(int(file.Fd())); err != nil {
			return nil, errors.Join(fmt.Errorf("lock networks: %w", err), file.Close())
		}
		if isNamed(file) {
			return file, nil
		}
		_ = file.Close() // Its holder removed it while we waited.
	}
}

// flock waits for the lock; a signal to the process does not end the waiting.
func flock(fd int) error {
	for {
		if err := unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isNamed says whether the file is still the one that its name leads to.
func isNamed(file *os.File) bool {
	held, err1 := file.Stat()
	now, err2 := os.Stat(file.Name())
	return err1 == nil && err2 == nil && os.SameFile(held, now)
}
