package cgroups

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// JoinSteps tells what libcontainer (runc 1.5.2 with opencontainers/cgroups
// 0.1.0) is about to do to the group at path when it starts a container there,
// limits apart: it passes controllers on and moves init in; on version 1 it makes
// the groups first. "PID" stands for the process, which does not exist yet.
//
// Nothing is done here, but what is told depends on what is there already, so the
// moment to ask is right before the start.
func JoinSteps(h Host, path string) []steps.Step {
	switch h.Mode {
	case Unified:
		return h.joinUnified(path)
	case Hybrid, Legacy:
		return h.joinLegacy(path)
	}
	return nil
}

// joinUnified: libcontainer writes all controllers of the root to every group on
// the way, those that are enabled already too. That changes nothing where
// [Create] has been, except that it passes on what no limit of ours needs
// (hugetlb, rdma, misc, …).
func (h Host) joinUnified(path string) []steps.Step {
	var list []steps.Step
	if len(h.Controllers) > 0 {
		value := "+" + strings.Join(h.Controllers, " +")
		for _, dir := range []string{"/", parentOf(path)} {
			list = append(list, writeStep(KindControllers, filepath.Join(h.Dir(dir), "cgroup.subtree_control"), value,
				"Pass every controller of this kernel on to the groups below; most are already."))
		}
	}
	return append(list, joinStep([]string{h.Dir(path)}))
}

func joinStep(dirs []string) steps.Step {
	s := steps.Step{
		Kind: KindJoin, Target: dirs[0],
		Why: "Put the container's first process into the group, before it can start another: whatever it starts is born there.",
		See: "cat " + steps.ShellQuote(filepath.Join(dirs[0], "cgroup.procs")), Man: manual,
	}
	for _, dir := range dirs {
		file := filepath.Join(dir, "cgroup.procs")
		s.Call = append(s.Call, writeCall(file, "PID"))
		s.Shell = append(s.Shell, echo(file, "PID"))
	}
	return s
}

// legacyOrder is the order in which libcontainer goes through the trees.
const legacyOrder = "cpuset devices memory cpu cpuacct pids blkio hugetlb net_cls net_prio perf_event freezer rdma systemd misc"

// libcontainerTrees are the trees that libcontainer uses, in its order. Two
// controllers that share a tree name it twice.
func (h Host) libcontainerTrees() []string {
	mounted := h.Legacy()
	var trees []string
	for name := range strings.FieldsSeq(legacyOrder) {
		// The controller's own name is a link where it shares a tree.
		if to, err := os.Readlink(filepath.Join(h.Mountpoint, name)); err == nil {
			name = filepath.Base(to)
		}
		if slices.Contains(mounted, name) {
			trees = append(trees, name)
		}
	}
	if h.Mode == Hybrid {
		trees = append(trees, "unified")
	}
	return trees
}

func (h Host) joinLegacy(path string) []steps.Step {
	trees := h.libcontainerTrees()
	if len(trees) == 0 {
		return nil
	}
	var list []steps.Step
	if s, any := h.mkdirStep(KindShared, trees, parentOf(path), "Make one parent for all containers, in the tree of each controller."); any {
		list = append(list, s)
	}
	if s, any := h.mkdirStep(KindGroup, trees, path, "Make a group for the container, in the tree of each controller: on version 1 each has its own."); any {
		list = append(list, s)
	}
	if s, any := h.cpusetStep(path); any {
		list = append(list, s)
	}
	return append(list, joinStep(h.dirsIn(trees, path)))
}

// dirsIn are a group's directories in these trees.
func (h Host) dirsIn(trees []string, path string) []string {
	dirs := make([]string, len(trees))
	for i, tree := range trees {
		dirs[i] = filepath.Join(h.Mountpoint, tree, path)
	}
	return dirs
}

func (h Host) mkdirStep(kind steps.Kind, trees []string, path, why string) (s steps.Step, any bool) {
	s = steps.Step{Kind: kind, Target: path, Why: why, See: "cat /proc/PID/cgroup", Man: "cgroups(7), kernel Documentation/admin-guide/cgroup-v1/"}
	var dirs []string
	for _, tree := range trees {
		dir := filepath.Join(h.Mountpoint, tree, path)
		if slices.Contains(dirs, steps.ShellQuote(dir)) || exists(dir) {
			continue
		}
		dirs = append(dirs, steps.ShellQuote(dir))
		s.Call = append(s.Call, mkdirCall(dir))
		s.Shell = append(s.Shell, "mkdir "+steps.ShellQuote(dir))
	}
	s.Undo = "rmdir " + strings.Join(dirs, " ")
	return s, len(dirs) > 0
}

// cpusetStep: a new group of the version 1 cpuset tree has no processors and no
// memory nodes, and takes no process until it has some.
func (h Host) cpusetStep(path string) (s steps.Step, any bool) {
	tree := filepath.Join(h.Mountpoint, "cpuset")
	if !isType(tree, unix.CGROUP_SUPER_MAGIC) {
		return s, false
	}
	s = steps.Step{
		Kind: "cpuset", Target: filepath.Join(tree, path),
		Why: "Allow the processors and memory nodes of the parent: a new group of this tree has none, and takes no process without.",
		See: "cat " + steps.ShellQuote(filepath.Join(tree, path, "cpuset.cpus")), Man: "cpuset(7)",
	}
	parent := tree
	values := map[string]string{}
	for _, p := range []string{parentOf(path), path} {
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if inherited := readText(filepath.Join(parent, name)); inherited != "" {
				values[name] = inherited
			}
			file := filepath.Join(tree, p, name)
			if strings.TrimSpace(readText(file)) == "" {
				s.Call = append(s.Call, writeCall(file, values[name]))
				s.Shell = append(s.Shell, echo(file, strings.TrimSpace(values[name])))
			}
		}
		parent = filepath.Join(tree, p)
	}
	return s, len(s.Call) > 0
}

// readText reads a small file that may be missing.
func readText(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(text)
}

// allDevices is the rule that means every device, in the notation of
// devices.allow (kernel Documentation/admin-guide/cgroup-v1/devices.rst).
const allDevices = "a *:* rwm"

// DeviceSteps tells how libcontainer restricts the group at path to the devices
// that rules allow; a rule is written as in devices.allow: "c 1:3 rwm". Version 2
// has no file for it: a small program, loaded into the kernel and attached to the
// group, is asked at every opening of a device.
func DeviceSteps(h Host, path string, rules []string) []steps.Step {
	switch h.Mode {
	case Unified:
		return []steps.Step{{
			Kind: KindDevices, Target: h.Dir(path),
			Why: "Attach a program to the group that the kernel asks at each opening of a device: only those on the list are let through.",
			Call: []string{
				`bpf(BPF_PROG_LOAD, {prog_type=BPF_PROG_TYPE_CGROUP_DEVICE, …})`,
				`bpf(BPF_PROG_ATTACH, {target_fd=` + steps.Quote(h.Dir(path)) + `, attach_type=BPF_CGROUP_DEVICE, …})`,
			},
			See: "bpftool cgroup show " + steps.ShellQuote(h.Dir(path)), Man: "bpf(2), kernel Documentation/admin-guide/cgroup-v2.rst",
		}}
	case Hybrid, Legacy:
		return []steps.Step{legacyDevices(filepath.Join(h.Mountpoint, "devices", path), rules)}
	}
	return nil
}

func legacyDevices(dir string, rules []string) steps.Step {
	s := steps.Step{
		Kind: KindDevices, Target: dir,
		Why: "Close all devices to the group, then open those on the list.",
		See: "cat " + steps.ShellQuote(filepath.Join(dir, "devices.list")), Man: "kernel Documentation/admin-guide/cgroup-v1/devices.rst",
	}
	add := func(name, rule string) {
		file := filepath.Join(dir, name)
		s.Call = append(s.Call, writeCall(file, rule))
		s.Shell = append(s.Shell, echo(file, rule))
	}
	if slices.Contains(rules, allDevices) {
		s.Why = "Leave all devices open to the group."
		add("devices.allow", allDevices)
		return s
	}
	add("devices.deny", allDevices)
	for _, rule := range slices.Compact(slices.SortedFunc(slices.Values(rules), compareRules)) {
		add("devices.allow", rule)
	}
	return s
}

// compareRules puts rules into the order in which libcontainer writes them: by
// major number, minor number and type, * before every number.
func compareRules(a, b string) int {
	return slices.CompareFunc(ruleKey(a), ruleKey(b), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
}

// ruleKey takes "c 10:200 rwm" apart; an empty text stands for *, and of two
// numbers the longer one is the greater.
func ruleKey(rule string) []string {
	kind, rest, _ := strings.Cut(rule, " ")
	numbers, access, _ := strings.Cut(rest, " ")
	major, minor, _ := strings.Cut(numbers, ":")
	return []string{strings.Trim(major, "*"), strings.Trim(minor, "*"), kind, access}
}

// BirthCall writes the call by which libcontainer starts a further process of the
// group at path. On version 2 the process is born in the group; on version 1 it is
// born outside, see [EnterSteps].
func BirthCall(h Host, path string) string {
	if h.Mode != Unified {
		return "clone(CLONE_VM|CLONE_PIDFD|CLONE_VFORK|SIGCHLD)"
	}
	return "clone3({flags=CLONE_VM|CLONE_PIDFD|CLONE_VFORK|CLONE_INTO_CGROUP, exit_signal=SIGCHLD, cgroup=" + steps.Quote(h.Dir(path)) + ", …})"
}

// EnterSteps tells how libcontainer puts a further process into the group at path
// once it is in the container's namespaces: on version 1 tree by tree, in any
// order; on version 2 it is there already.
func EnterSteps(h Host, path string) []steps.Step {
	trees := h.libcontainerTrees()
	if h.Mode == Unified || len(trees) == 0 {
		return nil
	}
	s := joinStep(h.dirsIn(trees, path))
	s.Why = "Put the new process into the container's group, in the tree of each controller: the container's limits are its limits now."
	return []steps.Step{s}
}
