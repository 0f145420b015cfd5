package runtime

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// coverFile is a file of the host that lies over one of the container's.
type coverFile struct{ source, target string }

func (v *view) covers(covered bool) []coverFile {
	if !covered {
		return nil
	}
	var list []coverFile
	files := netns.Files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		list = append(list, coverFile{filepath.Join(v.container.dir(), name), files[name]})
	}
	return list
}

func (v *view) enterStep(covers []coverFile) steps.Step {
	merged := v.merged()
	step := steps.Step{
		Kind: kindView, Target: merged,
		Why: "Give one thread a mount namespace of its own whose root is the container's, with nothing of the host in it: " +
			"no symbolic link of the container leads out, however it changes them meanwhile. The namespace ends with the thread.",
		Call: []string{
			"unshare(CLONE_NEWNS)",
			`mount("", "/", NULL, MS_REC|MS_SLAVE, NULL)`,
			fmt.Sprintf("chdir(%q)", merged),
		},
		Shell: []string{"unshare --mount --propagation slave chroot " + steps.ShellQuote(merged)},
		See:   "ls " + steps.ShellQuote(merged),
		Man:   "unshare(2), pivot_root(2), open_tree(2), mount_namespaces(7)",
	}
	for _, c := range covers {
		step.Call = append(step.Call, fmt.Sprintf("open_tree(AT_FDCWD, %q, OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)", c.source))
	}
	step.Call = append(step.Call, `pivot_root(".", ".")`, `umount2(".", MNT_DETACH)`, `chdir("/")`,
		`mount("", "/", NULL, MS_NOSUID|MS_NODEV|MS_NOEXEC|MS_REMOUNT|MS_BIND, NULL)`)
	for _, c := range covers {
		step.Call = append(step.Call, fmt.Sprintf("move_mount(FD, \"\", AT_FDCWD, %q, MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_SYMLINKS)", c.target))
	}
	return step
}

// confine takes the calling thread into a mount namespace of its own and makes
// the directory its root. No device there can be opened, and nothing be run.
// errBusy says that nothing is mounted on the directory.
func confine(merged string, covers []coverFile) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make mount namespace: %w", err)
	}
	// What the host mounts and unmounts still shows here, nothing of ours there.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separate mounts: %w", err)
	}
	if err := unix.Chdir(merged); err != nil {
		return fmt.Errorf("enter %s: %w", merged, err)
	}
	if !mountedOver(merged) {
		return errBusy
	}
	trees, err := pickUp(covers)
	defer closeAll(trees)
	if err != nil {
		return err
	}
	if err := pivot(); err != nil {
		return err
	}
	for _, tree := range trees {
		if err := lay(tree); err != nil {
			return err
		}
	}
	return nil
}

// pivot makes the working directory the root and lets go of the old one, as
// pivot_root(2) shows under "pivot_root(".", ".")".
func pivot() error {
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("let go of the host's root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_REMOUNT | unix.MS_BIND
	if err := unix.Mount("", "/", "", flags, ""); err != nil {
		return fmt.Errorf("close devices: %w", err)
	}
	return nil
}

// looseMount is a mount that is nowhere yet, and where it is to be.
type looseMount struct {
	fd     int
	target string
}

// pickUp takes the files that cover the container's as mounts that are nowhere
// yet (open_tree(2), Linux 5.2).
func pickUp(covers []coverFile) ([]looseMount, error) {
	var trees []looseMount
	for _, c := range covers {
		fd, err := unix.OpenTree(unix.AT_FDCWD, c.source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return trees, fmt.Errorf("pick up %s: %w", c.source, err)
		}
		trees = append(trees, looseMount{fd, c.target})
	}
	return trees, nil
}

func closeAll(trees []looseMount) {
	for _, tree := range trees {
		unix.Close(tree.fd)
	}
}

// lay mounts a file over one in the container, where there has to be one, as at
// its start. What is no file there stays as it is.
func lay(tree looseMount) error {
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_SYMLINKS
	err := unix.MoveMount(tree.fd, "", unix.AT_FDCWD, tree.target, flags)
	if errors.Is(err, unix.ENOENT) && makeFile(tree.target) == nil {
		err = unix.MoveMount(tree.fd, "", unix.AT_FDCWD, tree.target, flags)
	}
	switch {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EINVAL):
		return nil
	}
	return fmt.Errorf("cover %s: %w", tree.target, err)
}

func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func device(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return st.Dev, err
}
