package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
)

// DoctorVerdict is what `minidock doctor` thinks of one requirement.
type DoctorVerdict string

const (
	// DoctorOK is a requirement that is met.
	DoctorOK DoctorVerdict = "ok"
	// DoctorMissing is one without which some feature does not work.
	DoctorMissing DoctorVerdict = "missing"
	// DoctorWarning is one without which every feature works, with less comfort.
	DoctorWarning DoctorVerdict = "warning"
)

// DoctorCheck is one requirement of minidock's and how this host meets it.
type DoctorCheck struct {
	Name    string
	Verdict DoctorVerdict
	// Detail is what was found.
	Detail string
	// Fix is what to do about it; empty where nothing has to be done.
	Fix string `json:",omitempty"`
}

// CheckHost finds out whether this host offers what minidock's features need, with
// state below root. It asks the kernel, and leaves everything as it was: what has
// to be tried, such as a namespace, is tried in a process that ends at once. The
// kernel may load a module (overlay, nf_tables) to answer.
func CheckHost(root string) []DoctorCheck {
	return checkDoctorFacts(gatherDoctorFacts(root))
}

// checkDoctorFacts judges; everything that it knows of the host is in f.
func checkDoctorFacts(f doctorFacts) []DoctorCheck {
	checks := []DoctorCheck{f.checkKernel(), f.checkPrivileges(), f.checkRlimits(), f.checkCgroup()}
	for _, controller := range []string{"cpu", "cpuset", "io", "memory", "pids"} {
		checks = append(checks, f.checkController(controller))
	}
	checks = append(checks, f.checkOverlay())
	for _, ns := range doctorNamespaces {
		checks = append(checks, f.checkNamespace(ns))
	}
	return append(checks, f.checkUserLimit(), f.checkUserUnprivileged(), f.checkUserAppArmor(),
		f.checkSubIDs("/etc/subuid"), f.checkSubIDs("/etc/subgid"),
		f.checkSeccomp(), f.checkNftables(), f.checkForwarding(), f.checkRules(), f.checkTini(), f.checkSpace(), f.checkKVM())
}

// asRoot is what to do where everything may be there and was not to be seen.
const asRoot = "sudo minidock doctor"

// labFix is the way out on a host that can't be changed.
const labFix = "or use the lab VM: make demo VM=1"

func doctorOK(name, detail string) DoctorCheck {
	return DoctorCheck{Name: name, Verdict: DoctorOK, Detail: detail}
}

func doctorMissing(name, detail, fix string) DoctorCheck {
	return DoctorCheck{Name: name, Verdict: DoctorMissing, Detail: detail, Fix: fix}
}

func doctorWarning(name, detail, fix string) DoctorCheck {
	return DoctorCheck{Name: name, Verdict: DoctorWarning, Detail: detail, Fix: fix}
}

// kernelFeature is something that came with a kernel version.
type kernelFeature struct {
	major, minor int
	what         string
	// replaced: minidock does without it, only less well.
	replaced bool
}

// The versions are those of pidfd_open(2), time_namespaces(7), openat2(2),
// cgroup-v2.rst (cgroup.kill) and mount_setattr(2) (id-mapped layers on overlayfs).
func kernelFeatures() []kernelFeature {
	return []kernelFeature{
		{5, 3, "pidfd_open", false},
		{5, 6, "time namespaces and openat2", false},
		{5, 14, "cgroup.kill", true},
		{5, 19, "id-mapped layers for user namespaces, which minidock does not make yet", true},
	}
}

func (f doctorFacts) checkKernel() DoctorCheck {
	const name = "kernel"
	var major, minor int
	if _, err := fmt.Sscanf(f.release, "%d.%d", &major, &minor); err != nil {
		return doctorWarning(name, fmt.Sprintf("%q is no version that can be read", f.release), "check by hand that it is 5.19 or newer: uname -r")
	}
	verdict := DoctorOK
	var lacks []string
	for _, k := range kernelFeatures() {
		if major > k.major || major == k.major && minor >= k.minor {
			continue
		}
		lacks = append(lacks, fmt.Sprintf("%s (%d.%d)", k.what, k.major, k.minor))
		if !k.replaced {
			verdict = DoctorMissing
		} else if verdict == DoctorOK {
			verdict = DoctorWarning
		}
	}
	if verdict == DoctorOK {
		return doctorOK(name, f.release)
	}
	return DoctorCheck{
		Name: name, Verdict: verdict, Detail: f.release + " lacks " + strings.Join(lacks, ", "),
		Fix: "install a newer kernel, 5.19 or later (Debian 13 has 6.12); " + labFix,
	}
}

func (f doctorFacts) checkPrivileges() DoctorCheck {
	const name = "privileges"
	if f.euid != 0 {
		return doctorMissing(name, fmt.Sprintf("user %d is not root", f.euid), asRoot+", and sudo before every other command; "+labFix)
	}
	var lacks []string
	for _, c := range neededCapabilities() {
		if f.capabilities&(1<<c.bit) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	if len(lacks) > 0 {
		return doctorMissing(name, "root without "+strings.Join(lacks, ", "),
			"run it where root keeps its capabilities: on the host itself, or in a container started with --privileged")
	}
	return doctorOK(name, "root, with every capability that a container needs")
}

// checkRlimits is a line of its own since many places withhold just this one.
func (f doctorFacts) checkRlimits() DoctorCheck {
	const name, lacks = "CAP_SYS_RESOURCE", "not held: --ulimit can lower hard limits, not raise them"
	switch {
	case f.capabilities&(1<<unix.CAP_SYS_RESOURCE) != 0:
		return doctorOK(name, "--ulimit can raise hard limits")
	case f.euid != 0:
		return doctorWarning(name, lacks, asRoot)
	}
	return doctorWarning(name, lacks,
		"run it where root keeps this capability: on the host itself, or in a container started with --cap-add SYS_RESOURCE")
}

// unifiedFix turns a host to version 2 for good (systemd(1), kernel command line).
const unifiedFix = "add systemd.unified_cgroup_hierarchy=1 to GRUB_CMDLINE_LINUX in /etc/default/grub, update-grub, reboot; " + labFix

func (f doctorFacts) checkCgroup() DoctorCheck {
	const name = "cgroup v2"
	switch {
	case f.cgroupErr != nil:
		return doctorMissing(name, f.cgroupErr.Error(), "look at it: ls "+f.cgroup.Mountpoint)
	case f.cgroup.Mode == cgroups.None:
		return doctorMissing(name, "nothing is mounted at "+f.cgroup.Mountpoint, "mount -t cgroup2 none "+f.cgroup.Mountpoint+"; "+labFix)
	case !f.cgroup.Unified():
		return doctorMissing(name, fmt.Sprintf("%s host: controllers are on version 1; containers run, limits don't", f.cgroup.Mode), unifiedFix)
	case f.cgroupReadOnly:
		return doctorMissing(name, "unified, but mounted read-only", "mount -o remount,rw "+f.cgroup.Mountpoint)
	}
	return doctorOK(name, "unified, at "+f.cgroup.Mountpoint)
}

func (f doctorFacts) checkController(controller string) DoctorCheck {
	name := "cgroup " + controller
	switch {
	case f.cgroup.HasController(controller):
		return doctorOK(name, limitsOf(controller))
	case slices.Contains(f.legacyTrees, legacyName(controller)):
		return doctorMissing(name, "on version 1: no "+limitsOf(controller), unifiedFix)
	case controller == "memory":
		return doctorMissing(name, "not in this kernel: no "+limitsOf(controller), "boot with cgroup_enable=memory on the kernel's command line; "+labFix)
	}
	return doctorMissing(name, "not in this kernel: no "+limitsOf(controller), "install a kernel that has it (Debian's has); "+labFix)
}

func limitsOf(controller string) string {
	switch controller {
	case "cpu":
		return "--cpus, --cpu-quota, --cpu-period, --cpu-shares"
	case "cpuset":
		return "--cpuset-cpus"
	case "io":
		return "counters of disk traffic"
	case "memory":
		return "--memory and its relatives"
	}
	return "--pids-limit"
}

// legacyName is the controller's name on version 1.
func legacyName(controller string) string {
	if controller == "io" {
		return "blkio"
	}
	return controller
}

func (f doctorFacts) checkOverlay() DoctorCheck {
	const name = "overlayfs"
	switch {
	case f.overlay != nil:
		return doctorMissing(name, "not offered: "+f.overlay.Error(), "modprobe overlay; "+labFix)
	case f.rootUnfit != "":
		return doctorMissing(name, fmt.Sprintf("%s is on %s, which can't hold a container's writable layer", f.root, f.rootUnfit),
			"choose a place on ext4, xfs, btrfs or tmpfs: minidock --root DIR")
	}
	return doctorOK(name, "image layers can be stacked below "+f.root)
}

// doctorNamespace is one kind of namespace: the name that /proc/PID/ns has for
// it, and the flag of unshare(2).
type doctorNamespace struct {
	name string
	flag uintptr
	// gives is what a container gets by it.
	gives string
}

var doctorNamespaces = []doctorNamespace{
	{"mnt", unix.CLONE_NEWNS, "mounts of its own"},
	{"pid", unix.CLONE_NEWPID, "a PID 1 of its own"},
	{"net", unix.CLONE_NEWNET, "interfaces, routes and ports of its own"},
	{"uts", unix.CLONE_NEWUTS, "a host name of its own"},
	{"ipc", unix.CLONE_NEWIPC, "shared memory and queues of its own"},
	{"cgroup", unix.CLONE_NEWCGROUP, "a cgroup root of its own"},
	{"time", unix.CLONE_NEWTIME, "a boot time of its own"},
	{"user", unix.CLONE_NEWUSER, "a root that is nobody outside"},
}

func (f doctorFacts) checkNamespace(ns doctorNamespace) DoctorCheck {
	name := "namespace " + ns.name
	err := f.namespaces[ns.name]
	switch {
	case err == nil:
		return doctorOK(name, "tried: "+ns.gives)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EINVAL):
		return doctorMissing(name, "not in this kernel", "install a kernel that has it (Debian's has); "+labFix)
	case errors.Is(err, unix.ENOSPC):
		return doctorMissing(name, "tried: the host's limit is reached",
			fmt.Sprintf("sysctl -w user.max_%s_namespaces=10000", ns.name))
	case errors.Is(err, fs.ErrPermission) && f.euid != 0:
		return doctorMissing(name, "tried: only root may", asRoot)
	}
	return doctorMissing(name, "tried: "+err.Error(), "run it outside of the container or sandbox that forbids it; "+labFix)
}

func (f doctorFacts) checkUserLimit() DoctorCheck {
	const name, key = "userns limit", "user.max_user_namespaces"
	value, there := f.sysctls[key]
	switch {
	case !there:
		return doctorMissing(name, "no "+key+": the kernel has no user namespaces", "install a kernel that has them (Debian's has); "+labFix)
	case value == "0":
		return doctorMissing(name, key+" = 0 forbids user namespaces, to root too", "sysctl -w "+key+"=10000; for good: echo "+key+"=10000 > /etc/sysctl.d/90-minidock.conf")
	}
	return doctorOK(name, key+" = "+value)
}

// checkUserUnprivileged is about a switch that Debian's and Arch's kernels have.
func (f doctorFacts) checkUserUnprivileged() DoctorCheck {
	return f.checkSwitch("userns unprivileged", "kernel.unprivileged_userns_clone", "0", "1")
}

// checkUserAppArmor is about Ubuntu's switch, since 23.10.
func (f doctorFacts) checkUserAppArmor() DoctorCheck {
	return f.checkSwitch("userns apparmor", "kernel.apparmor_restrict_unprivileged_userns", "1", "0")
}

// checkSwitch: root is not concerned, so what runs as root works all the same.
func (f doctorFacts) checkSwitch(name, key, blocks, allows string) DoctorCheck {
	value, there := f.sysctls[key]
	switch {
	case !there:
		return doctorOK(name, "no switch on this kernel: "+key)
	case value != blocks:
		return doctorOK(name, key+" = "+value)
	}
	fix := "sysctl -w " + key + "=" + allows
	if f.euid != 0 {
		return doctorMissing(name, key+" = "+value+" keeps you from making user namespaces", fix)
	}
	return doctorWarning(name, key+" = "+value+": only root can make user namespaces", fix)
}

// leastSubIDs is what a container's users need: every 16-bit number, as
// login.defs(5)'s SUB_UID_COUNT has it.
const leastSubIDs = 65536

func (f doctorFacts) checkSubIDs(file string) DoctorCheck {
	found := f.subIDs[file]
	for _, r := range found {
		if r.count >= leastSubIDs {
			return doctorOK(file, fmt.Sprintf("%s has %d from %d on", r.name, r.count, r.first))
		}
	}
	option := "--add-subuids"
	if file == "/etc/subgid" {
		option = "--add-subgids"
	}
	detail := "no range: no user namespaces for containers"
	if len(found) > 0 {
		detail = fmt.Sprintf("no range of %d: no user namespaces for containers", leastSubIDs)
	}
	return doctorWarning(file, detail+", which minidock does not make yet", "usermod "+option+" 100000-165535 "+f.user)
}

func (f doctorFacts) checkSeccomp() DoctorCheck {
	if f.seccomp != nil {
		return doctorMissing("seccomp", "no filters: "+f.seccomp.Error(), "install a kernel with CONFIG_SECCOMP_FILTER (Debian's has it); "+labFix)
	}
	return doctorOK("seccomp", "system calls can be filtered")
}

func (f doctorFacts) checkNftables() DoctorCheck {
	const name = "nftables"
	switch {
	case f.nftables == nil && f.resolverRules != nil:
		return doctorMissing(name, "does not take rules at a link, which lead a container's questions for names: "+f.resolverRules.Error(),
			"use a kernel with CONFIG_NF_TABLES_NETDEV and CONFIG_NETFILTER_INGRESS (Debian's has them); "+labFix)
	case f.nftables == nil:
		return doctorOK(name, "answers: NAT and published ports")
	case errors.Is(f.nftables, fs.ErrPermission) && f.euid != 0:
		return doctorMissing(name, "only root may ask", asRoot)
	}
	return doctorMissing(name, "does not answer: "+f.nftables.Error(), "modprobe nf_tables; "+labFix)
}

// checkForwarding finds chains of others that drop what containers send and get
// through the host: a packet has to pass every chain of the hook.
func (f doctorFacts) checkForwarding() DoctorCheck {
	const name = "forwarding"
	if len(f.obstacles) == 0 {
		return doctorOK(name, "no chain of others drops what is passed on")
	}
	var chains, fixes []string
	for _, o := range f.obstacles {
		chain := o.Chain
		if o.Owner != "" {
			chain += " (" + o.Owner + ")"
		}
		chains, fixes = append(chains, chain), append(fixes, o.Fix...)
	}
	return doctorWarning(name, "dropped by policy in "+strings.Join(chains, ", ")+": no way out of a network, and none to a published port", strings.Join(fixes, "; "))
}

// checkRules finds networks whose rules somebody has removed.
func (f doctorFacts) checkRules() DoctorCheck {
	const name = "network rules"
	if len(f.unruled) == 0 {
		return doctorOK(name, "each network that is up has its rules")
	}
	return doctorMissing(name, "none for "+strings.Join(f.unruled, ", ")+": somebody has flushed the ruleset, and so no walls, no published ports, no way out",
		"minidock restart CONTAINER, any that is on a network: it puts back what all of them need")
}

func (f doctorFacts) checkTini() DoctorCheck {
	if f.tini == "" {
		return doctorMissing("tini", "no tini-static: no --init", "apt-get install tini")
	}
	return doctorOK("tini", f.tini+", for --init")
}

const (
	// enoughSpace holds a handful of unpacked images; leastSpace the base image
	// (2 MB) and some logs. Both are rules of thumb, in bytes.
	enoughSpace = 1 << 30
	leastSpace  = 64 << 20
)

func (f doctorFacts) checkSpace() DoctorCheck {
	const name = "space"
	if f.spaceErr != nil {
		return doctorMissing(name, f.spaceErr.Error(), "choose another place: minidock --root DIR")
	}
	detail := units.BytesSize(float64(f.space)) + " free for " + f.root
	fix := "remove what is not needed (minidock image rm, minidock rm), or choose another place: minidock --root DIR"
	switch {
	case f.space < leastSpace:
		return doctorMissing(name, detail, fix)
	case f.space < enoughSpace:
		return doctorWarning(name, detail, fix)
	}
	return doctorOK(name, detail)
}

// checkKVM tells how fast a lab VM would be; none is needed where limits work.
func (f doctorFacts) checkKVM() DoctorCheck {
	const name = "kvm"
	switch {
	case f.kvm == nil:
		return doctorOK(name, "/dev/kvm works, and the lab VM uses it")
	case f.cgroup.Unified():
		return doctorOK(name, f.kvm.Error()+"; not needed here, limits work without the lab VM")
	case errors.Is(f.kvm, fs.ErrPermission):
		return doctorWarning(name, f.kvm.Error()+": the lab VM is emulated, and several times slower", "usermod -aG kvm "+f.user+", and log in again")
	}
	return doctorWarning(name, f.kvm.Error()+": the lab VM is emulated, and several times slower",
		"turn virtualisation on in the firmware, or nested virtualisation in the hypervisor; the lab VM works without")
}
