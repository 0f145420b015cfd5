package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// writablePaths are what overlayfs needs beside the image: a layer to write to, a
// scratch directory on the same filesystem, and the mount point.
func writablePaths(dir string) []string {
	return []string{filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "merged")}
}

// Mount stacks a private writable layer on an image's layers (bottom first) and
// mounts the result on dir/merged. What was written is in dir/upper and is there
// again when the same directory is mounted a second time. dir must exist; what is
// made in it has its own undo.
func Mount(l *steps.Ledger, layers []string, dir string) error {
	return mount(l, layers, dir, "",
		"Stack the image's read-only layers and a private writable one, so that the container sees one tree and the image never changes.")
}

// MountVolatile is [Mount] for changes that nobody is going to keep: the kernel
// writes none of them out for the sake of a sync, nor when the mount goes, which
// otherwise waits for the whole file system of dir (overlayfs.rst, "Volatile
// mount"; Linux 5.10). It can't be mounted a second time.
func MountVolatile(l *steps.Ledger, layers []string, dir string) error {
	return mount(l, layers, dir, ",volatile",
		"Stack the image's read-only layers and a private writable one, so that the container sees one tree and the image never changes. "+
			"It goes with the container, so nothing of it has to wait for the disk (volatile).")
}

func mount(l *steps.Ledger, layers []string, dir, more, why string) error {
	options, err := overlayOptions(layers, dir, more)
	if err != nil {
		return err
	}
	if err := makeWritable(l, dir); err != nil {
		return err
	}
	merged := filepath.Join(dir, "merged")
	return l.Do(overlayStep(merged, options, why), func() error {
		return explainMount(unix.Mount("overlay", merged, "overlay", 0, options), layers, dir)
	})
}

func overlayStep(merged, options, why string) steps.Step {
	return steps.Step{
		Kind: KindMount, Target: merged,
		Why: why,
		Call: []string{
			fmt.Sprintf("mount(\"overlay\", %s, \"overlay\", 0, %s)", steps.Quote(merged), steps.Quote(options)),
		},
		Shell: []string{"mount -t overlay -o " + steps.ShellQuote(options) + " overlay " + steps.ShellQuote(merged)},
		Undo:  "umount --lazy " + steps.ShellQuote(merged),
		See:   "findmnt " + steps.ShellQuote(merged),
		Man:   "mount(2), kernel Documentation/filesystems/overlayfs.rst",
	}
}

// makeWritable makes the directories in one step, and none where they are there
// from an earlier start.
func makeWritable(l *steps.Ledger, dir string) error {
	missing := slices.DeleteFunc(writablePaths(dir), func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	})
	if len(missing) == 0 {
		return nil
	}
	step := steps.Step{
		Kind: KindWritable, Target: dir, Lifetime: steps.Kept,
		Why: "Give the container a layer of its own to write to (upper), a scratch directory in which overlayfs prepares each change " +
			"before it moves it there in one go (work), and a place at which the whole appears (merged).",
		Undo: "rm -r " + shellWords(writablePaths(dir)),
		See:  "ls -l " + steps.ShellQuote(dir),
		Man:  "mkdir(2), kernel Documentation/filesystems/overlayfs.rst \"Upper and Lower\"",
	}
	for _, path := range missing {
		step.Call = append(step.Call,
			fmt.Sprintf("mkdirat(AT_FDCWD, %s, 0755)", steps.Quote(path)),
			fmt.Sprintf("fchmodat(AT_FDCWD, %s, 0755)", steps.Quote(path)))
	}
	step.Shell = []string{"mkdir -m 755 " + shellWords(missing)}
	return l.Do(step, func() error { return makeDirectories(missing) })
}

// makeDirectories makes all or, as a failed step has no undo, none. The second
// call gives upper, which becomes the container's /, its mode whatever the umask.
func makeDirectories(paths []string) error {
	for i, path := range paths {
		err := unix.Mkdirat(unix.AT_FDCWD, path, 0o755)
		if err == nil {
			err = unix.Fchmodat(unix.AT_FDCWD, path, 0o755, 0)
		}
		if err != nil {
			for _, made := range paths[:i+1] {
				_ = os.Remove(made)
			}
			return &fs.PathError{Op: "mkdirat", Path: path, Err: err}
		}
	}
	return nil
}

func shellWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = steps.ShellQuote(w)
	}
	return strings.Join(quoted, " ")
}

// overlayOptions writes the options in which overlayfs is told its directories;
// it wants the topmost layer first. A comma ends an option and a colon a lower
// directory, so both are escaped in names (overlayfs.rst, "Multiple lower layers").
func overlayOptions(layers []string, dir, more string) (string, error) {
	if len(layers) == 0 {
		return "", &steps.Fault{Msg: "the image has no layers", Hint: "An empty image can't be run; import one with a root filesystem.", Code: 125}
	}
	var lower []string
	for _, layer := range slices.Backward(layers) {
		lower = append(lower, overlayEscape(layer, `\,:`))
	}
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	options := "lowerdir=" + strings.Join(lower, ":") +
		",upperdir=" + overlayEscape(upper, `\,`) + ",workdir=" + overlayEscape(work, `\,`) + more
	// mount(2): the data is at most a page, of which the last byte is a NUL.
	if most := os.Getpagesize() - 1; len(options) > most {
		return "", &steps.Fault{
			Msg:  fmt.Sprintf("the image has too many layers: naming all %d takes %d bytes, and the kernel takes %d", len(layers), len(options), most),
			Hint: "Use a shorter --root, or an image with fewer layers.",
			Code: 125,
		}
	}
	return options, nil
}

func overlayEscape(path, special string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(special, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// explainMount says what the kernel's few error numbers mean here.
func explainMount(err error, layers []string, dir string) error {
	if err == nil {
		return nil
	}
	fault := &steps.Fault{Code: 125, Err: err}
	switch {
	case errors.Is(err, unix.ENODEV):
		fault.Msg = "this kernel has no overlayfs"
		fault.Hint = "Load it: modprobe overlay"
	case errors.Is(err, unix.ENOENT):
		fault.Msg = "the image is damaged: " + missingOf(layers) + " is gone"
		fault.Hint = "Remove the image and import it again."
	case errors.Is(err, unix.EINVAL):
		fault.Msg = "overlayfs can't write below " + dir + ": its filesystem does not offer what that takes"
		fault.Hint = "Choose a directory on ext4, xfs, btrfs or tmpfs with --root; `dmesg | tail` has the kernel's own words."
	case errors.Is(err, unix.EPERM):
		fault.Msg = "mounting is not permitted here"
		fault.Hint = "Run it as root (sudo), outside of containers that lack CAP_SYS_ADMIN."
	default:
		return &fs.PathError{Op: "mount", Path: filepath.Join(dir, "merged"), Err: err}
	}
	return fault
}

func missingOf(layers []string) string {
	for _, layer := range layers {
		if _, err := os.Lstat(layer); err != nil {
			return "layer " + layer
		}
	}
	return "a directory of it"
}
