package runtime

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// hostDevices lists the host's device nodes for --privileged, without those that
// every container has of its own (terminals, shared memory, message queues).
func hostDevices(dir string) []specs.LinuxDevice {
	var found []specs.LinuxDevice
	own := map[string]bool{"/dev/pts": true, "/dev/shm": true, "/dev/mqueue": true, "/dev/fd": true, "/dev/console": true, "/dev/ptmx": true}
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil
		case own[path] && entry.IsDir():
			return filepath.SkipDir
		case own[path] || entry.Type()&os.ModeDevice == 0:
			return nil
		}
		if device, ok := deviceOf(path); ok {
			found = append(found, device)
		}
		return nil
	})
	return found
}

func deviceOf(path string) (specs.LinuxDevice, bool) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return specs.LinuxDevice{}, false
	}
	kind := "b"
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		kind = "c"
	}
	mode := os.FileMode(st.Mode & 0o777)
	return specs.LinuxDevice{
		Path: strings.TrimSuffix(path, "/"), Type: kind,
		Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}, true
}
