// Package require lets a test say what it needs of the machine. A place that
// lacks it skips the test, unless MINIDOCK_MUST says that this place has to
// offer it: then the lack is a failure.
//
//	MINIDOCK_LAYER  unit leaves out every test that needs something; anything else runs all
//	MINIDOCK_MUST   comma-separated needs that must be met here, or "all"
package require

import (
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
)

// Need is something that a test asks of the machine.
type Need string

// What tests can need.
const (
	Linux      Need = "linux"
	Root       Need = "root"
	Namespaces Need = "namespaces"
	Overlay    Need = "overlay"
	Seccomp    Need = "seccomp"
	Strace     Need = "strace"
	Fish       Need = "fish"
	Groff      Need = "groff"
	Zsh        Need = "zsh"
	Iptables   Need = "iptables"
	Dnsmasq    Need = "dnsmasq"
	// BridgeNetfilter is a kernel with br_netfilter, which shows the firewall what a
	// bridge passes on.
	BridgeNetfilter Need = "br_netfilter"
	// CgroupV2 is a pure cgroup v2 host with the cpu, memory and pids controllers.
	CgroupV2 Need = "cgroupv2"
	// CgroupV1 is a host whose controllers are on version 1.
	CgroupV1 Need = "cgroupv1"
)

// Needs skips the test where the machine does not offer what it needs, or fails
// it where MINIDOCK_MUST says that it has to.
func Needs(t testing.TB, needs ...Need) {
	t.Helper()
	if os.Getenv("MINIDOCK_LAYER") == "unit" {
		t.Skipf("belongs to the native and vm layers: needs %v", needs)
	}
	for _, n := range needs {
		reason := missing(n)
		switch {
		case reason == "":
		case must(n):
			t.Fatalf("MINIDOCK_MUST includes %s, but %s", n, reason)
		default:
			t.Skip(reason)
		}
	}
}

// Lacks skips the test for a reason that is no [Need], or fails it where
// MINIDOCK_MUST says that nothing may be lacking.
func Lacks(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("MINIDOCK_MUST") == "all" {
		t.Fatalf("MINIDOCK_MUST is all, but %s", reason)
	}
	t.Skip(reason)
}

// Layers skips the test where another layer of the test suite runs than those
// named, which why tells: the test does run in these. By hand, with no layer set,
// everything runs.
func Layers(t testing.TB, why string, layers ...string) {
	t.Helper()
	layer := os.Getenv("MINIDOCK_LAYER")
	if layer != "" && !slices.Contains(layers, layer) {
		t.Skipf("belongs to the layers %s: %s", strings.Join(layers, ", "), why)
	}
}

func must(n Need) bool {
	for m := range strings.SplitSeq(os.Getenv("MINIDOCK_MUST"), ",") {
		if m == string(n) || m == "all" && n != CgroupV1 {
			return true
		}
	}
	return false
}

// missing says why the machine does not offer n, or "".
func missing(n Need) string {
	switch n {
	case Linux:
		return unless(goruntime.GOOS == "linux", "not Linux")
	case Root:
		return unless(os.Geteuid() == 0, "not root")
	case Namespaces:
		return unless(exists("/proc/self/ns/pid") && exists("/proc/self/ns/cgroup"), "kernel without pid or cgroup namespaces")
	case Overlay:
		return unless(overlay(), "kernel without overlayfs")
	case Seccomp:
		return unless(exists("/proc/sys/kernel/seccomp/actions_avail"), "kernel without seccomp filters")
	case Strace, Fish, Groff, Zsh, Iptables, Dnsmasq:
		_, err := exec.LookPath(string(n))
		return unless(err == nil, string(n)+" is not installed")
	case BridgeNetfilter:
		return unless(exists("/proc/sys/net/bridge"), "kernel without br_netfilter, or the module is not loaded")
	case CgroupV2:
		return unless(controllers("cpu", "memory", "pids"), "needs cgroup v2 with the cpu, memory and pids controllers (the lab VM has it)")
	case CgroupV1:
		return unless(exists("/sys/fs/cgroup/memory/memory.limit_in_bytes"), "no cgroup v1 controllers here")
	}
	return fmt.Sprintf("unknown need %q", n)
}

func unless(ok bool, reason string) string {
	if ok {
		return ""
	}
	return reason
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// overlay loads the module where it is one; /proc/filesystems lists it only then.
func overlay() bool {
	text, _ := os.ReadFile("/proc/filesystems")
	if strings.Contains(string(text), "overlay") {
		return true
	}
	return exec.Command("modprobe", "overlay").Run() == nil
}

func controllers(names ...string) bool {
	text, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	if err != nil {
		return false
	}
	have := " " + strings.TrimSpace(string(text)) + " "
	for _, n := range names {
		if !strings.Contains(have, " "+n+" ") {
			return false
		}
	}
	return true
}
