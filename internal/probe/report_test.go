package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/sys/capability"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
)

func seen(t *testing.T) Report {
	t.Helper()
	r, err := look()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReportAgreesWithProc(t *testing.T) {
	r := seen(t)
	t.Run("namespaces", func(t *testing.T) {
		for _, kind := range []string{"mnt", "pid", "net", "uts", "ipc", "user", "cgroup"} {
			if want, _ := os.Readlink("/proc/self/ns/" + kind); r.Namespaces[kind] != want {
				t.Errorf("%s: %q, not %q", kind, r.Namespaces[kind], want)
			}
		}
	})
	t.Run("mounts", func(t *testing.T) {
		want, err := mountinfo.GetMounts(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(want) != len(r.Mounts) {
			t.Fatalf("%d mounts, not %d", len(r.Mounts), len(want))
		}
		for i, w := range want {
			if g := r.Mounts[i]; g.Target != w.Mountpoint || g.Type != w.FSType || g.Source != w.Source ||
				g.Root != w.Root || strings.Join(g.Options, ",") != w.Options || strings.Join(g.Super, ",") != w.VFSOptions {
				t.Errorf("%+v, not %+v", g, w)
			}
		}
	})
	t.Run("capabilities", func(t *testing.T) { sameCapabilities(t, r) })
	t.Run("limits", func(t *testing.T) { sameLimits(t, r) })
	t.Run("identity", func(t *testing.T) {
		host, _ := os.Hostname()
		cwd, _ := os.Getwd()
		if r.Pid != os.Getpid() || r.Ppid != os.Getppid() || r.UID != os.Getuid() || r.Hostname != host || r.Cwd != cwd {
			t.Errorf("%+v", r)
		}
		if diff := cmp.Diff(os.Environ(), r.Env); diff != "" {
			t.Error(diff)
		}
	})
}

func sameCapabilities(t *testing.T, r Report) {
	t.Helper()
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]capability.CapType{
		"effective": capability.EFFECTIVE, "permitted": capability.PERMITTED, "inheritable": capability.INHERITABLE,
		"bounding": capability.BOUNDING, "ambient": capability.AMBIENT,
	} {
		var want []string
		for _, c := range capability.ListKnown() {
			if caps.Get(set, c) {
				want = append(want, "CAP_"+strings.ToUpper(c.String()))
			}
		}
		got := r.Capabilities[name].Names
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
}

// sameLimits leaves out nofile, which Go itself changed in this process.
func sameLimits(t *testing.T, r Report) {
	t.Helper()
	for number, name := range resourceNames() {
		var want unix.Rlimit
		if err := unix.Getrlimit(number, &want); err != nil {
			t.Fatal(err)
		}
		if got := r.Rlimits[name]; name != "nofile" && (got.Soft != limitText(want.Cur) || got.Hard != limitText(want.Max)) {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
}

func reported(t *testing.T, cmd *exec.Cmd) Report {
	t.Helper()
	got := finish(t, cmd)
	var r Report
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatalf("%v: %q %q", err, got.stdout, got.stderr)
	}
	return r
}

func TestReportShowsTheSoftLimitBeforeGoRaisedIt(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 123; ulimit -Hn 456; exec "$0" report`, self())
	cmd.Env = []string{actEnv + "=1"}
	if got := reported(t, cmd).Rlimits["nofile"]; got != (Rlimit{"123", "456"}) {
		t.Errorf("got %+v", got)
	}
}

func TestReportShowsInheritedDescriptorsOnly(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	cmd := probe("report")
	cmd.ExtraFiles = []*os.File{w}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	got := reported(t, cmd).FDs
	if got["3"] != name {
		t.Errorf("fd 3 is %q, not %q", got["3"], name)
	}
	delete(got, "3")
	for fd := range got {
		// What this test process itself was given may be passed on.
		if fd != "0" && fd != "1" && fd != "2" && !inherited(t, fd) {
			t.Errorf("fd %s is %q", fd, got[fd])
		}
	}
}

func inherited(t *testing.T, fd string) bool {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(fd, &n); err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

func TestReportHasEveryDevice(t *testing.T) {
	r := seen(t)
	for _, name := range []string{"/dev/null", "/dev/zero"} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(r.Devices, func(d Device) bool { return d.Name == name })
		if i < 0 {
			t.Fatalf("no %s", name)
		}
		want := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		if d := r.Devices[i]; d.Type != "char" || d.Number != want {
			t.Errorf("%+v, not char %s", d, want)
		}
	}
}

func TestAttemptsTellWhatIsRefused(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	// A user without rights is refused all but the user namespace and the
	// keyring, which no right guards; clock_settime falls over its time first.
	want := map[string][]string{
		"mount": {"EPERM"}, "mknod": {"EPERM", "EACCES"}, "open-disk": {"EPERM", "EACCES"},
		"write-sysctl": {"EACCES"}, "read-kcore": {"EACCES", "ENOENT"}, "reboot": {"EPERM"},
		"settimeofday": {"EPERM"}, "sethostname": {"EPERM"}, "clock-settime": {"EINVAL"},
	}
	cmd := exec.Command(shared(t), "report")
	cmd.Env = []string{actEnv + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	for _, a := range reported(t, cmd).Attempts {
		if errnos, ok := want[a.Act]; ok && !slices.Contains(errnos, a.Errno) {
			t.Errorf("%s: %q, not one of %v", a.Call, a.Errno, errnos)
		}
		delete(want, a.Act)
	}
	if len(want) > 0 {
		t.Errorf("not attempted: %v", want)
	}
}

func TestAttemptsChangeNothing(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	cmd := probe("report")
	before := hostState(t)
	reported(t, cmd)
	if diff := cmp.Diff(before, hostState(t)); diff != "" {
		t.Error(diff)
	}
}

// hostState is what the attempts would touch if they were not harmless.
func hostState(t *testing.T) []string {
	t.Helper()
	var state []string
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/proc/") {
			state = append(state, line)
		}
	}
	entries, err := os.ReadDir("/dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "probe-") {
			state = append(state, e.Name())
		}
	}
	host, _ := os.Hostname()
	domain, _ := os.ReadFile("/proc/sys/kernel/domainname")
	return append(state, host, string(domain))
}

func FuzzParseMount(f *testing.F) {
	f.Add("36 35 98:0 /root /a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue")
	f.Add("36 35 98:0 / / rw - tmpfs  rw")
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		m, err := parseMount(line)
		if err == nil && m.Type == "" {
			t.Errorf("%q gives no type: %+v", line, m)
		}
	})
}
