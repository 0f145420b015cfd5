package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minidock/minidock/bench/internal/instance"
	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

// stage is what the contenders run on: a state directory of minidock's with the
// image busybox, and the same files unpacked once more for the others.
type stage struct {
	*instance.Instance
	// neighbour is another installation, in which a container runs.
	neighbour *instance.Instance
	// state is where the others keep what they know of a container: below /run, as
	// they do by themselves.
	state string
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
	own, err := instance.New(p.minidock)
	s := &stage{Instance: own, mode: mode, ways: map[string]way{}}
	if err != nil {
		return s, err
	}
	if s.state, err = os.MkdirTemp("/run", "minidock-bench-"); err != nil {
		return s, fmt.Errorf("make directory: %w", err)
	}
	say("import the image")
	if err := s.ImportBase(ctx, p.baseImage); err != nil {
		return s, err
	}
	return s, s.bundle(ctx)
}

// bundle makes a container without starting it, fills in the files that minidock
// would have mounted, and writes down what it would have started.
func (s *stage) bundle(ctx context.Context) error {
	c, err := runtime.Create(s.Layout, runtime.Options{Image: "busybox", Command: []string{"true"}, Name: "bundle", Network: runtime.NetworkConfig{Mode: netns.None}}, nil, nil)
	if err != nil {
		return err
	}
	if len(c.Config.Layers) != 1 {
		return fmt.Errorf("copy the image: it has %d layers, and one was expected", len(c.Config.Layers))
	}
	s.rootfs = filepath.Join(s.Layout.Container(c.Config.ID), "merged")
	if out, err := exec.CommandContext(ctx, "cp", "-a", c.Config.Layers[0], s.rootfs).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the image: %w: %s", err, out)
	}
	s.spec, err = runtime.Spec(s.Layout, &c.Config, "")
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
	dir = filepath.Join(s.Dir(), "bundles", name)
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
	if s.neighbour != nil {
		errs = append(errs, s.neighbour.Clear())
	}
	errs = append(errs, s.Clear(), instance.Patiently(func() error { return removeGroups(cgroupParent) }))
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
	return instance.Output(ctx, env, args...)
}
