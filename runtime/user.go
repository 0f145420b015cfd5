package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minidock/minidock/steps"
)

// userOf looks a user up in the container's own /etc/passwd and /etc/group, held
// inside its root file system whatever symbolic links do there.
func userOf(rootfs, name string) (specs.User, error) {
	passwd, err := openInside(rootfs, "/etc/passwd")
	if err != nil {
		return specs.User{}, err
	}
	defer passwd.Close()
	group, err := openInside(rootfs, "/etc/group")
	if err != nil {
		return specs.User{}, err
	}
	defer group.Close()
	found, err := user.GetExecUser(name, nil, passwd, group)
	if err != nil {
		return specs.User{}, &steps.Fault{
			Msg: err.Error(), Code: 125, Err: err,
			Hint: "Use a name from the image's /etc/passwd, or a number.",
		}
	}
	// The primary group is among the supplementary ones, as in Docker: without it
	// a file's "others" bits would apply to a process of that group
	// (CVE-2022-36109).
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid), AdditionalGids: []uint32{uint32(found.Gid)}}
	for _, g := range found.Sgids {
		if g != found.Gid {
			u.AdditionalGids = append(u.AdditionalGids, uint32(g))
		}
	}
	return u, nil
}

// openInside opens a file below root; a missing one reads as empty.
func openInside(root, path string) (io.ReadCloser, error) {
	f, err := pathrs.OpenInRoot(root, path)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Open(os.DevNull)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s in the container: %w", path, err)
	}
	defer f.Close()
	return pathrs.Reopen(f, os.O_RDONLY)
}
