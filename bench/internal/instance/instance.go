// Package instance is an installation of minidock of a benchmark's own: a state
// directory with an image in it, which leaves nothing behind.
package instance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/minidock/minidock/runtime"
)

// Instance is one installation.
type Instance struct {
	// Layout says where its files are, and Minidock is the program.
	Layout   runtime.Layout
	Minidock string
	dir      string
}

// New makes the state directory on a disk, where the default one is too: overlayfs
// and the log are part of what is timed. It is to be cleared even with an error.
func New(minidock string) (*Instance, error) {
	i := &Instance{Minidock: minidock}
	var err error
	if i.dir, err = os.MkdirTemp("/var/tmp", "minidock-bench-"); err != nil {
		return i, fmt.Errorf("make directory: %w", err)
	}
	if i.Layout, err = runtime.LayoutOf(filepath.Join(i.dir, "root")); err != nil {
		return i, err
	}
	if err := os.Mkdir(i.Layout.Root, 0o700); err != nil {
		return i, fmt.Errorf("make directory: %w", err)
	}
	return i, nil
}

// Dir is a directory for whatever else belongs to the benchmark; it goes with the
// instance.
func (i *Instance) Dir() string { return i.dir }

// Env is the environment that leads minidock here.
func (i *Instance) Env() []string { return append(os.Environ(), "MINIDOCK_ROOT="+i.Layout.Root) }

// ImportBase imports the image busybox by that script.
func (i *Instance) ImportBase(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, script)
	cmd.Env = append(i.Env(), "MINIDOCK="+i.Minidock)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import the base image: %w: %s", err, out)
	}
	return nil
}

// Import makes an image of a file that tar wrote.
func (i *Instance) Import(ctx context.Context, tarball, name string) error {
	return i.Quietly(ctx, "image", "import", tarball, name)
}

// Output runs minidock, and returns what it prints.
func (i *Instance) Output(ctx context.Context, args ...string) (string, error) {
	return Output(ctx, i.Env(), slices.Concat([]string{i.Minidock}, args)...)
}

// Quietly runs minidock where it may leave a process behind: nothing is kept open for
// its output.
func (i *Instance) Quietly(ctx context.Context, args ...string) error {
	return Quietly(ctx, i.Env(), slices.Concat([]string{i.Minidock}, args)...)
}

// Output runs a command, and returns what it prints; errors tell what it complained of.
func Output(ctx context.Context, env []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = env
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("run %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// Quietly runs a command without any output.
func Quietly(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = env
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// Clear takes back everything, also after an interrupt: then a start may still be
// under way, and ends by itself.
func (i *Instance) Clear() error {
	if i.dir == "" {
		return nil
	}
	cleared := Patiently(i.empty)
	if cleared == nil {
		cleared = removeNote(i.Layout.Root)
	}
	return errors.Join(cleared, removeTree(i.dir))
}

// Empty removes all containers and networks.
func (i *Instance) Empty() error { return Patiently(i.empty) }

// empty fails as long as a container is there.
func (i *Instance) empty() error {
	ctx := context.Background() // What was interrupted has to be cleared, too.
	if err := i.remove(ctx, []string{"ps", "--all", "--quiet"}, "rm", "--force"); err != nil {
		return err
	}
	if err := i.remove(ctx, []string{"network", "ls", "--quiet", "--filter", "type=custom"}, "network", "rm"); err != nil {
		return err
	}
	if _, err := i.Output(ctx, "system", "cleanup"); err != nil {
		return err
	}
	running, err := i.Output(ctx, "ps", "--all", "--quiet")
	if err == nil && running != "" {
		err = fmt.Errorf("clean up: containers are still there: %s", strings.Fields(running))
	}
	return errors.Join(err, unmounted(i.dir))
}

// remove calls a command with the words that another lists, if there are any.
func (i *Instance) remove(ctx context.Context, list []string, command ...string) error {
	names, err := i.Output(ctx, list...)
	if words := strings.Fields(names); err == nil && len(words) > 0 {
		_, err = i.Output(ctx, slices.Concat(command, words)...)
	}
	return err
}

// patience is what a start under way gets to end; it takes seconds where the
// machine is emulated.
const patience = 30 * time.Second

// Patiently acts again and again until it works or patience is over.
func Patiently(act func() error) error {
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for deadline := time.Now().Add(patience); ; <-pause.C {
		if err := act(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// removeNote removes what scripts/base-image remembers of an import.
func removeNote(root string) error {
	out, err := exec.Command("sh", "-c", `printf %s "$1" | cksum`, "sh", root).Output()
	if err != nil {
		return fmt.Errorf("find import note: %w", err)
	}
	sum, _, _ := strings.Cut(string(out), " ")
	err = os.Remove("/var/cache/minidock/base-image-" + sum)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeTree refuses to delete through a mount.
func removeTree(dir string) error {
	if err := unmounted(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func unmounted(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("remove %s: %s is still mounted", dir, mounts[0].Mountpoint)
	}
	return nil
}
