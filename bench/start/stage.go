package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

// stage is what the contenders run on: a state directory of minidock's with the
// image busybox, and the same files unpacked once more for the others.
type stage struct {
	dir string
	// state is where the others keep what they know of a container: below /run, as
	// they do by themselves.
	state    string
	layout   runtime.Layout
	minidock string
	// rootfs is a copy of the image's layer, and spec the specification that
	// minidock itself would start such a container from.
	rootfs string
	spec   *specs.Spec
	mode   cgroups.Mode
	// ways has the runtimes that work here, and how.
	ways map[string]way
	// engines hold an image of ours, and containers of it.
	engines []string
}

// cgroupParent holds the groups of the runtimes that take a path for them.
const cgroupParent = "/minidock-bench"

// idPrefix begins the names of the others' containers.
const idPrefix = "minidock-bench-"

// imageName is the image in the engines that have a store of their own.
const imageName = "localhost/minidock-bench"

// newStage returns a stage to be cleared even with an error.
func newStage(ctx context.Context, p plan, mode cgroups.Mode) (*stage, error) {
	// Where the default root is too: on a disk, since overlayfs and the log are part
	// of what is timed.
	dir, err := os.MkdirTemp("/var/tmp", "minidock-bench-")
	s := &stage{dir: dir, minidock: p.minidock, mode: mode, ways: map[string]way{}}
	if err != nil {
		return s, fmt.Errorf("make directory: %w", err)
	}
	if s.state, err = os.MkdirTemp("/run", "minidock-bench-"); err != nil {
		return s, fmt.Errorf("make directory: %w", err)
	}
	if s.layout, err = runtime.LayoutOf(filepath.Join(dir, "root")); err != nil {
		return s, err
	}
	if err := os.Mkdir(s.layout.Root, 0o700); err != nil {
		return s, fmt.Errorf("make directory: %w", err)
	}
	say("import the image")
	cmd := exec.CommandContext(ctx, p.baseImage)
	cmd.Env = append(s.env(), "MINIDOCK="+p.minidock)
	if out, err := cmd.CombinedOutput(); err != nil {
		return s, fmt.Errorf("import the base image: %w: %s", err, out)
	}
	return s, s.bundle(ctx)
}

// env is the contenders' environment: MINIDOCK_ROOT leads minidock here.
func (s *stage) env() []string { return append(os.Environ(), "MINIDOCK_ROOT="+s.layout.Root) }

// bundle makes a container without starting it, fills in the files that minidock
// would have mounted, and writes down what it would have started.
func (s *stage) bundle(ctx context.Context) error {
	c, err := runtime.Create(s.layout, runtime.Options{Image: "busybox", Command: []string{"true"}, Name: "bundle", Network: runtime.NetworkConfig{Mode: netns.None}}, nil, nil)
	if err != nil {
		return err
	}
	if len(c.Config.Layers) != 1 {
		return fmt.Errorf("copy the image: it has %d layers, and one was expected", len(c.Config.Layers))
	}
	s.rootfs = filepath.Join(s.layout.Container(c.Config.ID), "merged")
	if out, err := exec.CommandContext(ctx, "cp", "-a", c.Config.Layers[0], s.rootfs).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the image: %w: %s", err, out)
	}
	s.spec, err = runtime.Spec(s.layout, &c.Config, "")
	return err
}

// bundleVersion is a version of the OCI runtime specification that the runtimes
// of Debian 12 accept (crun 1.8 refuses all from 1.1 on).
const bundleVersion = "1.0.2"

// writeBundle writes an OCI bundle that runs args in the rootfs.
func (s *stage) writeBundle(name string, timeNamespace bool, args ...string) (dir string, err error) {
	spec, process, linux := *s.spec, *s.spec.Process, *s.spec.Linux
	spec.Version = bundleVersion
	process.Args = args
	linux.CgroupsPath = cgroupParent + "/" + name
	if !timeNamespace {
		linux.Namespaces = without(linux.Namespaces, specs.TimeNamespace)
	}
	spec.Process, spec.Linux = &process, &linux
	text, err := json.Marshal(spec)
	if err != nil {
		return "", fmt.Errorf("encode specification: %w", err)
	}
	dir = filepath.Join(s.dir, "bundles", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make bundle: %w", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600)
}

func without(list []specs.LinuxNamespace, kind specs.LinuxNamespaceType) []specs.LinuxNamespace {
	var kept []specs.LinuxNamespace
	for _, ns := range list {
		if ns.Type != kind {
			kept = append(kept, ns)
		}
	}
	return kept
}

// clear takes back everything, also after an interrupt: then a start may still
// be under way, and ends by itself.
func (s *stage) clear() error {
	var errs []error
	for _, engine := range s.engines {
		errs = append(errs, clearEngine(engine))
	}
	for name := range s.ways {
		errs = append(errs, s.clearRuntime(name))
	}
	if s.layout.Root != "" {
		errs = append(errs, patiently(s.clearMinidock), os.RemoveAll(s.layout.Run), removeNote(s.layout.Root))
	}
	if s.dir != "" {
		errs = append(errs, patiently(func() error { return removeGroups(cgroupParent) }), removeTree(s.dir))
	}
	if s.state != "" {
		errs = append(errs, os.RemoveAll(s.state))
	}
	return errors.Join(errs...)
}

// clearEngine removes our containers, and with them their image. An engine removes a
// container that is not there without a word (--force).
func clearEngine(engine string) error {
	removed := command(context.Background(), engine, "rm", "--force", idPrefix+"exec", idPrefix+"stop", idPrefix+"logs")
	return errors.Join(removed, command(context.Background(), engine, "image", "rm", "-f", imageName))
}

// clearRuntime removes the containers that a runtime has in our state directory.
func (s *stage) clearRuntime(name string) error {
	entries, _ := os.ReadDir(filepath.Join(s.state, name)) // Where it is missing there are none.
	var errs []error
	for _, e := range entries {
		errs = append(errs, command(context.Background(), name, "--root", filepath.Join(s.state, name), "delete", "--force", e.Name()))
	}
	return errors.Join(errs...)
}

// clearMinidock fails as long as a container of minidock's is there.
func (s *stage) clearMinidock() error {
	ids, err := output(context.Background(), s.env(), s.minidock, "ps", "--all", "--quiet")
	if words := strings.Fields(ids); err == nil && len(words) > 0 {
		_, err = output(context.Background(), s.env(), slices.Concat([]string{s.minidock, "rm", "--force"}, words)...)
	}
	if err != nil {
		return err
	}
	if _, err := output(context.Background(), s.env(), s.minidock, "system", "cleanup"); err != nil {
		return err
	}
	running, err := output(context.Background(), s.env(), s.minidock, "ps", "--all", "--quiet")
	if err == nil && running != "" {
		err = fmt.Errorf("clean up: containers are still there: %s", strings.Fields(running))
	}
	return errors.Join(err, unmounted(s.dir))
}

// patience is what a start under way gets to end; it takes seconds where the
// machine is emulated.
const patience = 30 * time.Second

// patiently acts again and again until it works or patience is over.
func patiently(act func() error) error {
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

// removeGroups removes the groups that runtimes made for theirs, in every tree,
// and those they forgot; a group that is in use stays and is an error.
func removeGroups(path string) error {
	var groups []string
	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(pattern + path)
		for _, dir := range found {
			_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					groups = append(groups, path)
				}
				return nil
			})
		}
	}
	var errs []error
	for _, dir := range slices.Backward(groups) {
		if err := os.Remove(dir); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// command runs a command whose output matters only when it fails.
func command(ctx context.Context, args ...string) error {
	_, err := output(ctx, nil, args...)
	return err
}

func output(ctx context.Context, env []string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
