package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/capability"
	libcgroups "github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// inside tells what libcontainer (runc 1.5.2) does between Start and the moment
// when the container's init waits to become the program, in its order. It is
// written from the very configuration that libcontainer is given; a test holds it
// against a system call trace of real runs.
type inside struct {
	list    []steps.Step
	host    cgroups.Host
	config  *configs.Config
	process *libcontainer.Process
	tree    tree
}

// insideSteps tells it all, outside and inside of the new namespaces. The root
// file system has to be mounted: what is told depends on what the image holds.
func insideSteps(l Layout, host cgroups.Host, id string, config *configs.Config, p *libcontainer.Process) []steps.Step {
	t := &inside{host: host, config: config, process: p, tree: newTree(config.Rootfs)}
	t.stateDirectory(libcontainerDir(l, id))
	t.firstProcess()
	t.list = append(t.list, cgroups.JoinSteps(host, l.CgroupPath(id))...)
	t.namespaces()
	t.ownRlimit()
	t.keyring(id)
	t.loopback()
	t.prepareRoot()
	for _, m := range config.Mounts {
		t.mount(m)
	}
	t.deviceNodes()
	t.list = append(t.list, cgroups.DeviceSteps(host, l.CgroupPath(id), deviceRules(config))...)
	t.pivot()
	t.console()
	t.readonlyRoot()
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
		Shell: []string{"mkdir -p -m 711 " + steps.ShellQuote(dir), "mkfifo -m 622 " + steps.ShellQuote(dir+"/exec.fifo")},
		Undo:  "rm -r " + steps.ShellQuote(dir),
		See:   "jq . " + steps.ShellQuote(dir+"/state.json"),
		Man:   "mkdir(2), fifo(7)",
	})
}

// firstProcess: FD is a copy of minidock that nobody can write to, so that a
// container never gets hold of the host's.
func (t *inside) firstProcess() {
	t.list = append(t.list, steps.Step{
		Kind: "process", Target: "init",
		Why:  "Start minidock once more: that process will build the container around itself, and then become the program.",
		Call: []string{"clone(CLONE_VM|CLONE_PIDFD|CLONE_VFORK|SIGCHLD)", `execve("/proc/self/fd/FD", …)`},
		See:  "ps -e -o pid,ppid,args | grep 'runc:'", Man: "clone(2), execve(2)",
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

// ownedBy is what a namespace gives who is in it (namespaces(7)).
func ownedBy(t configs.NamespaceType) string {
	return map[configs.NamespaceType]string{
		configs.NEWNS: "mounts", configs.NEWUTS: "host name", configs.NEWIPC: "IPC objects", configs.NEWPID: "process numbers",
		configs.NEWNET: "network", configs.NEWCGROUP: "cgroup root", configs.NEWTIME: "clocks",
	}[t]
}

func (t *inside) namespaces() {
	var flags, options, own []string
	fork := "clone(CLONE_PARENT|SIGCHLD)"
	calls := []string{fork}
	for _, ns := range t.config.Namespaces {
		flag, option := namespaceFlags(ns.Type)
		if ns.Path != "" {
			t.joinNamespace(ns.Path, flag, option, fork)
			calls = nil
			continue
		}
		flags, options, own = append(flags, flag), append(options, option), append(own, ownedBy(ns.Type))
	}
	t.add(steps.Step{
		Kind: "namespace", Target: strings.Join(flags, "|"),
		Why:   "Cut a new process off from the host: it gets its own " + strings.Join(own, ", ") + ". Its first child becomes PID 1 in there.",
		Call:  append(calls, "unshare("+strings.Join(flags, "|")+")", fork),
		Shell: []string{"unshare " + strings.Join(options, " ") + " sh"},
		See:   "lsns", Man: "namespaces(7), unshare(2), pid_namespaces(7)",
	})
	t.session("Lead a session of its own, apart from the host's terminals; and be root, user 0 and group 0, while the container's world is being built.")
	t.list = append(t.list, steps.Step{
		Kind: "thread", Target: "the monitor's",
		Why:   "Let one thread of the monitor step into the container's mount namespace, to open there what init may not open by itself.",
		Call:  []string{"unshare(CLONE_FS)", "setns(mnt, CLONE_NEWNS)"},
		Shell: []string{"nsenter --mount=/proc/PID/ns/mnt true"},
		Man:   "setns(2)",
	})
}

// joinNamespace is what comes before the new ones are made: of all namespaces only
// that of the network can be there already.
func (t *inside) joinNamespace(file, flag, option, fork string) {
	t.add(steps.Step{
		Kind: "namespace", Target: file,
		Why:   "Step into the network namespace that is there already, with a new process.",
		Call:  []string{fork, fmt.Sprintf("setns(%q, %s)", file, flag)},
		Shell: []string{"nsenter " + option + "=" + steps.ShellQuote(file) + " sh"},
		See:   "ls -i " + steps.ShellQuote(file) + "; readlink /proc/PID/ns/net", Man: "setns(2), network_namespaces(7)",
	})
}

func (t *inside) session(why string) {
	t.add(steps.Step{
		Kind: "identity", Target: "root in the new namespaces", Why: why,
		Call:  []string{"setsid()", "setuid(0)", "setgid(0)"},
		Shell: []string{"setsid sh", "id -u"},
		See:   "ps -o pid,sid,user -p PID", Man: "setsid(2), setuid(2), setgid(2)",
	})
}

func (t *inside) loopback() {
	if len(t.config.Networks) == 0 {
		return // Whoever made the namespace did it.
	}
	t.add(steps.Step{
		Kind: "link", Target: "lo",
		Why:   "Bring up the loopback link: a new network namespace has it, but down.",
		Call:  []string{`sendto(netlink, RTM_NEWLINK {ifi_index=if_nametoindex("lo"), IFF_UP})`},
		Shell: []string{"ip link set lo up"},
		See:   "ip address show lo", Man: "network_namespaces(7), rtnetlink(7)",
	})
}

// rlimits are set from outside: in a user namespace of its own init could not
// raise them any more.
func (t *inside) rlimits() {
	for _, r := range t.process.Rlimits {
		t.list = append(t.list, rlimitStep(r, "PID", "Limit one resource of the container's first process; its children inherit the limit."))
	}
}

// ownRlimit is told apart from the others, since init sets it for itself.
func (t *inside) ownRlimit() {
	for _, r := range t.process.Rlimits {
		if r.Type == unix.RLIMIT_NOFILE {
			t.add(rlimitStep(r, "0", "Have init forget how many files it could open before: Go would set that limit again when init becomes the program."))
		}
	}
}

func rlimitStep(r configs.Rlimit, pid, why string) steps.Step {
	name := rlimitName(r.Type)
	option := strings.ToLower(strings.TrimPrefix(name, "RLIMIT_"))
	return steps.Step{
		Kind: "rlimit", Target: name, Why: why,
		Call:  []string{fmt.Sprintf("prlimit64(%s, %s, {rlim_cur=%s, rlim_max=%s}, NULL)", pid, name, rlimitValue(r.Soft), rlimitValue(r.Hard))},
		Shell: []string{fmt.Sprintf("prlimit --pid PID --%s=%s:%s", option, shellLimit(r.Soft), shellLimit(r.Hard))},
		See:   "cat /proc/PID/limits", Man: "getrlimit(2)",
	}
}

// shellLimit writes a limit as prlimit(1) takes it.
func shellLimit(v uint64) string {
	if v == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprint(v)
}

func (t *inside) keyring(id string) {
	s := keyringStep(id, "Join a new session keyring, so that the container doesn't find the host's keys.")
	s.Call = append(s.Call, "keyctl(KEYCTL_SETPERM, …)")
	t.add(s)
}

func keyringStep(id, why string) steps.Step {
	return steps.Step{
		Kind: "keyring", Target: "_ses." + id, Why: why,
		Call:  []string{fmt.Sprintf("keyctl(KEYCTL_JOIN_SESSION_KEYRING, %q)", "_ses."+id)},
		Shell: []string{"keyctl session _ses." + id},
		See:   "cat /proc/keys", Man: "keyctl(2), session-keyring(7)",
	}
}

// prepareRoot makes the root file system a mount that can be pivoted to.
func (t *inside) prepareRoot() {
	t.propagation("/", "/", unix.MS_SLAVE|unix.MS_REC, "Stop mounts made in here from spreading to the host; the host's may still come in.")
	t.propagation("/", t.config.Rootfs, unix.MS_PRIVATE, "pivot_root needs the mount around the new root to be private.")
	t.mountStep("/", mountCall{t.config.Rootfs, t.config.Rootfs, "", unix.MS_BIND | unix.MS_REC, ""},
		"Bind the root file system onto itself: pivot_root wants it to be a mount of this namespace.")
}

func (t *inside) propagation(destination, target string, flags int, why string) {
	t.mountStep(destination, mountCall{"", target, "", flags, ""}, why)
}

func (t *inside) mount(m *configs.Mount) {
	at := t.tree.placeFor(m)
	if m.Device == "cgroup" {
		t.mountCgroup(m, at)
		return
	}
	t.mountAt(m.Destination, at, mountCall{m.Source, at.path, m.Device, m.Flags, at.data(m)}, whyMounted(m))
	for _, flags := range m.PropagationFlags {
		t.propagation(m.Destination, at.path, flags, "Keep mounts under it from spreading in or out.")
	}
	const bindOnly = unix.MS_BIND | unix.MS_REC | unix.MS_REMOUNT
	if m.IsBind() && m.Flags&^bindOnly != 0 {
		t.mountStep(m.Destination, mountCall{"", at.path, "", m.Flags | unix.MS_BIND | unix.MS_REMOUNT, ""}, "Make the bind mount read-only: binding itself ignores the flag.")
	}
}

// mountAt tells a mount together with the making of what it is mounted on.
func (t *inside) mountAt(destination string, at place, m mountCall, why string) {
	s := mountStep(destination, m, why)
	s.Call, s.Shell = append(at.calls(), s.Call...), append(at.shell(), s.Shell...)
	t.add(s)
	t.tree.mounted(destination, at, m.kind)
}

// mountCgroup shows the container its own group: one tree on cgroup v2, one
// mount for each controller on v1.
func (t *inside) mountCgroup(m *configs.Mount, at place) {
	if len(t.host.Legacy()) == 0 {
		t.mountAt(m.Destination, at, mountCall{m.Source, at.path, "cgroup2", m.Flags, m.Data}, whyMounted(m))
		return
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	room := &configs.Mount{Destination: m.Destination, Device: "tmpfs", Data: "mode=755"}
	t.mountAt(m.Destination, at, mountCall{"tmpfs", at.path, "tmpfs", flags, at.data(room)}, "Make room for one mount per cgroup v1 controller.")
	names := legacyMounts()
	for _, name := range names {
		source, data := "cgroup", name
		if name == "systemd" {
			source, data = "systemd", "name=systemd"
		}
		destination := m.Destination + "/" + name
		below := t.tree.placeFor(&configs.Mount{Destination: destination})
		t.mountAt(destination, below, mountCall{source, below.path, "cgroup", flags | m.Flags&unix.MS_RDONLY, data},
			"Show the container its own group of this cgroup v1 controller.")
	}
	t.controllerLinks(at.path, names)
}

// legacyMounts names the version 1 trees in the order in which libcontainer
// mounts them, that of mountinfo.
func legacyMounts() []string {
	mounts, err := libcgroups.GetCgroupMounts(false)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range mounts {
		names = append(names, filepath.Base(m.Mountpoint))
	}
	return names
}

// controllerLinks: controllers that share a tree are found by their own names too.
func (t *inside) controllerLinks(dir string, trees []string) {
	s := steps.Step{
		Kind: "symlink", Target: dir, Why: "Give each of the controllers that share a tree a name of its own.",
		See: "ls -l /sys/fs/cgroup", Man: "symlink(2)",
	}
	for _, tree := range trees {
		for name := range strings.SplitSeq(tree, ",") {
			if name != tree {
				s.Call = append(s.Call, fmt.Sprintf("symlinkat(%q, %q, %q)", tree, dir, name))
				s.Shell = append(s.Shell, "ln -s "+tree+" "+steps.ShellQuote(filepath.Join(dir, name)))
			}
		}
	}
	if len(s.Call) > 0 {
		t.add(s)
	}
}

// whyMounted explains each of the file systems that every container gets.
func whyMounted(m *configs.Mount) string {
	writable := m.Flags&unix.MS_RDONLY == 0
	switch destination := m.Destination; destination {
	case "/proc":
		return "Mount a process file system of the new PID namespace: the container sees its own processes only."
	case "/dev":
		return "Give the container a /dev of its own, in memory; the host's devices stay out of sight."
	case "/dev/pts":
		return "Give it pseudo-terminals of its own, so that it can't reach the host's."
	case "/sys":
		if writable {
			return "Show the kernel's view of its devices and of the network namespace; a privileged container may change them."
		}
		return "Show the kernel's view of its devices and of the network namespace, read-only."
	case "/sys/fs/cgroup":
		if writable {
			return "Show the container its own cgroup, which a privileged container may change."
		}
		return "Show the container its own cgroup, read-only: it can see its limits and not lift them."
	case "/dev/mqueue":
		return "Give it POSIX message queues of its own IPC namespace."
	case "/dev/shm":
		return "Give it shared memory of its own, 64 MiB as Docker does."
	case initPath:
		return "Lend the container a tiny init, which reaps zombies and passes signals on."
	}
	return "Put the container's own " + m.Destination + " over the image's."
}

func (t *inside) deviceNodes() {
	s := steps.Step{
		Kind: "device", Target: "/dev",
		Why: "Make the few device nodes that every program expects; what may be done with any other is up to the device rules of the cgroup.",
		See: "ls -l /dev", Man: "mknod(2)",
	}
	for _, d := range t.config.Devices {
		if d.Path == "/dev/ptmx" {
			continue // A link, below.
		}
		dir := t.tree.place(filepath.Dir(d.Path), false)
		t.tree.made(dir)
		s.Call, s.Shell = append(s.Call, dir.calls()...), append(s.Shell, dir.shell()...)
		s.Call = append(s.Call, nodeCall(dir.path, d))
		s.Shell = append(s.Shell, fmt.Sprintf("mknod -m %o %s %c %d %d", d.FileMode.Perm(), steps.ShellQuote(filepath.Join(dir.path, filepath.Base(d.Path))), d.Type, d.Major, d.Minor))
	}
	dev := t.tree.place("/dev", false).path
	for _, l := range deviceLinks() {
		s.Call = append(s.Call, fmt.Sprintf("symlinkat(%q, %q, %q)", l.to, dev, l.name))
		s.Shell = append(s.Shell, "ln -s "+l.to+" "+steps.ShellQuote(filepath.Join(dev, l.name)))
	}
	t.add(s)
}

func nodeCall(dir string, d *devices.Device) string {
	kind := "S_IFCHR"
	if d.Type == devices.BlockDevice {
		kind = "S_IFBLK"
	}
	return fmt.Sprintf("mknodat(%q, %q, %s|0%o, makedev(%s, %s))", dir, filepath.Base(d.Path), kind, d.FileMode.Perm(), hexadecimal(d.Major), hexadecimal(d.Minor))
}

// hexadecimal writes a number as strace does: 0, 0x1.
func hexadecimal(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", n)
}

type deviceLink struct{ name, to string }

// deviceLinks are libcontainer's, in its order; core only where the host has it.
func deviceLinks() []deviceLink {
	links := []deviceLink{
		{"ptmx", "pts/ptmx"}, {"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
	}
	if exists("/proc/kcore") {
		links = append(links, deviceLink{"core", "/proc/kcore"})
	}
	return links
}

// terminalPath is the container's end of the first pseudo-terminal in a new
// /dev/pts, which counts from 0 (pts(4)).
const terminalPath = "/dev/pts/0"

// console opens the terminal of the container's first process, and shows it as
// the console, when the new root is there and can still be written to.
func (t *inside) console() {
	s, has := t.terminalStep(terminalPath,
		"Open a pseudo-terminal in the container's own /dev/pts, show its one end as /dev/console, and send the other to the monitor, who is then what a screen and a keyboard would be.")
	if !has {
		return
	}
	s.Target = "/dev/console"
	s.Call = slices.Insert(s.Call, len(s.Call)-connectCalls,
		`openat(AT_FDCWD, "/dev/console", O_RDONLY|O_CREAT|O_NOFOLLOW|O_CLOEXEC, 0666)`,
		mountCall{terminalPath, "/dev/console", "", unix.MS_BIND, ""}.call())
	s.Shell = slices.Insert(s.Shell, 0, "touch /dev/console", "mount --bind "+terminalPath+" /dev/console")
	t.add(s)
}

// terminal opens the terminal of a further process. Which number it gets is known
// only then: it is the first that is free.
func (t *inside) terminal(why string) {
	if s, has := t.terminalStep("/dev/pts/N", why); has {
		t.add(s)
	}
}

// connectCalls is how many calls of a terminal's step come after the opening.
const connectCalls = 4

func (t *inside) terminalStep(path, why string) (s steps.Step, has bool) {
	if t.process.ConsoleSocket == nil {
		return s, false
	}
	calls := []string{
		`openat(AT_FDCWD, "/dev/pts/ptmx", O_RDWR|O_NOCTTY|O_CLOEXEC)`,
		`ioctl("/dev/pts/ptmx", TIOCSPTLCK, [0])`,
		`ioctl("/dev/pts/ptmx", TIOCGPTPEER, O_RDWR|O_NOCTTY|O_CLOEXEC)`,
	}
	if p := t.process; p.ConsoleHeight != 0 && p.ConsoleWidth != 0 {
		calls = append(calls, fmt.Sprintf(`ioctl("/dev/pts/ptmx", TIOCSWINSZ, {ws_row=%d, ws_col=%d, …})`, p.ConsoleHeight, p.ConsoleWidth))
	}
	for fd := range 3 {
		calls = append(calls, fmt.Sprintf("dup3(%q, %d, 0)", path, fd))
	}
	return steps.Step{
		Kind: "terminal", Target: path, Why: why,
		Call:  append(calls, fmt.Sprintf("ioctl(%q, TIOCSCTTY, 0)", path)),
		Shell: []string{"setsid --ctty sh < " + path + " > " + path + " 2>&1"},
		See:   "tty; stty -a", Man: "pty(7), pts(4), ioctl_tty(2)",
	}, true
}

func (t *inside) pivot() {
	root := t.config.Rootfs
	t.add(steps.Step{
		Kind: "pivot_root", Target: root,
		Why:   "Make the container's tree the root, and let go of the host's: unlike chroot there is nothing left to climb back to.",
		Call:  []string{fmt.Sprintf("fchdir(%q)", root), `pivot_root(".", ".")`, `fchdir("/")`, `mount("", ".", NULL, MS_REC|MS_SLAVE, NULL)`, `umount2(".", MNT_DETACH)`, `chdir("/")`},
		Shell: []string{"cd " + steps.ShellQuote(root), "pivot_root . .", "mount --make-rslave .", "umount -l .", "cd /"},
		See:   "ls /", Man: "pivot_root(2)",
	})
	t.workdir()
}

func (t *inside) readonlyRoot() {
	if t.config.Readonlyfs {
		t.mountStep("/", mountCall{"", "/", "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, ""}, "Make the root file system read-only, as asked.")
	}
}

// workdir is made while the root file system can still be written to.
func (t *inside) workdir() {
	missing := t.tree.missingUpTo(t.process.Cwd)
	if len(missing) == 0 {
		return
	}
	s := steps.Step{
		Kind: "workdir", Target: t.process.Cwd, Why: "Make the working directory, which the image doesn't have.",
		Shell: []string{"mkdir -p " + steps.ShellQuote(t.process.Cwd)},
		See:   "ls -ld " + steps.ShellQuote(t.process.Cwd), Man: "mkdir(2)",
	}
	for _, dir := range missing {
		s.Call = append(s.Call, fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0755)", dir))
	}
	t.add(s)
}

func (t *inside) names() {
	t.add(steps.Step{
		Kind: "hostname", Target: t.config.Hostname,
		Why:   "Name the host that the container believes to be.",
		Call:  []string{fmt.Sprintf("sethostname(%q, %d)", t.config.Hostname, len(t.config.Hostname))},
		Shell: []string{"hostname " + steps.ShellQuote(t.config.Hostname)},
		See:   "hostname", Man: "sethostname(2), uts_namespaces(7)",
	})
	for _, key := range sortedKeys(t.config.Sysctl) {
		path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
		value := t.config.Sysctl[key]
		why := "Set a kernel parameter of the new namespaces, as Docker does: any port and ping without privileges, since the network is the container's own."
		if key == "kernel.domainname" {
			why = "Name the NIS domain of the host that the container believes to be, as --domainname asks."
		}
		t.add(steps.Step{
			Kind: "sysctl", Target: key,
			Why:   why,
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
	t.rlimits()
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
		Why:   fmt.Sprintf("Load a filter that checks every system call: %d rules of the profile say what becomes of the calls that they name, and one what becomes of all others.", len(t.config.Seccomp.Syscalls)),
		Call:  []string{seccompCall(t.config.Seccomp)},
		Shell: []string{"# no command loads a profile by hand; see libseccomp's scmp_bpf_disasm"},
		See:   "grep Seccomp /proc/PID/status", Man: "seccomp(2)",
	})
}

// seccompCall: a filter without flags is loaded by the older call.
func seccompCall(c *configs.Seccomp) string {
	var flags []string
	for _, f := range c.Flags {
		if f != specs.LinuxSeccompFlag("SECCOMP_FILTER_FLAG_TSYNC") { // libcontainer leaves it out: the other threads end with execve.
			flags = append(flags, string(f))
		}
	}
	if len(flags) == 0 {
		return "prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, {…})"
	}
	return "seccomp(SECCOMP_SET_MODE_FILTER, " + strings.Join(flags, "|") + ", {…})"
}

func (t *inside) user() {
	p, caps := t.process, t.process.Capabilities
	t.add(steps.Step{
		Kind: "workdir", Target: p.Cwd,
		Why:   "Go to the directory in which the program is to start.",
		Call:  []string{fmt.Sprintf("chdir(%q)", p.Cwd)},
		Shell: []string{"cd " + steps.ShellQuote(p.Cwd)},
		See:   "ls -ld /proc/PID/cwd", Man: "chdir(2)",
	})
	t.boundingSet(caps.Bounding)
	t.identity()
	t.add(steps.Step{
		Kind: "capability", Target: "effective and permitted set",
		Why:   fmt.Sprintf("Hold only %d capabilities from here on.", len(caps.Effective)),
		Call:  []string{fmt.Sprintf("capset({…}, {effective=%s, permitted=%s, inheritable=0})", capabilitySet(caps.Effective), capabilitySet(caps.Permitted))},
		Shell: []string{"capsh --caps=" + strings.ToLower(strings.Join(caps.Effective, ",")) + "+ep --"},
		See:   "grep -E 'CapEff|CapPrm' /proc/PID/status", Man: "capset(2), capabilities(7)",
	})
}

// boundingSet tells what is dropped, where anything is.
func (t *inside) boundingSet(kept []string) {
	supported, _ := capability.ListSupported()
	var dropped []string
	for _, c := range supported {
		if name := "CAP_" + strings.ToUpper(c.String()); !slices.Contains(kept, name) {
			dropped = append(dropped, name)
		}
	}
	if len(dropped) == 0 {
		return
	}
	t.add(steps.Step{
		Kind: "capability", Target: "bounding set",
		Why:   fmt.Sprintf("Drop for ever every capability but %d: not even a setuid program can get the others back.", len(kept)),
		Call:  []string{"prctl(PR_CAPBSET_DROP, cap) for cap in " + strings.Join(dropped, " ")},
		Shell: []string{"setpriv --bounding-set " + setprivList(kept) + " sh"},
		See:   "grep CapBnd /proc/PID/status", Man: "capabilities(7), prctl(2)",
	})
}

func capabilitySet(caps []string) string {
	if len(caps) == 0 {
		return "0"
	}
	return strings.Join(caps, "|")
}

func (t *inside) identity() {
	p := t.process
	groups := "NULL"
	if len(p.AdditionalGroups) > 0 {
		groups = strings.ReplaceAll(fmt.Sprint(p.AdditionalGroups), " ", ", ")
	}
	calls := []string{"prctl(PR_SET_KEEPCAPS, 1)"}
	calls = append(calls, t.streamOwners()...)
	calls = append(calls, fmt.Sprintf("setgroups(%d, %s)", len(p.AdditionalGroups), groups),
		fmt.Sprintf("setgid(%d)", p.GID), fmt.Sprintf("setuid(%d)", p.UID), "prctl(PR_SET_KEEPCAPS, 0)")
	t.add(steps.Step{
		Kind: "identity", Target: fmt.Sprintf("%d:%d", p.UID, p.GID),
		Why:   "Become the user that the image or the command line asks for, who then owns the standard streams.",
		Call:  calls,
		Shell: []string{fmt.Sprintf("setpriv --reuid %d --regid %d %s sh", p.UID, p.GID, setprivGroups(p.AdditionalGroups))},
		See:   "grep -E '^[UG]id|Groups' /proc/PID/status", Man: "setgroups(2), setgid(2), setuid(2)",
	})
}

// streamOwners: the streams were made by root; /dev/null stays root's. A terminal
// is all three, and given away once.
func (t *inside) streamOwners() []string {
	if t.process.UID == 0 {
		return nil
	}
	if t.process.ConsoleSocket != nil {
		return []string{fmt.Sprintf("fchown(0, %d, -1)", t.process.UID)}
	}
	var calls []string
	for fd, stream := range []any{t.process.Stdin, t.process.Stdout, t.process.Stderr} {
		if f, ok := stream.(*os.File); ok && f.Name() != os.DevNull {
			calls = append(calls, fmt.Sprintf("fchown(%d, %d, -1)", fd, t.process.UID))
		}
	}
	return calls
}

func setprivGroups(groups []int) string {
	if len(groups) == 0 {
		return "--clear-groups"
	}
	return "--groups " + strings.Trim(strings.ReplaceAll(fmt.Sprint(groups), " ", ","), "[]")
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
func execStep(rootfs string, p *libcontainer.Process, pid int) steps.Step {
	return steps.Step{
		Kind: "exec", Target: p.Args[0], Inside: true,
		Why:   "Let the waiting init become the program: the same process, the same PID 1, a new text.",
		Call:  []string{execCall(rootfs, p)},
		Shell: []string{"exec " + shellWords(p.Args)},
		See:   fmt.Sprintf("tr '\\0' ' ' < /proc/%d/cmdline", pid),
		Man:   "execve(2)",
	}
}

func execCall(rootfs string, p *libcontainer.Process) string {
	arguments := make([]string, len(p.Args))
	for i, a := range p.Args {
		arguments[i] = steps.Quote(a)
	}
	return fmt.Sprintf("execve(%q, [%s], …)", programPath(rootfs, p), strings.Join(arguments, ", "))
}

func shellWords(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = steps.ShellQuote(a)
	}
	return strings.Join(words, " ")
}

// programPath finds a program the way execvp(3) does: a name with no slash is
// looked for in the container's PATH.
func programPath(rootfs string, p *libcontainer.Process) string {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		return name
	}
	at := slices.IndexFunc(p.Env, func(e string) bool { return strings.HasPrefix(e, "PATH=") })
	if at < 0 {
		return name
	}
	for _, dir := range filepath.SplitList(strings.TrimPrefix(p.Env[at], "PATH=")) {
		candidate := filepath.Join(dir, name)
		file, err := securejoin.SecureJoin(rootfs, candidate)
		if err != nil {
			continue
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return candidate
		}
	}
	return name
}
