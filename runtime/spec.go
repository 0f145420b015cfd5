package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// initPath is where --init puts tini in the container, as Docker does.
const initPath = "/sbin/docker-init"

// Spec writes a container as an OCI runtime specification: Docker's defaults,
// changed by what the user asked for. Its root file system is the container's
// directory "merged", in which the user is looked up: it has to be there. network
// is the file of the network namespace to join; "" makes a new one.
func Spec(l Layout, c *Config, network string) (*specs.Spec, error) {
	caps, err := capabilitiesOf(c.CapAdd, c.CapDrop, c.Privileged)
	if err != nil {
		return nil, err
	}
	dir := l.Container(c.ID)
	process, err := processOf(c, caps, filepath.Join(dir, "merged"))
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version:  specs.Version,
		Root:     &specs.Root{Path: filepath.Join(dir, "merged"), Readonly: c.ReadOnly},
		Hostname: c.Hostname,
		Process:  process,
		Mounts:   mountsOf(l, c),
		Linux: &specs.Linux{
			Namespaces:    namespaces(c.Network.Mode, network),
			CgroupsPath:   l.CgroupPath(c.ID),
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: readonlyPaths(),
			Resources:     &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
			Sysctl:        sysctls(c.Network),
		},
	}
	if c.Privileged {
		unlock(spec)
	}
	spec.Linux.Seccomp, err = seccompOf(c, spec)
	return spec, err
}

// sysctls are those that Docker sets: the NIS domain name, and in a network namespace
// that is the container's own, that any user may bind any port and send an echo
// request (kernel, admin-guide/sysctl/kernel.rst, networking/ip-sysctl.rst).
func sysctls(n NetworkConfig) map[string]string {
	all := map[string]string{}
	if n.Domainname != "" {
		all["kernel.domainname"] = n.Domainname
	}
	if _, shares := n.shares(); !shares && n.Mode != netns.Host {
		all["net.ipv4.ip_unprivileged_port_start"], all["net.ipv4.ping_group_range"] = "0", "0 2147483647"
	}
	return all
}

// namespaces lists what the container does not share with the host: all but the
// user namespace (namespaces(7)), and but the network with the mode host. A private
// time namespace where the kernel has it.
func namespaces(mode, network string) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{
		{Type: specs.MountNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.PIDNamespace},
		{Type: specs.CgroupNamespace},
	}
	if mode != netns.Host {
		list = slices.Insert(list, 4, specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: network})
	}
	if _, err := os.Stat("/proc/self/ns/time"); err == nil {
		list = append(list, specs.LinuxNamespace{Type: specs.TimeNamespace})
	}
	return list
}

// processOf describes PID 1: who it is and what it may do. Only root starts with
// capabilities in effect; any other user has them in its bounding set alone, as
// execve(2) would leave it.
func processOf(c *Config, caps []string, rootfs string) (*specs.Process, error) {
	user, err := userOf(rootfs, c.User)
	if err != nil {
		return nil, err
	}
	p := &specs.Process{
		Args: c.Args, Env: c.Env, Cwd: c.Workdir, User: user,
		NoNewPrivileges: c.NoNewPrivileges,
		Capabilities:    &specs.LinuxCapabilities{Bounding: caps},
	}
	if user.UID == 0 {
		p.Capabilities.Effective, p.Capabilities.Permitted = caps, caps
	}
	if c.Init {
		p.Args = append([]string{initPath, "--"}, c.Args...)
	}
	for _, u := range c.Ulimits {
		p.Rlimits = append(p.Rlimits, specs.POSIXRlimit{
			Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: rlimit(u.Soft), Hard: rlimit(u.Hard),
		})
	}
	return p, nil
}

// rlimit turns -1 into RLIM_INFINITY (getrlimit(2)).
func rlimit(v int64) uint64 { return uint64(v) }

// shmSize is how many bytes /dev/shm may hold: Docker's default.
const shmSize = 64 << 20

// mountsOf lists the file systems that Docker gives every container, in its order.
func mountsOf(l Layout, c *Config) []specs.Mount {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.Itoa(shmSize)}},
	}
	files := netns.Files()
	for _, name := range []string{"resolv.conf", "hostname", "hosts"} {
		mounts = append(mounts, bind(filepath.Join(l.Container(c.namesOf()), name), files[name]))
	}
	if c.Init {
		mounts = append(mounts, bind(tiniPath(), initPath, "ro"))
	}
	return mounts
}

func bind(source, destination string, options ...string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: append([]string{"bind", "rprivate"}, options...)}
}

// tiniPath finds the distribution's static tini; "" where it is not installed.
func tiniPath() string {
	for _, path := range []string{"/usr/bin/tini-static", "/sbin/tini-static"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

func maskedPaths() []string {
	paths := []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/sys/devices/virtual/powercap", "/sys/firmware",
	}
	cpus, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	return append(paths, cpus...)
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// unlock takes the walls down that --privileged takes down: nothing masked,
// nothing read-only, every device.
func unlock(spec *specs.Spec) {
	spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
	spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	spec.Linux.Devices = hostDevices("/dev")
	for i, m := range spec.Mounts {
		if m.Destination == "/sys" || m.Destination == "/sys/fs/cgroup" {
			spec.Mounts[i].Options = slices.DeleteFunc(m.Options, func(o string) bool { return o == "ro" })
		}
	}
}

func seccompOf(c *Config, spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	switch {
	case c.Privileged || c.Seccomp == "unconfined":
		return nil, nil
	case c.Seccomp == "builtin":
		return seccomp.GetDefaultProfile(spec)
	}
	profile, err := seccomp.LoadProfile(c.Seccomp, spec)
	if err != nil {
		return nil, &steps.Fault{Msg: "Decoding seccomp profile failed: " + err.Error(), Hint: "See https://docs.docker.com/engine/security/seccomp/ for the format.", Code: 125, Err: err}
	}
	return profile, nil
}

// securityOf reads --security-opt values, in Docker's forms.
func securityOf(options []string) (noNewPrivileges bool, profile string, err error) {
	profile = "builtin"
	for _, option := range options {
		key, value, hasValue := strings.Cut(option, "=")
		switch {
		case key == "no-new-privileges" && (!hasValue || value == "true"):
			noNewPrivileges = true
		case key == "no-new-privileges" && value == "false":
			noNewPrivileges = false
		case key == "seccomp" && hasValue:
			profile, err = seccompProfile(value)
		default:
			err = &steps.Fault{Msg: fmt.Sprintf("invalid --security-opt 1: %q", option), Hint: "minidock knows no-new-privileges, seccomp=unconfined and seccomp=PROFILE.json.", Code: 125}
		}
		if err != nil {
			return false, "", err
		}
	}
	return noNewPrivileges, profile, nil
}

func seccompProfile(value string) (string, error) {
	if value == "unconfined" || value == "builtin" {
		return value, nil
	}
	text, err := os.ReadFile(value)
	if err != nil {
		return "", &steps.Fault{Msg: fmt.Sprintf("opening seccomp profile (%s) failed: %v", value, err), Hint: "Give the path of a JSON profile, or seccomp=unconfined.", Code: 125, Err: err}
	}
	if !json.Valid(text) {
		return "", &steps.Fault{Msg: fmt.Sprintf("compacting json for seccomp profile (%s) failed: not JSON", value), Hint: "Check the file with `jq . " + value + "`.", Code: 125}
	}
	return string(text), nil
}
