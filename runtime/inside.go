package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// inside tells what libcontainer does between Start and the moment when the
// container's init waits to become the program, in its order. It is written from
// the very configuration that libcontainer is given; a test holds it against a
// system call trace of real runs.
type inside struct {
	list    []steps.Step
	host    cgroups.Host
	config  *configs.Config
	process *libcontainer.Process
}

// insideSteps tells it all, outside and inside of the new namespaces.
func insideSteps(l Layout, host cgroups.Host, id string, config *configs.Config, p *libcontainer.Process) []steps.Step {
	t := &inside{host: host, config: config, process: p}
	t.stateDirectory(libcontainerDir(l, id))
	t.list = append(t.list, cgroups.JoinSteps(host, l.CgroupPath(id))...)
	t.list = append(t.list, cgroups.DeviceSteps(host, l.CgroupPath(id), deviceRules(config))...)
	t.namespaces()
	t.rlimits()
	t.keyring(id)
	t.prepareRoot()
	for _, m := range config.Mounts {
		t.mount(m)
	}
	t.deviceNodes()
	t.pivot()
	t.names()
	t.walls()
	t.privileges()
	return t.list
}

func (t *inside) add(s steps.Step) {
	s.Inside = true
	t.list = append(t.list, s)
}

func (t *inside) stateDirectory(dir string) {
	t.list = append(t.list, steps.Step{
		Kind: "directory", Target: dir,
		Why:   "Give libcontainer a directory for its own state, and a fifo on which init will wait for the word to begin.",
		Call:  []string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0711)", dir), fmt.Sprintf("mknodat(AT_FDCWD, %q, S_IFIFO|0622)", dir+"/exec.fifo")},
		Shell: []string{"mkdir -p -m 711 " + dir, "mkfifo -m 622 " + dir + "/exec.fifo"},
		Undo:  "rm -r " + dir,
		See:   "jq . " + dir + "/state.json",
		Man:   "mkdir(2), fifo(7)",
	})
}

// deviceRules writes what libcontainer will allow as the device controller does.
func deviceRules(config *configs.Config) []string {
	var rules []string
	for _, d := range config.Cgroups.Devices {
		if d.Allow {
			rules = append(rules, d.CgroupString())
		}
	}
	return rules
}

// namespaceFlags are the CLONE_NEW constants of clone(2) by namespace, and the
// letters that unshare(1) has for them.
func namespaceFlags(t configs.NamespaceType) (flag, option string) {
	switch t {
	case configs.NEWTIME:
		return "CLONE_NEWTIME", "--time"
	case configs.NEWNS:
		return "CLONE_NEWNS", "--mount"
	case configs.NEWCGROUP:
		return "CLONE_NEWCGROUP", "--cgroup"
	case configs.NEWUTS:
		return "CLONE_NEWUTS", "--uts"
	case configs.NEWIPC:
		return "CLONE_NEWIPC", "--ipc"
	case configs.NEWPID:
		return "CLONE_NEWPID", "--pid --fork"
	case configs.NEWNET:
		return "CLONE_NEWNET", "--net"
	}
	return "", ""
}

func (t *inside) namespaces() {
	var flags, options []string
	for _, ns := range t.config.Namespaces {
		flag, option := namespaceFlags(ns.Type)
		flags, options = append(flags, flag), append(options, option)
	}
	t.add(steps.Step{
		Kind: "namespace", Target: strings.Join(flags, "|"),
		Why:   "Cut a new process off from the host: its own mounts, host name, IPC, processes, network, cgroup root and clocks. Its first child becomes PID 1 in there.",
		Call:  []string{"clone(CLONE_PARENT|SIGCHLD)", "unshare(" + strings.Join(flags, "|") + ")", "clone(CLONE_PARENT|SIGCHLD)"},
		Shell: []string{"unshare " + strings.Join(options, " ") + " sh"},
		See:   "lsns", Man: "namespaces(7), unshare(2), pid_namespaces(7)",
	})
	t.add(steps.Step{
		Kind: "identity", Target: "root in the new namespaces",
		Why:   "Be root, user 0 and group 0, while the container's world is being built.",
		Call:  []string{"setuid(0)", "setgid(0)"},
		Shell: []string{"id -u"},
		See:   "grep -E '^[UG]id' /proc/self/status", Man: "setuid(2), setgid(2)",
	})
	t.list = append(t.list, steps.Step{
		Kind: "namespace", Target: "the monitor's helper thread",
		Why:   "Let one thread of the monitor step into the container's mount namespace, to open there what init may not open by itself.",
		Call:  []string{"unshare(CLONE_FS)", "setns(mnt, CLONE_NEWNS)"},
		Shell: []string{"nsenter --mount=/proc/PID/ns/mnt true"},
		Man:   "setns(2)",
	})
	t.add(steps.Step{
		Kind: "link", Target: "lo",
		Why:   "Bring up the loopback link: a new network namespace has it, but down.",
		Call:  []string{"sendto(netlink, RTM_NEWLINK lo IFF_UP)"},
		Shell: []string{"ip link set lo up"},
		See:   "ip address show lo", Man: "network_namespaces(7), rtnetlink(7)",
	})
}

func (t *inside) rlimits() {
	for _, r := range t.process.Rlimits {
		t.list = append(t.list, steps.Step{
			Kind: "rlimit", Target: rlimitName(r.Type),
			Why:   "Limit one resource of the container's first process; its children inherit the limit.",
			Call:  []string{fmt.Sprintf("prlimit64(init, %s, {rlim_cur=%s, rlim_max=%s}, NULL)", rlimitName(r.Type), rlimitValue(r.Soft), rlimitValue(r.Hard))},
			Shell: []string{fmt.Sprintf("prlimit --pid PID --%s=%s:%s", strings.ToLower(strings.TrimPrefix(rlimitName(r.Type), "RLIMIT_")), rlimitValue(r.Soft), rlimitValue(r.Hard))},
			See:   "cat /proc/PID/limits", Man: "getrlimit(2)",
		})
	}
}

func (t *inside) keyring(id string) {
	t.add(steps.Step{
		Kind: "keyring", Target: "_ses." + id,
		Why:   "Join a new session keyring, so that the container doesn't find the host's keys.",
		Call:  []string{fmt.Sprintf("keyctl(KEYCTL_JOIN_SESSION_KEYRING, %q)", "_ses."+id)},
		Shell: []string{"keyctl session _ses." + id},
		See:   "cat /proc/keys", Man: "keyctl(2), session-keyring(7)",
	})
}

// prepareRoot makes the root file system a mount that can be pivoted to.
func (t *inside) prepareRoot() {
	t.propagation("/", unix.MS_SLAVE|unix.MS_REC, "Stop mounts made in here from spreading to the host; the host's may still come in.")
	t.propagation(t.config.Rootfs, unix.MS_PRIVATE, "pivot_root needs the mount around the new root to be private.")
	t.mountStep("/", mountCall{t.config.Rootfs, t.config.Rootfs, "", unix.MS_BIND | unix.MS_REC, ""},
		"Bind the root file system onto itself: pivot_root wants it to be a mount of this namespace.")
}

func (t *inside) propagation(target string, flags int, why string) {
	t.mountStep(target, mountCall{"", target, "", flags, ""}, why)
}

func (t *inside) mount(m *configs.Mount) {
	target := filepath.Join(t.config.Rootfs, m.Destination)
	if m.Device == "cgroup" {
		t.mountCgroup(m, target)
		return
	}
	data := m.Data
	why := whyMounted(m.Destination)
	if m.IsBind() {
		data = ""
	}
	t.mountStep(m.Destination, mountCall{m.Source, target, m.Device, m.Flags, data}, why)
	if m.IsBind() && m.Flags&unix.MS_RDONLY != 0 {
		t.mountStep(m.Destination, mountCall{"", target, "", m.Flags | unix.MS_REMOUNT, ""}, "Make the bind mount read-only: binding itself ignores the flag.")
	}
	for _, flags := range m.PropagationFlags {
		t.propagation(target, flags, "Keep mounts under it from spreading in or out.")
	}
}

// mountCgroup shows the container its own group: one tree on cgroup v2, one
// mount for each controller on v1.
func (t *inside) mountCgroup(m *configs.Mount, target string) {
	hierarchies := t.host.Legacy()
	if len(hierarchies) == 0 {
		t.mountStep(m.Destination, mountCall{m.Source, target, "cgroup2", m.Flags, m.Data}, whyMounted(m.Destination))
		return
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	t.mountStep(m.Destination, mountCall{"tmpfs", target, "tmpfs", flags, "mode=755"}, "Make room for one mount per cgroup v1 controller.")
	for _, name := range hierarchies {
		source, data := "cgroup", name
		if name == "systemd" {
			source, data = "systemd", "name=systemd"
		}
		t.mountStep(m.Destination+"/"+name, mountCall{source, target + "/" + name, "cgroup", flags | m.Flags&unix.MS_RDONLY, data},
			"Show the container its own group of this cgroup v1 controller.")
	}
}

// whyMounted explains each of the file systems that every container gets.
func whyMounted(destination string) string {
	switch destination {
	case "/proc":
		return "Mount a process file system of the new PID namespace: the container sees its own processes only."
	case "/dev":
		return "Give the container a /dev of its own, in memory; the host's devices stay out of sight."
	case "/dev/pts":
		return "Give it pseudo-terminals of its own, so that it can't reach the host's."
	case "/sys":
		return "Show the kernel's view of the new network namespace, read-only."
	case "/sys/fs/cgroup":
		return "Show the container its own cgroup, read-only: it can see its limits and not lift them."
	case "/dev/mqueue":
		return "Give it POSIX message queues of its own IPC namespace."
	case "/dev/shm":
		return "Give it shared memory of its own, 64 MiB as Docker does."
	case initPath:
		return "Lend the container a tiny init, which reaps zombies and passes signals on."
	}
	return "Put the container's own " + destination + " over the image's."
}

func (t *inside) deviceNodes() {
	var calls, shell []string
	for _, d := range t.config.Devices {
		kind, mode := "S_IFCHR", "c"
		if d.Type == 'b' {
			kind, mode = "S_IFBLK", "b"
		}
		calls = append(calls, fmt.Sprintf("mknodat(%q, %q, %s|0%o, makedev(%#x, %#x))",
			filepath.Join(t.config.Rootfs, filepath.Dir(d.Path)), filepath.Base(d.Path), kind, d.FileMode.Perm(), d.Major, d.Minor))
		shell = append(shell, fmt.Sprintf("mknod -m %o %s%s %s %d %d", d.FileMode.Perm(), t.config.Rootfs, d.Path, mode, d.Major, d.Minor))
	}
	dev := filepath.Join(t.config.Rootfs, "dev")
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		calls = append(calls, fmt.Sprintf("symlinkat(%q, %q, %q)", to, dev, link))
		shell = append(shell, fmt.Sprintf("ln -s %s %s/%s", to, dev, link))
	}
	slices.Sort(shell[len(t.config.Devices):])
	slices.Sort(calls[len(t.config.Devices):])
	t.add(steps.Step{
		Kind: "device", Target: "/dev",
		Why:  "Make the few device nodes that every program expects; what may be done with any other is up to the device rules of the cgroup.",
		Call: calls, Shell: shell, See: "ls -l /dev", Man: "mknod(2)",
	})
}

func (t *inside) pivot() {
	t.add(steps.Step{
		Kind: "pivot_root", Target: t.config.Rootfs,
		Why:   "Make the container's tree the root, and let go of the host's: unlike chroot there is nothing left to climb back to.",
		Call:  []string{`pivot_root(".", ".")`, `mount("", ".", NULL, MS_REC|MS_SLAVE, NULL)`, `umount2(".", MNT_DETACH)`, `chdir("/")`},
		Shell: []string{"cd " + t.config.Rootfs, "pivot_root . .", "mount --make-rslave .", "umount -l .", "cd /"},
		See:   "ls /", Man: "pivot_root(2)",
	})
	if t.config.Readonlyfs {
		t.mountStep("/", mountCall{"", "/", "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, ""}, "Make the root file system read-only, as asked.")
	}
}

func (t *inside) names() {
	t.add(steps.Step{
		Kind: "hostname", Target: t.config.Hostname,
		Why:   "Name the host that the container believes to be.",
		Call:  []string{fmt.Sprintf("sethostname(%q, %d)", t.config.Hostname, len(t.config.Hostname))},
		Shell: []string{"hostname " + t.config.Hostname},
		See:   "hostname", Man: "sethostname(2), uts_namespaces(7)",
	})
	for _, key := range sortedKeys(t.config.Sysctl) {
		path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
		value := t.config.Sysctl[key]
		t.add(steps.Step{
			Kind: "sysctl", Target: key,
			Why:   "Set a kernel parameter of the new namespaces, as Docker does: any port and ping without privileges, since the network is the container's own.",
			Call:  []string{fmt.Sprintf("write(%q, %q)", path, value)},
			Shell: []string{fmt.Sprintf("sysctl -w %s=%s", key, steps.ShellQuote(value))},
			See:   "cat " + path, Man: "sysctl(8), kernel Documentation/networking/ip-sysctl.rst",
		})
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// walls hides what /proc and /sys would tell or let change of the host.
func (t *inside) walls() {
	for _, path := range t.config.ReadonlyPaths {
		if !exists(path) {
			continue
		}
		t.mountStep(path, mountCall{path, path, "", unix.MS_BIND | unix.MS_REC, ""}, "Bind the path onto itself, so that it can have flags of its own.")
		t.mountStep(path, mountCall{path, path, "", unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_REMOUNT | unix.MS_BIND, ""},
			"Make it read-only: these settings are the host's, not the container's.")
	}
	shared := ""
	for _, path := range t.config.MaskPaths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
		case !info.IsDir():
			t.mountStep(path, mountCall{"/dev/null", path, "", unix.MS_BIND, ""}, "Hide a file that tells of the host, behind /dev/null.")
		case shared == "":
			shared = path
			t.mountStep(path, mountCall{"tmpfs", path, "tmpfs", unix.MS_RDONLY, "nr_blocks=1,nr_inodes=1"}, "Hide a directory that tells of the host, behind an empty one.")
		default:
			t.mountStep(path, mountCall{shared, path, "", unix.MS_BIND, ""}, "Hide a directory that tells of the host, behind the same empty one.")
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// privileges is the last that init does as root. The filter comes early unless
// no_new_privs allows it to come last.
func (t *inside) privileges() {
	early := !*t.process.NoNewPrivileges
	if !early {
		t.add(steps.Step{
			Kind: "no_new_privs", Target: "init",
			Why:   "Promise that execve will never again give more rights: no setuid program, no file capabilities.",
			Call:  []string{"prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)"},
			Shell: []string{"setpriv --no-new-privs sh"},
			See:   "grep NoNewPrivs /proc/PID/status", Man: "prctl(2)",
		})
	}
	if early {
		t.seccomp()
	}
	t.user()
	if !early {
		t.seccomp()
	}
}

func (t *inside) seccomp() {
	if t.config.Seccomp == nil {
		return
	}
	t.add(steps.Step{
		Kind: "seccomp", Target: "init",
		Why:   fmt.Sprintf("Load a filter that checks every system call: %d groups of calls are named in the profile, any other gives EPERM.", len(t.config.Seccomp.Syscalls)),
		Call:  []string{"seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {…})"},
		Shell: []string{"# no command loads a profile by hand; see libseccomp's scmp_bpf_disasm"},
		See:   "grep Seccomp /proc/PID/status", Man: "seccomp(2)",
	})
}

func (t *inside) user() {
	p, caps := t.process, t.process.Capabilities
	t.add(steps.Step{
		Kind: "capability", Target: "bounding set",
		Why:   fmt.Sprintf("Drop for ever every capability but %d: not even a setuid program can get the others back.", len(caps.Bounding)),
		Call:  []string{"prctl(PR_CAPBSET_DROP, …)"},
		Shell: []string{"setpriv --bounding-set " + setprivList(caps.Bounding) + " sh"},
		See:   "grep CapBnd /proc/PID/status", Man: "capabilities(7), prctl(2)",
	})
	groups := "NULL"
	if len(p.AdditionalGroups) > 0 {
		groups = strings.Trim(strings.ReplaceAll(fmt.Sprint(p.AdditionalGroups), " ", ", "), " ")
	}
	t.add(steps.Step{
		Kind: "identity", Target: fmt.Sprintf("%d:%d", p.UID, p.GID),
		Why:   "Become the user that the image or the command line asks for.",
		Call:  []string{fmt.Sprintf("setgroups(%d, %s)", len(p.AdditionalGroups), groups), fmt.Sprintf("setgid(%d)", p.GID), fmt.Sprintf("setuid(%d)", p.UID)},
		Shell: []string{fmt.Sprintf("setpriv --reuid %d --regid %d --clear-groups sh", p.UID, p.GID)},
		See:   "grep -E '^[UG]id|Groups' /proc/PID/status", Man: "setgroups(2), setgid(2), setuid(2)",
	})
	t.add(steps.Step{
		Kind: "capability", Target: "effective and permitted set",
		Why:   fmt.Sprintf("Hold only %d capabilities from here on.", len(caps.Effective)),
		Call:  []string{"capset(effective=permitted=" + strings.Join(caps.Effective, "|") + ", inheritable=0)"},
		Shell: []string{"capsh --caps=" + strings.ToLower(strings.Join(caps.Effective, ",")) + "+ep --"},
		See:   "grep -E 'CapEff|CapPrm' /proc/PID/status", Man: "capset(2), capabilities(7)",
	})
}

// setprivList writes capabilities as setpriv(1) takes them.
func setprivList(caps []string) string {
	list := []string{"-all"}
	for _, c := range caps {
		list = append(list, "+"+strings.ToLower(strings.TrimPrefix(c, "CAP_")))
	}
	return strings.Join(list, ",")
}

// execStep is what the word to begin sets off.
func execStep(p *libcontainer.Process, pid int) steps.Step {
	quoted := make([]string, len(p.Args))
	for i, a := range p.Args {
		quoted[i] = steps.ShellQuote(a)
	}
	return steps.Step{
		Kind: "exec", Target: p.Args[0], Inside: true,
		Why:   "Let the waiting init become the program: the same process, the same PID 1, a new text.",
		Call:  []string{fmt.Sprintf("execve(%q, …)", p.Args[0])},
		Shell: []string{"exec " + strings.Join(quoted, " ")},
		See:   fmt.Sprintf("tr '\\0' ' ' < /proc/%d/cmdline", pid),
		Man:   "execve(2)",
	}
}
