package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode is the way in which a host offers control groups.
type Mode string

const (
	// Unified hosts have every controller on version 2, at one mount point.
	Unified Mode = "unified"
	// Hybrid hosts have controllers on version 1, and a version 2 tree beside them.
	Hybrid Mode = "hybrid"
	// Legacy hosts have version 1 only.
	Legacy Mode = "legacy"
	// None is a host without a cgroup file system where programs look for it.
	None Mode = "none"
)

// mountpoint is where every distribution and runtime mounts cgroups (cgroups(7)).
const mountpoint = "/sys/fs/cgroup"

// wanted are the controllers that the limits of a container need, in the order
// in which the kernel lists them.
const wanted = "cpuset cpu io memory pids"

// Host says what control groups a host offers.
type Host struct {
	Mode Mode `json:"mode"`
	// Mountpoint is where the version 2 tree is mounted, or the directory that
	// the version 1 trees are mounted in.
	Mountpoint string `json:"mountpoint"`
	// Controllers are those that version 2 offers, from the root's
	// cgroup.controllers.
	Controllers []string `json:"controllers"`
	// CPUs is the number of processors that this process may use.
	CPUs int `json:"cpus"`
	// Memory is the usable memory of the host in bytes (sysinfo(2), totalram).
	Memory uint64 `json:"memory"`
	// legacy is what Legacy returns, found once.
	legacy []string
}

// Probe finds out what the host offers. It takes a handful of system calls, no
// more than some microseconds.
func Probe() (Host, error) {
	h := Host{Mode: None, Mountpoint: mountpoint, CPUs: goruntime.NumCPU()}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return h, fmt.Errorf("ask for the host's memory: %w", err)
	}
	h.Memory = info.Totalram * uint64(info.Unit)
	h.Mode = modeOf(mountpoint)
	h.legacy = h.Legacy()
	if err := h.readControllers(); err != nil {
		return h, err
	}
	return h, nil
}

func modeOf(mountpoint string) Mode {
	switch {
	case isType(mountpoint, unix.CGROUP2_SUPER_MAGIC):
		return Unified
	case len(legacyTrees(mountpoint)) == 0:
		return None
	case isType(filepath.Join(mountpoint, "unified"), unix.CGROUP2_SUPER_MAGIC):
		return Hybrid
	}
	return Legacy
}

// isType compares with the magic numbers of statfs(2).
func isType(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == magic
}

func (h *Host) readControllers() error {
	root := h.Mountpoint
	switch h.Mode {
	case Hybrid:
		root = filepath.Join(h.Mountpoint, "unified")
	case Legacy, None:
		return nil
	}
	var err error
	h.Controllers, err = fields(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("read controllers: %w", err)
	}
	return nil
}

// Unified says whether limits can be set and groups be made by [Create].
func (h Host) Unified() bool { return h.Mode == Unified }

// Dir returns the directory of the group at path on a [Unified] host.
func (h Host) Dir(path string) string { return filepath.Join(h.Mountpoint, path) }

// HasController says whether limits of that controller can be set: it has to be
// on version 2, and the host has to be [Unified].
func (h Host) HasController(name string) bool {
	return h.Mode == Unified && slices.Contains(h.Controllers, name)
}

// Legacy names the version 1 trees of the host, in the order in which they are
// listed; empty where there are none.
func (h Host) Legacy() []string {
	if h.Mode == Unified || h.Mode == None || h.legacy != nil {
		return h.legacy
	}
	return legacyTrees(h.Mountpoint)
}

// legacyTrees skips symbolic links: where two controllers share a tree
// (cpu,cpuacct), each has a link to it.
func legacyTrees(mountpoint string) []string {
	entries, err := os.ReadDir(mountpoint)
	if err != nil {
		return nil
	}
	var trees []string
	for _, e := range entries {
		if e.IsDir() && isType(filepath.Join(mountpoint, e.Name()), unix.CGROUP_SUPER_MAGIC) {
			trees = append(trees, e.Name())
		}
	}
	return trees
}

// dirs are the directories that make up a group: one on version 2, one in every
// tree on version 1, and one in the version 2 tree beside those.
func (h Host) dirs(path string) []string {
	switch h.Mode {
	case Unified:
		return []string{h.Dir(path)}
	case None:
		return nil
	}
	var dirs []string
	for _, tree := range h.Legacy() {
		dirs = append(dirs, filepath.Join(h.Mountpoint, tree, path))
	}
	if h.Mode == Hybrid {
		dirs = append(dirs, filepath.Join(h.Mountpoint, "unified", path))
	}
	return dirs
}

// Members lists the processes of the group at path and of those below it, by
// their numbers here, in order and each once, from every tree that it is in.
func (h Host) Members(path string) ([]int, error) {
	var pids []int
	for _, dir := range h.dirs(path) {
		listed, err := members(dir)
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup %s: %w", path, err)
		}
		pids = append(pids, listed...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// AvailableCPUs is the list of processors that a container can be bound to, as
// the kernel writes it ("0-3,6"); empty where the cpuset controller is missing.
func (h Host) AvailableCPUs() (string, error) {
	text, err := os.ReadFile(filepath.Join(h.Mountpoint, "cpuset.cpus.effective"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read available CPUs: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func fields(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return strings.Fields(string(text)), nil
}
