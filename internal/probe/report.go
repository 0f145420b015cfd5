package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/probe/atstart"
)

// Report is what a process sees of itself and of the system.
type Report struct {
	Pid      int      `json:"pid"`
	Ppid     int      `json:"ppid"`
	UID      int      `json:"uid"`
	EUID     int      `json:"euid"`
	GID      int      `json:"gid"`
	EGID     int      `json:"egid"`
	Groups   []int    `json:"groups"`
	Hostname string   `json:"hostname"`
	Cwd      string   `json:"cwd"`
	Args     []string `json:"args"`
	Env      []string `json:"env"`
	// Namespaces maps a kind to the kernel's name of it: "pid": "pid:[4026531836]".
	Namespaces map[string]string `json:"namespaces"`
	Mounts     []Mount           `json:"mounts"`
	// Capabilities has the five sets: effective, permitted, inheritable,
	// bounding, ambient.
	Capabilities map[string]CapSet `json:"capabilities"`
	NoNewPrivs   bool              `json:"no_new_privs"`
	Seccomp      Seccomp           `json:"seccomp"`
	// Rlimits is keyed as in ulimit and --ulimit: nofile, nproc, core, …
	Rlimits map[string]Rlimit `json:"rlimits"`
	// CgroupPath holds the lines of /proc/self/cgroup.
	CgroupPath []string `json:"cgroup_path"`
	// Cgroup holds the files of /sys/fs/cgroup that could be read.
	Cgroup  map[string]string `json:"cgroup"`
	Sysctls map[string]string `json:"sysctls"`
	// Files holds what a runtime writes into /etc.
	Files   map[string]string `json:"files"`
	Devices []Device          `json:"devices"`
	// FDs maps the number of each inherited file descriptor to what it refers to.
	FDs map[string]string `json:"fds"`
	// Attempts holds acts that a container must not be able to do.
	Attempts []Attempt `json:"attempts"`
}

// Mount is one line of /proc/self/mountinfo (proc(5)).
type Mount struct {
	Target  string   `json:"target"`
	Type    string   `json:"type"`
	Source  string   `json:"source"`
	Root    string   `json:"root"`
	Options []string `json:"options"`
	// Super holds the options of the file system itself.
	Super []string `json:"super"`
	// Propagation holds the optional fields: shared:N, master:N; none is private.
	Propagation []string `json:"propagation,omitempty"`
}

// CapSet is one set of capabilities (capabilities(7)).
type CapSet struct {
	// Mask is the kernel's 16 hex digits.
	Mask  string   `json:"mask"`
	Names []string `json:"names"`
}

// Seccomp is 0 for none, 1 for strict, 2 for filters, and how many of those.
type Seccomp struct {
	Mode    int `json:"mode"`
	Filters int `json:"filters"`
}

// Rlimit is a resource limit; "unlimited" or a number, as the shell says it.
type Rlimit struct {
	Soft string `json:"soft"`
	Hard string `json:"hard"`
}

// Device is an entry below /dev.
type Device struct {
	Name string `json:"name"`
	// Type is char, block, link, dir or file.
	Type string `json:"type"`
	// Number is "major:minor" of a char or block device.
	Number string `json:"number,omitempty"`
	// Target is where a link leads.
	Target string `json:"target,omitempty"`
	// Mode holds the permission bits in octal, as in "0666".
	Mode string `json:"mode"`
}

func report([]string) error {
	r, err := look()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func look() (Report, error) {
	r := Report{FDs: descriptors()}
	r.identity()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return r, fmt.Errorf("look at this process: %w", err)
	}
	if err := r.privileges(statusFields(text)); err != nil {
		return r, err
	}
	if r.Mounts, err = mounts(); err != nil {
		return r, err
	}
	if r.Devices, err = devices(); err != nil {
		return r, err
	}
	r.Namespaces = namespaces()
	r.Rlimits = rlimits()
	r.CgroupPath = strings.Fields(contents("/proc/self/cgroup")["/proc/self/cgroup"])
	r.Cgroup = cgroupFiles()
	r.Sysctls = contents("/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ping_group_range")
	r.Files = contents("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
	r.Attempts = attempts()
	return r, nil
}

func (r *Report) identity() {
	r.Pid, r.Ppid = os.Getpid(), os.Getppid()
	r.UID, r.EUID, r.GID, r.EGID = os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid()
	groups, _ := os.Getgroups()
	r.Groups = append([]int{}, groups...)
	r.Hostname, _ = os.Hostname()
	r.Cwd, _ = os.Getwd()
	r.Args, r.Env = os.Args, os.Environ()
}

// statusFields splits the lines "Name:\tvalue" of /proc/PID/status.
func statusFields(text []byte) map[string]string {
	fields := map[string]string{}
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

func (r *Report) privileges(status map[string]string) error {
	r.Capabilities = map[string]CapSet{}
	for set, field := range map[string]string{
		"effective": "CapEff", "permitted": "CapPrm", "inheritable": "CapInh", "bounding": "CapBnd", "ambient": "CapAmb",
	} {
		mask, err := strconv.ParseUint(status[field], 16, 64)
		if err != nil {
			return fmt.Errorf("read %s: %w", field, err)
		}
		r.Capabilities[set] = CapSet{Mask: status[field], Names: capabilityNames(mask)}
	}
	r.NoNewPrivs = status["NoNewPrivs"] == "1"
	var errMode, errFilters error
	r.Seccomp.Mode, errMode = strconv.Atoi(status["Seccomp"])
	r.Seccomp.Filters, errFilters = strconv.Atoi(status["Seccomp_filters"])
	if err := errors.Join(errMode, errFilters); err != nil {
		return fmt.Errorf("read seccomp mode: %w", err)
	}
	return nil
}

func namespaces() map[string]string {
	all := map[string]string{}
	entries, _ := os.ReadDir("/proc/self/ns")
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/ns/" + e.Name()); err == nil {
			all[e.Name()] = target
		}
	}
	return all
}

func mounts() ([]Mount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("look at mounts: %w", err)
	}
	var all []Mount
	for line := range strings.Lines(string(text)) {
		m, err := parseMount(line)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// parseMount reads "36 35 98:0 /root /target options optional… - type source super".
func parseMount(line string) (Mount, error) {
	left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
	a, b := strings.Fields(left), strings.Fields(right)
	if !ok || len(a) < 6 || len(b) < 2 {
		return Mount{}, fmt.Errorf("look at mounts: unexpected line %q", line)
	}
	// An empty source leaves two fields.
	m := Mount{
		Root: unescape(a[3]), Target: unescape(a[4]), Options: strings.Split(a[5], ","), Propagation: a[6:],
		Type: b[0], Super: strings.Split(b[len(b)-1], ","),
	}
	if len(b) > 2 {
		m.Source = unescape(b[1])
	}
	return m, nil
}

// unescape undoes the kernel's octal escapes of space, tab, newline and
// backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// resourceNames is in the kernel's order (include/uapi/asm-generic/resource.h).
func resourceNames() []string {
	return []string{
		"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
		"memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
	}
}

func rlimits() map[string]Rlimit {
	all := map[string]Rlimit{}
	for i, name := range resourceNames() {
		if l := atstart.Limits[i]; l.Known {
			all[name] = Rlimit{Soft: limitText(l.Soft), Hard: limitText(l.Hard)}
		}
	}
	return all
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// contents maps each path that can be read to its text without the last newline.
func contents(paths ...string) map[string]string {
	all := map[string]string{}
	for _, p := range paths {
		if text, err := os.ReadFile(p); err == nil {
			all[p] = strings.TrimSuffix(string(text), "\n")
		}
	}
	return all
}

func cgroupFiles() map[string]string {
	all := map[string]string{}
	for _, name := range []string{
		"cgroup.controllers", "cpu.max", "cpu.weight", "cpuset.cpus.effective", "memory.max", "memory.swap.max",
		"memory.high", "memory.low", "memory.current", "pids.max", "pids.current",
	} {
		if text, err := os.ReadFile("/sys/fs/cgroup/" + name); err == nil {
			all[name] = strings.TrimSpace(string(text))
		}
	}
	return all
}

func devices() ([]Device, error) {
	var all []Device
	err := filepath.WalkDir("/dev", func(path string, entry os.DirEntry, err error) error {
		if err != nil || path == "/dev" {
			return ignoreGone(err)
		}
		d, err := device(path)
		if err != nil {
			return ignoreGone(err)
		}
		all = append(all, d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look at devices: %w", err)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// ignoreGone lets a walk go on past what vanished or is closed to this user.
func ignoreGone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return nil
	}
	return err
}

func device(path string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Device{}, fmt.Errorf("lstat %s: %w", path, err)
	}
	d := Device{Name: path, Type: "file", Mode: fmt.Sprintf("%04o", st.Mode&^unix.S_IFMT)}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		d.Type = "link"
		d.Target, err = os.Readlink(path)
	case unix.S_IFDIR:
		d.Type = "dir"
	case unix.S_IFCHR:
		d.Type, d.Number = "char", deviceNumber(st)
	case unix.S_IFBLK:
		d.Type, d.Number = "block", deviceNumber(st)
	}
	return d, err
}

func deviceNumber(st unix.Stat_t) string {
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// descriptors lists what was inherited: whatever this program or the Go runtime
// opened itself is marked close-on-exec, and what arrived through execve can't
// be. It asks for each number, since listing /proc/self/fd opens one more.
func descriptors() map[string]string {
	inherited := map[string]string{}
	// 1024 numbers: the usual soft limit, far above what a runtime could leak.
	for fd := range 1024 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		name := strconv.Itoa(fd)
		if target, err := os.Readlink("/proc/self/fd/" + name); err == nil {
			inherited[name] = target
		}
	}
	return inherited
}
