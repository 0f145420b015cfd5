package main

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// Attempt is one act that isolation should refuse. Each is made so that it
// changes nothing where it succeeds.
type Attempt struct {
	Act string `json:"act"`
	// Call is the system call in C notation.
	Call string `json:"call"`
	// Errno is empty where the act succeeded.
	Errno string `json:"errno"`
	// Got says what success gave, where that is worth knowing.
	Got string `json:"got,omitempty"`
}

func attempts() []Attempt {
	return []Attempt{
		tryMount(),
		tryMknod(),
		tryOpenDevice(),
		tryWriteSysctl(),
		tryReadKcore(),
		tryKeyctl(),
		tryUserNamespace(),
		tryReboot(),
		tryClockSettime(),
		trySettimeofday(),
		trySethostname(),
	}
}

func attempt(act, call string, err error) Attempt {
	a := Attempt{Act: act, Call: call}
	var errno unix.Errno
	switch {
	case err == nil:
	case errors.As(err, &errno):
		a.Errno = unix.ErrnoName(errno)
	default:
		a.Errno = err.Error()
	}
	return a
}

// tryMount covers a file of this process alone, which dies with it.
func tryMount() Attempt {
	const file = "/proc/self/limits"
	err := unix.Mount(file, file, "", unix.MS_BIND, "")
	if err == nil {
		err = unix.Unmount(file, unix.MNT_DETACH)
	}
	return attempt("mount", fmt.Sprintf("mount(%q, %q, NULL, MS_BIND, NULL)", file, file), err)
}

// node is a name below /dev, the one place in a container that is sure to be
// writable and not mounted nodev.
func node() string { return fmt.Sprintf("/dev/probe-%d", os.Getpid()) }

// disk is 8:0, the first SCSI disk (Documentation/admin-guide/devices.txt). The
// device controller decides before the kernel looks whether there is one.
const disk = 8 << 8

func tryMknod() Attempt {
	err := unix.Mknod(node(), unix.S_IFBLK|0o600, disk)
	if err == nil {
		err = unix.Unlink(node())
	}
	return attempt("mknod", fmt.Sprintf("mknod(%q, S_IFBLK|0600, makedev(8, 0))", node()), err)
}

func tryOpenDevice() Attempt {
	call := fmt.Sprintf("open(%q, O_RDONLY)  /* 8:0 */", node())
	if err := unix.Mknod(node(), unix.S_IFBLK|0o600, disk); err != nil {
		a := attempt("open-disk", call, err)
		a.Got = "mknod was refused"
		return a
	}
	fd, err := unix.Open(node(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	if err == nil {
		err = unix.Unlink(node())
	} else {
		_ = unix.Unlink(node()) // The first refusal is what counts.
	}
	return attempt("open-disk", call, err)
}

// tryWriteSysctl writes back the value that is there.
func tryWriteSysctl() Attempt {
	const file = "/proc/sys/kernel/domainname"
	value, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, value, 0)
	}
	return attempt("write-sysctl", fmt.Sprintf("open(%q, O_WRONLY); write(…)", file), err)
}

// tryReadKcore tells a masked file, which is empty, from the kernel's memory,
// which begins as an ELF file does.
func tryReadKcore() Attempt {
	const file = "/proc/kcore"
	head := make([]byte, 4)
	f, err := os.Open(file)
	n := 0
	if err == nil {
		n, _ = f.Read(head)
		err = f.Close()
	}
	a := attempt("read-kcore", fmt.Sprintf("open(%q, O_RDONLY); read(…, 4)", file), err)
	a.Got = fmt.Sprintf("%d bytes", n)
	return a
}

func tryKeyctl() Attempt {
	_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
	return attempt("keyctl", "keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)", err)
}

// tryUserNamespace unshares in a child, because the kernel refuses that to any
// process with several threads (user_namespaces(7)).
func tryUserNamespace() Attempt {
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	return attempt("unshare-user", "unshare(CLONE_NEWUSER)", errnoOf(forkUnshare()))
}

func errnoOf(pid int, errno unix.Errno) error {
	if errno != 0 {
		return fmt.Errorf("fork: %w", errno)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil {
		return fmt.Errorf("wait for child: %w", err)
	}
	// Every errno is below 134 (errno(3)) and so fits an exit status.
	if code := ws.ExitStatus(); code != 0 {
		return unix.Errno(code)
	}
	return nil
}

// forkUnshare makes a child that unshares and exits with the errno; like every
// bare copy of one thread of a Go program it makes raw system calls only.
//
//go:noinline
//go:nosplit
//go:norace
func forkUnshare() (int, unix.Errno) {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	_, _, errno = unix.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0)
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}

// tryReboot leaves out the magic numbers without which the kernel does nothing
// (reboot(2)): EINVAL means that it would have obeyed.
func tryReboot() Attempt {
	_, _, errno := unix.RawSyscall6(unix.SYS_REBOOT, 0, 0, 0, 0, 0, 0)
	var err error
	if errno != 0 {
		err = errno
	}
	return attempt("reboot", "reboot(0, 0, 0, NULL)", err)
}

// tryClockSettime gives a time that is not one, so EINVAL means that no filter
// stopped the call.
func tryClockSettime() Attempt {
	err := unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Nsec: 2_000_000_000})
	return attempt("clock-settime", "clock_settime(CLOCK_REALTIME, {0, 2000000000})", err)
}

// trySettimeofday gives no time: the kernel checks the right to set one, and
// then has nothing to set.
func trySettimeofday() Attempt {
	_, _, errno := unix.RawSyscall(unix.SYS_SETTIMEOFDAY, 0, 0, 0)
	var err error
	if errno != 0 {
		err = errno
	}
	return attempt("settimeofday", "settimeofday(NULL, NULL)", err)
}

// trySethostname sets the name that is set.
func trySethostname() Attempt {
	name, err := os.Hostname()
	if err == nil {
		err = unix.Sethostname([]byte(name))
	}
	return attempt("sethostname", fmt.Sprintf("sethostname(%q, %d)", name, len(name)), err)
}

// capabilityNames gives the names of the bits of a mask, as in capabilities(7);
// a bit that is newer than the list has its number.
func capabilityNames(mask uint64) []string {
	names := []string{}
	for bit := range 64 {
		if mask&(1<<bit) == 0 {
			continue
		}
		names = append(names, "CAP_"+strings.ToUpper(capability.Cap(bit).String()))
	}
	return names
}
