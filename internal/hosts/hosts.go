// Package hosts makes machines for tests, each a network namespace: hosts,
// routers, containers, and the cables between them. Nothing of the machine that
// runs the test is touched, and all is gone at the test's end.
//
//	router := hosts.New(t, "router")
//	outside := hosts.New(t, "outside")
//	hosts.Cable(t, router, "203.0.113.1/24", outside, "203.0.113.9/24")
//	outside.Serve("tcp", "203.0.113.9:80")
//	answer, err := router.Call("tcp", "203.0.113.9:80", time.Second)
package hosts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Host is a machine: a network namespace with a name.
type Host struct {
	Name string
	// File names its namespace, for nsenter --net and setns(2).
	File   string
	t      testing.TB
	cables int
}

// New makes a host with nothing but its loopback link, which is up.
func New(t testing.TB, name string) *Host {
	t.Helper()
	h := &Host{Name: name, File: filepath.Join(t.TempDir(), name), t: t}
	if err := os.WriteFile(h.File, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	err := thrown(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", h.File, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatalf("make host %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(h.File, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount host %s: %v", name, err)
		}
	})
	h.Run("ip link set lo up")
	h.Run("sysctl -qw net.ipv4.ip_forward=0") // A new namespace takes it over from the first.
	return h
}

// Open returns a host whose namespace somebody else has made, and removes.
func Open(t testing.TB, name, file string) *Host { return &Host{Name: name, File: file, t: t} }

// thrown runs do on a thread that ends with it, and so never on the main thread,
// which can't.
func thrown(do func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- thrown(do)
			goruntime.UnlockOSThread()
			return
		}
		done <- do()
	}()
	err, returned := <-done
	if !returned {
		return errors.New("ended before its end")
	}
	return err
}

// Do runs do on a thread that is in the host's namespace.
func (h *Host) Do(do func() error) error {
	return thrown(func() error {
		fd, err := unix.Open(h.File, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open host %s: %w", h.Name, err)
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter host %s: %w", h.Name, err)
		}
		return do()
	})
}

// Must is Do, where an error ends the test.
func (h *Host) Must(do func() error) {
	h.t.Helper()
	if err := h.Do(do); err != nil {
		h.t.Fatalf("on %s: %v", h.Name, err)
	}
}

// Run runs a shell command there and returns what it said; an error ends the test.
func (h *Host) Run(command string) string {
	h.t.Helper()
	var out []byte
	err := h.Do(func() (err error) {
		out, err = exec.Command("sh", "-ec", command).CombinedOutput()
		return err
	})
	if err != nil {
		h.t.Fatalf("on %s: %s: %v\n%s", h.Name, command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Cable joins two hosts by a pair of links, net0, net1, …, with these addresses.
func Cable(t testing.TB, a *Host, addressA string, b *Host, addressB string) {
	t.Helper()
	nameA, nameB := a.nextLink(), b.nextLink()
	a.Run(fmt.Sprintf("ip link add %s type veth peer name %s netns %s", nameA, nameB, b.File))
	a.Run(fmt.Sprintf("ip address add %s dev %s; ip link set %s up", addressA, nameA, nameA))
	b.Run(fmt.Sprintf("ip address add %s dev %s; ip link set %s up", addressB, nameB, nameB))
}

func (h *Host) nextLink() string {
	h.cables++
	return fmt.Sprintf("net%d", h.cables-1)
}
