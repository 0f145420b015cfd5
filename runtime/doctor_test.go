package runtime

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/netns"
)

// soundDoctorFacts are those of a host that lacks nothing.
func soundDoctorFacts() doctorFacts {
	return doctorFacts{
		release: "6.12.0-amd64", user: "root", capabilities: 1<<41 - 1,
		cgroup: cgroups.Host{Mode: cgroups.Unified, Mountpoint: "/sys/fs/cgroup", Controllers: []string{"cpuset", "cpu", "io", "memory", "pids"}},
		root:   "/var/lib/minidock", space: 10 << 30,
		namespaces: map[string]error{},
		sysctls: map[string]string{
			"user.max_user_namespaces": "1000", "kernel.unprivileged_userns_clone": "1", "kernel.apparmor_restrict_unprivileged_userns": "0",
		},
		subIDs: map[string][]subIDRange{"/etc/subuid": {{"me", 100_000, 65_536}}, "/etc/subgid": {{"me", 100_000, 65_536}}},
		tini:   "/usr/bin/tini-static",
	}
}

func TestASoundHostHasNothingMissing(t *testing.T) {
	for _, check := range checkDoctorFacts(soundDoctorFacts()) {
		if check.Verdict != DoctorOK || check.Fix != "" || check.Detail == "" {
			t.Errorf("%+v", check)
		}
	}
}

func TestEachLackIsToldOnItsOwnLineWithAFix(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(*doctorFacts)
		line    string
		verdict DoctorVerdict
		fix     string
	}{
		{"old kernel", func(f *doctorFacts) { f.release = "5.10.0-30-amd64" }, "kernel", DoctorWarning, "5.19 or later"},
		{"very old kernel", func(f *doctorFacts) { f.release = "4.19.0" }, "kernel", DoctorMissing, "5.19 or later"},
		{"a kernel without cgroup.kill lacks more", func(f *doctorFacts) { f.release = "5.13" }, "kernel", DoctorWarning, "5.19"},
		{"a kernel that has no number", func(f *doctorFacts) { f.release = "next" }, "kernel", DoctorWarning, "uname -r"},
		{"not root", func(f *doctorFacts) { f.euid = 1000 }, "privileges", DoctorMissing, "sudo minidock"},
		{"root without mounts", func(f *doctorFacts) { f.capabilities &^= 1 << unix.CAP_SYS_ADMIN }, "privileges", DoctorMissing, "--privileged"},
		{"no CAP_SYS_RESOURCE", func(f *doctorFacts) { f.capabilities &^= 1 << unix.CAP_SYS_RESOURCE }, "CAP_SYS_RESOURCE", DoctorWarning, "SYS_RESOURCE"},
		{"no CAP_SYS_RESOURCE for a user", func(f *doctorFacts) { f.capabilities, f.euid = 0, 1000 }, "CAP_SYS_RESOURCE", DoctorWarning, "sudo"},
		{"hybrid", spoilHybrid, "cgroup v2", DoctorMissing, "systemd.unified_cgroup_hierarchy=1"},
		{"memory on version 1", spoilHybrid, "cgroup memory", DoctorMissing, "systemd.unified_cgroup_hierarchy=1"},
		{"io is called blkio on version 1", spoilHybrid, "cgroup io", DoctorMissing, "systemd.unified_cgroup_hierarchy=1"},
		{"no cgroups", func(f *doctorFacts) { f.cgroup.Mode = cgroups.None }, "cgroup v2", DoctorMissing, "mount -t cgroup2"},
		{"cgroups that can't be read", func(f *doctorFacts) { f.cgroupErr = fs.ErrPermission }, "cgroup v2", DoctorMissing, "/sys/fs/cgroup"},
		{"cgroups read-only", func(f *doctorFacts) { f.cgroupReadOnly = true }, "cgroup v2", DoctorMissing, "remount,rw"},
		{"no memory controller", func(f *doctorFacts) { f.cgroup.Controllers = []string{"cpu"} }, "cgroup memory", DoctorMissing, "cgroup_enable=memory"},
		{"no pids controller", func(f *doctorFacts) { f.cgroup.Controllers = []string{"cpu"} }, "cgroup pids", DoctorMissing, "kernel"},
		{"no overlay", func(f *doctorFacts) { f.overlay = unix.ENODEV }, "overlayfs", DoctorMissing, "modprobe overlay"},
		{"overlay on overlay", func(f *doctorFacts) { f.rootUnfit = "overlayfs" }, "overlayfs", DoctorMissing, "--root"},
		{"no time namespace", func(f *doctorFacts) { f.namespaces["time"] = fs.ErrNotExist }, "namespace time", DoctorMissing, "kernel"},
		{"no user namespace in the kernel", func(f *doctorFacts) { f.namespaces["user"] = unix.EINVAL }, "namespace user", DoctorMissing, "kernel"},
		{"too many namespaces", func(f *doctorFacts) { f.namespaces["net"] = unix.ENOSPC }, "namespace net", DoctorMissing, "sysctl -w user.max_net_namespaces="},
		{"a sandbox forbids namespaces", func(f *doctorFacts) { f.namespaces["pid"] = unix.EPERM }, "namespace pid", DoctorMissing, "sandbox"},
		{"a user may not", func(f *doctorFacts) { f.namespaces["pid"], f.euid = unix.EPERM, 7 }, "namespace pid", DoctorMissing, "sudo"},
		{"user namespaces forbidden", func(f *doctorFacts) { f.sysctls["user.max_user_namespaces"] = "0" }, "userns limit", DoctorMissing, "sysctl -w user.max_user_namespaces="},
		{"user namespaces not built in", func(f *doctorFacts) { delete(f.sysctls, "user.max_user_namespaces") }, "userns limit", DoctorMissing, "kernel"},
		{"Debian's switch", func(f *doctorFacts) { f.sysctls["kernel.unprivileged_userns_clone"] = "0" }, "userns unprivileged", DoctorWarning, "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Debian's switch for a user", func(f *doctorFacts) { f.sysctls["kernel.unprivileged_userns_clone"], f.euid = "0", 7 }, "userns unprivileged", DoctorMissing, "=1"},
		{"Ubuntu's switch", func(f *doctorFacts) { f.sysctls["kernel.apparmor_restrict_unprivileged_userns"] = "1" }, "userns apparmor", DoctorWarning, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"no subuid", func(f *doctorFacts) { f.subIDs["/etc/subuid"] = nil }, "/etc/subuid", DoctorWarning, "usermod --add-subuids 100000-165535 root"},
		{"small subgid", func(f *doctorFacts) { f.subIDs["/etc/subgid"][0].count = 1000 }, "/etc/subgid", DoctorWarning, "usermod --add-subgids"},
		{"no seccomp", func(f *doctorFacts) { f.seccomp = unix.EINVAL }, "seccomp", DoctorMissing, "CONFIG_SECCOMP_FILTER"},
		{"no nftables", func(f *doctorFacts) { f.nftables = unix.EPROTONOSUPPORT }, "nftables", DoctorMissing, "modprobe nf_tables"},
		{"a firewall that drops", func(f *doctorFacts) {
			f.obstacles = []netns.Obstacle{{Chain: "ip filter FORWARD", Owner: "Docker", Fix: []string{"iptables -I DOCKER-USER -i minidock0 -j ACCEPT"}}}
		}, "forwarding", DoctorWarning, "iptables -I DOCKER-USER -i minidock0 -j ACCEPT"},
		{"a flushed ruleset", func(f *doctorFacts) { f.unruled = []string{"shop", "back"} }, "network rules", DoctorMissing, "minidock restart CONTAINER"},
		{"nftables for a user", func(f *doctorFacts) { f.nftables, f.euid = unix.EPERM, 7 }, "nftables", DoctorMissing, "sudo"},
		{"no tini", func(f *doctorFacts) { f.tini = "" }, "tini", DoctorMissing, "apt-get install tini"},
		{"little space", func(f *doctorFacts) { f.space = 500 << 20 }, "space", DoctorWarning, "--root"},
		{"no space", func(f *doctorFacts) { f.space = 1 << 20 }, "space", DoctorMissing, "--root"},
		{"no place", func(f *doctorFacts) { f.spaceErr = fs.ErrPermission }, "space", DoctorMissing, "--root"},
		{"no kvm where the lab VM is needed", func(f *doctorFacts) { spoilHybrid(f); f.kvm = errors.New("none") }, "kvm", DoctorWarning, "virtualisation"},
		{"kvm for others only", func(f *doctorFacts) { spoilHybrid(f); f.kvm = fs.ErrPermission }, "kvm", DoctorWarning, "usermod -aG kvm"},
		{"no kvm where limits work", func(f *doctorFacts) { f.kvm = errors.New("none") }, "kvm", DoctorOK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := soundDoctorFacts()
			c.spoil(&facts)
			checks := checkDoctorFacts(facts)
			at := slices.IndexFunc(checks, func(check DoctorCheck) bool { return check.Name == c.line })
			if at < 0 {
				t.Fatalf("no line %q", c.line)
			}
			if got := checks[at]; got.Verdict != c.verdict || !strings.Contains(got.Fix, c.fix) || (got.Fix == "") != (c.verdict == DoctorOK) {
				t.Errorf("%+v", got)
			}
			if strings.Contains(checks[at].Detail+checks[at].Fix, "\n") {
				t.Errorf("%q is more than a line", checks[at])
			}
		})
	}
}

func spoilHybrid(f *doctorFacts) {
	f.cgroup.Mode, f.cgroup.Controllers = cgroups.Hybrid, []string{"hugetlb"}
	f.legacyTrees = []string{"blkio", "cpu", "cpuset", "memory", "pids"}
}

func TestOnlyMissingFeaturesOfTheKernelAreNamed(t *testing.T) {
	facts := soundDoctorFacts()
	facts.release = "5.15.0"
	detail := facts.checkKernel().Detail
	if !strings.Contains(detail, "id-mapped") || strings.Contains(detail, "cgroup.kill") || strings.Contains(detail, "time") {
		t.Errorf("%q", detail)
	}
}

func TestTheDoctorLeavesTheHostAsItWas(t *testing.T) {
	require.Needs(t, require.Linux)
	root := filepath.Join(t.TempDir(), "not", "made")
	before := doctorTraces(t)
	checks := CheckHost(root)
	if after := doctorTraces(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := os.Stat(filepath.Dir(root)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was made", root)
	}
	names := map[string]bool{}
	for _, check := range checks {
		if names[check.Name] || check.Detail == "" || (check.Fix == "") != (check.Verdict == DoctorOK) {
			t.Errorf("%+v", check)
		}
		names[check.Name] = true
	}
}

// doctorTraces is what a careless check would change: namespaces and mounts.
func doctorTraces(t *testing.T) string {
	t.Helper()
	var all []string
	for _, ns := range doctorNamespaces {
		link, _ := os.Readlink("/proc/self/ns/" + ns.name)
		all = append(all, link)
	}
	for _, name := range []string{"pid_for_children", "time_for_children"} {
		link, _ := os.Readlink("/proc/self/ns/" + name)
		all = append(all, link)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(all, string(mounts)), "\n")
}

func TestNamespacesAreReallyTried(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces)
	for _, ns := range doctorNamespaces {
		if err := tryNamespace(ns); err != nil {
			t.Errorf("%s: %v", ns.name, err)
		}
	}
	if err := tryNamespace(doctorNamespace{name: "mnt", flag: 1 << 3}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a flag that unshare(2) does not know: %v", err)
	}
	if err := tryNamespace(doctorNamespace{name: "none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a namespace that there is not: %v", err)
	}
}

func TestVirtualisationIsReadFromTheProcessorsFlags(t *testing.T) {
	for text, want := range map[string]bool{
		"processor: 0\nflags\t\t: fpu vmx sse\n": true, "flags: svm\n": true, "flags: fpu svmx\n": false,
		"model name: vmx\n": false, "": false, "vmx flags: vnmi\nflags : fpu\n": false,
	} {
		if got := hasVirtualisation(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestFileSystemsThatCannotHoldLayersAreNamed(t *testing.T) {
	for magic, want := range map[int64]string{unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.NFS_SUPER_MAGIC: "NFS", unix.EXT4_SUPER_MAGIC: "", unix.TMPFS_MAGIC: ""} {
		if got := unfitForLayers(magic); got != want {
			t.Errorf("%#x: %q, want %q", magic, got, want)
		}
	}
}
