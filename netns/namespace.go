package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// The kinds of this package's steps on namespaces.
const (
	// KindNamespace is a network namespace that a file names; its undo removes
	// the name, and the kernel the namespace once nobody is in it.
	KindNamespace steps.Kind = "netns"
	// KindSysctl writes a setting of a namespace or link, and goes with it.
	KindSysctl steps.Kind = "sysctl"
	// KindUp brings a link up; the link's undo takes it along.
	KindUp steps.Kind = "link-up"
)

// MakeNamespace makes a network namespace, has file name it, and prepares it for
// a container: loopback up, no forwarding, no IPv6 on what is added later.
func MakeNamespace(ledger *steps.Ledger, file string) error {
	return OnThrownThread(func() error {
		if err := ledger.Do(namespaceStep(file), func() error { return bindNewNamespace(file) }); err != nil {
			return err
		}
		return prepareNamespace(ledger, file)
	})
}

func namespaceStep(file string) steps.Step {
	name := steps.ShellQuote(file)
	s := steps.Step{
		Kind: KindNamespace, Target: file,
		Why: "Make a network namespace: links, addresses, routes, firewall and port numbers of its own. A bind mount gives it a name, so that it is there before the container's first process, and can be entered by name.",
		Call: []string{
			fmt.Sprintf("openat(AT_FDCWD, %q, O_RDONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0444)", file),
			"unshare(CLONE_NEWNET)",
			fmt.Sprintf(`mount("/proc/thread-self/ns/net", %q, NULL, MS_BIND, NULL)`, file),
		},
		Shell: []string{"touch " + name, "unshare --net=" + name + " true"},
		Undo:  "umount " + name + "; rm " + name,
		See:   "nsenter --net=" + name + " ip address", Man: "network_namespaces(7), unshare(2)",
	}
	if dir := filepath.Dir(file); !exists(dir) {
		s.Call = append([]string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", dir)}, s.Call...)
		s.Shell = append([]string{"mkdir -p -m 700 " + steps.ShellQuote(dir)}, s.Shell...)
	}
	return s
}

// NameNamespace has file name the network namespace that another file stands for
// (/proc/PID/ns/net), and prepares it as [MakeNamespace] does: for a container that was
// made without a network and is to come to one.
func NameNamespace(ledger *steps.Ledger, from, file string) error {
	s := namespaceStep(file)
	s.Why = "Give the network namespace that the container has a name, by a bind mount: links are moved into it by name, and the resolver's sockets made there."
	last := len(s.Call) - 1
	s.Call = append(s.Call[:last-1], fmt.Sprintf("mount(%q, %q, NULL, MS_BIND, NULL)", from, file), enterCall(file))
	s.Shell[len(s.Shell)-1] = "mount --bind " + steps.ShellQuote(from) + " " + steps.ShellQuote(file)
	if err := ledger.Do(s, func() error { return bindNamespace(from, file) }); err != nil {
		return err
	}
	return Inside(file, func() error { return prepareNamespace(ledger, file) })
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// bindNewNamespace takes the calling thread to a new namespace, and gives that
// its name.
func bindNewNamespace(file string) error {
	if err := makeNamespaceFile(file); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare network namespace: %w", err)
	}
	return mountNamespace("/proc/thread-self/ns/net", file)
}

func bindNamespace(from, file string) error {
	if err := makeNamespaceFile(file); err != nil {
		return err
	}
	return mountNamespace(from, file)
}

func makeNamespaceFile(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("make directory of namespaces: %w", err)
	}
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return fmt.Errorf("make file %s: %w", file, err)
	}
	return unix.Close(fd)
}

func mountNamespace(from, file string) error {
	if err := unix.Mount(from, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind namespace to %s: %w", file, err)
	}
	return nil
}

// undoNamespace takes a namespace's name back. Who is still in it, or holds it
// open, keeps the namespace itself.
func undoNamespace(file string) error {
	err := unix.Unmount(file, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	// EINVAL: it was made, and nothing was mounted on it.
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unmount %s: %w", file, err)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove namespace file: %w", err)
	}
	return nil
}

// prepareNamespace does what every container's namespace needs; the calling
// thread is in it.
func prepareNamespace(ledger *steps.Ledger, file string) error {
	inside := "nsenter --net=" + steps.ShellQuote(file) + " "
	if err := ledger.Do(upStep("lo", inside, "Bring up the loopback link: a new network namespace has it, but down."), func() error { return setUp("lo") }); err != nil {
		return err
	}
	// The kernel's Documentation/admin-guide/sysctl/net.rst, devconf_inherit_init_net:
	// a new namespace takes over the IPv4 settings of the first one.
	err := writeSysctl(ledger, inside, "net.ipv4.ip_forward", "0",
		"Keep the container from passing packets on: one that is in two networks must not join them. A new namespace takes this setting over from the host's.")
	if err != nil {
		return err
	}
	err = writeSysctl(ledger, inside, "net.ipv4.conf.default.arp_notify", "1",
		"Have the links that are still to come announce their addresses: neighbours may remember who had them before.")
	if err != nil || !exists(sysctlFile("net.ipv6.conf.default.disable_ipv6")) {
		return err // Without IPv6 in the kernel there is nothing to turn off.
	}
	return writeSysctl(ledger, inside, "net.ipv6.conf.default.disable_ipv6", "1",
		"Have the links that are still to come do without IPv6: networks are IPv4 only, and no neighbour shall talk the container into an address. ::1 stays.")
}
