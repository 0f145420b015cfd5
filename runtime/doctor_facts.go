package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"syscall"
	"unsafe"

	subids "github.com/moby/sys/user"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/netns"
)

// doctorFacts is what `minidock doctor` found out about the host.
type doctorFacts struct {
	release      string
	euid         int
	user         string
	capabilities uint64

	cgroup         cgroups.Host
	cgroupErr      error
	cgroupReadOnly bool
	legacyTrees    []string

	root      string
	rootUnfit string // the file system, where layers can't be stacked on it
	space     uint64 // bytes that root's file system has left
	spaceErr  error
	overlay   error

	namespaces map[string]error
	sysctls    map[string]string // without those that the kernel lacks
	subIDs     map[string][]subIDRange
	seccomp    error
	nftables   error
	// resolverRules is why the kernel does not take the rules of a container's resolver.
	resolverRules error
	obstacles     []netns.Obstacle
	unruled       []string // networks that have a bridge, and no rules
	tini          string
	kvm           error
}

// subIDRange is one line of /etc/subuid (subuid(5)).
type subIDRange struct {
	name         string
	first, count int64
}

func gatherDoctorFacts(root string) doctorFacts {
	f := doctorFacts{
		euid: os.Geteuid(), user: userName(), capabilities: effectiveCapabilities(),
		root: root, overlay: tryOverlay(), namespaces: map[string]error{}, sysctls: map[string]string{},
		subIDs: map[string][]subIDRange{}, seccomp: trySeccomp(), nftables: tryNftables(), tini: tiniPath(), kvm: tryKVM(),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f.release = unix.ByteSliceToString(name.Release[:])
	}
	if f.nftables == nil {
		f.gatherNetworks()
	}
	f.gatherCgroup()
	f.gatherSpace()
	for _, ns := range doctorNamespaces {
		f.namespaces[ns.name] = tryNamespace(ns)
	}
	for _, key := range []string{"user.max_user_namespaces", "kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns"} {
		if text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/")); err == nil {
			f.sysctls[key] = strings.TrimSpace(string(text))
		}
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		f.subIDs[file] = readSubIDs(file)
	}
	return f
}

// gatherNetworks leaves out what can't be read: it stands in nobody's way that we know
// of, and who may not read is told so elsewhere.
func (f *doctorFacts) gatherNetworks() {
	f.resolverRules = netns.TryRules()
	l, err := LayoutOf(f.root)
	if err != nil {
		return
	}
	f.obstacles, _ = l.Networks().Obstacles()
	all, _ := l.Networks().List()
	bare, _ := l.Networks().Unprotected(all)
	for _, n := range bare {
		f.unruled = append(f.unruled, n.Name)
	}
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

// neededCapability is one that the runtime itself has to hold: those that a
// container is given by default, and those that making one takes.
type neededCapability struct {
	bit  uint
	name string
}

func neededCapabilities() []neededCapability {
	return []neededCapability{
		{unix.CAP_CHOWN, "CAP_CHOWN"},
		{unix.CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"},
		{unix.CAP_FSETID, "CAP_FSETID"},
		{unix.CAP_FOWNER, "CAP_FOWNER"},
		{unix.CAP_MKNOD, "CAP_MKNOD"},
		{unix.CAP_NET_RAW, "CAP_NET_RAW"},
		{unix.CAP_SETGID, "CAP_SETGID"},
		{unix.CAP_SETUID, "CAP_SETUID"},
		{unix.CAP_SETFCAP, "CAP_SETFCAP"},
		{unix.CAP_SETPCAP, "CAP_SETPCAP"},
		{unix.CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"},
		{unix.CAP_SYS_CHROOT, "CAP_SYS_CHROOT"},
		{unix.CAP_KILL, "CAP_KILL"},
		{unix.CAP_AUDIT_WRITE, "CAP_AUDIT_WRITE"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	}
}

// effectiveCapabilities is this thread's set as a mask (capget(2)).
func effectiveCapabilities() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 32 capabilities each
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
}

func (f *doctorFacts) gatherCgroup() {
	f.cgroup, f.cgroupErr = cgroups.Probe()
	f.legacyTrees = f.cgroup.Legacy()
	var st unix.Statfs_t
	f.cgroupReadOnly = unix.Statfs(f.cgroup.Mountpoint, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// gatherSpace looks at the nearest directory that exists: root is made when it is
// first needed.
func (f *doctorFacts) gatherSpace() {
	dir := f.root
	var st unix.Statfs_t
	for f.spaceErr = unix.Statfs(dir, &st); errors.Is(f.spaceErr, fs.ErrNotExist) && dir != "/"; f.spaceErr = unix.Statfs(dir, &st) {
		dir = filepath.Dir(dir)
	}
	if f.spaceErr != nil {
		f.spaceErr = fmt.Errorf("look at %s: %w", dir, f.spaceErr)
		return
	}
	f.space = st.Bavail * uint64(st.Bsize)
	f.rootUnfit = unfitForLayers(st.Type)
}

// unfitForLayers names file systems that overlayfs refuses for the writable layer
// (kernel Documentation/filesystems/overlayfs.rst: it needs trusted extended
// attributes, d_type and whiteouts); numbers as in statfs(2).
func unfitForLayers(magic int64) string {
	switch magic {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.V9FS_MAGIC:
		return "9p"
	case unix.MSDOS_SUPER_MAGIC:
		return "FAT"
	case unix.ECRYPTFS_SUPER_MAGIC:
		return "ecryptfs"
	}
	return ""
}

// tryOverlay begins to describe a mount and leaves it at that: the kernel has to
// find the file system for it, and loads its module.
func tryOverlay() error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err == nil {
		return unix.Close(fd)
	}
	if errors.Is(err, unix.ENODEV) {
		return err
	}
	// Without the right to mount, or before Linux 5.2, there is the list of what
	// is loaded.
	text, readErr := os.ReadFile("/proc/filesystems")
	if readErr == nil && strings.Contains(string(text), "\toverlay\n") {
		return nil
	}
	return err
}

// tryNamespace has a new process make the namespace and then become a program
// that can't be: execve(2) fails with ENOTDIR if, and only if, the kernel has
// said yes before. The process and the namespace end with that.
func tryNamespace(ns doctorNamespace) error {
	if _, err := os.Stat("/proc/self/ns/" + ns.name); err != nil {
		return err
	}
	_, err := syscall.ForkExec("/proc/self/stat/none", []string{"none"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{Unshareflags: ns.flag},
	})
	if errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// trySeccomp asks whether filters can answer a call with an error (seccomp(2)).
func trySeccomp() error {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return errno
	}
	return nil
}

// tryNftables asks for the number of the current rule set, the least that nf_tables
// can be asked for.
func tryNftables() error {
	const family = unix.NFNL_SUBSYS_NFTABLES << 8
	request := nl.NewNetlinkRequest(family|unix.NFT_MSG_GETGEN, 0)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	_, err := request.Execute(unix.NETLINK_NETFILTER, family|unix.NFT_MSG_NEWGEN)
	return err
}

func readSubIDs(file string) []subIDRange {
	found, err := subids.ParseSubIDFile(file)
	if err != nil {
		return nil
	}
	var ranges []subIDRange
	for _, s := range found {
		ranges = append(ranges, subIDRange{name: s.Name, first: s.SubID, count: s.Count})
	}
	return ranges
}

// tryKVM: on x86 the device alone says little, some hypervisors offer one that
// hangs a guest; the processor's own flag has to be there too.
func tryKVM() error {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("there is no /dev/kvm")
	}
	if err != nil {
		return fmt.Errorf("open /dev/kvm: %w", err)
	}
	_ = unix.Close(fd)
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return fmt.Errorf("read /proc/cpuinfo: %w", err)
	}
	if goruntime.GOARCH == "amd64" && !hasVirtualisation(string(text)) {
		return errors.New("/dev/kvm is there, but the processor shows neither vmx nor svm")
	}
	return nil
}

func hasVirtualisation(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		flags, ok := strings.CutPrefix(line, "flags")
		if !ok {
			continue
		}
		for flag := range strings.FieldsSeq(flags) {
			if flag == "vmx" || flag == "svm" {
				return true
			}
		}
	}
	return false
}
