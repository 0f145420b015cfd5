package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minidock/minidock/steps"
)

func testSpec(t *testing.T, change func(*Config)) *specs.Spec {
	t.Helper()
	l, err := LayoutOf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{ID: "abc", Args: []string{"sh"}, Workdir: "/", Hostname: "box", Seccomp: "builtin"}
	change(c)
	etc := filepath.Join(l.Container(c.ID), "merged", "etc")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(etc, "passwd"), []byte("root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec, err := Spec(l, c, "")
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestDefaultsAreDockers(t *testing.T) {
	spec := testSpec(t, func(*Config) {})
	if n := len(spec.Process.Capabilities.Bounding); n != 14 {
		t.Errorf("%d capabilities, Docker has 14", n)
	}
	if diff := cmp.Diff(spec.Process.Capabilities.Bounding, spec.Process.Capabilities.Effective); diff != "" {
		t.Errorf("root's effective set differs from the bounding set:\n%s", diff)
	}
	if spec.Process.Capabilities.Inheritable != nil || spec.Process.Capabilities.Ambient != nil {
		t.Error("inheritable and ambient sets are empty in Docker")
	}
	if spec.Linux.Seccomp == nil || spec.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Error("no seccomp profile, or one that allows by default")
	}
	var order []string
	for _, m := range spec.Mounts {
		order = append(order, m.Destination)
	}
	want := []string{"/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm", "/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if !slices.Contains(spec.Linux.MaskedPaths, "/proc/kcore") || !slices.Contains(spec.Linux.ReadonlyPaths, "/proc/sys") {
		t.Error("paths that Docker hides or locks are open")
	}
	if spec.Process.NoNewPrivileges {
		t.Error("no_new_privs is off in Docker unless asked for")
	}
}

func TestOtherUsersHaveNoCapabilitiesInEffect(t *testing.T) {
	spec := testSpec(t, func(c *Config) { c.User = "app" })
	caps := spec.Process.Capabilities
	if spec.Process.User.UID != 1000 || len(caps.Effective) != 0 || len(caps.Permitted) != 0 || len(caps.Bounding) != 14 {
		t.Errorf("user %v, capabilities %+v", spec.Process.User, caps)
	}
}

func TestPrivilegedTakesTheWallsDown(t *testing.T) {
	spec := testSpec(t, func(c *Config) { c.Privileged = true })
	if spec.Linux.Seccomp != nil || spec.Linux.MaskedPaths != nil || spec.Linux.ReadonlyPaths != nil || !spec.Linux.Resources.Devices[0].Allow {
		t.Error("a wall is still up")
	}
	for _, m := range spec.Mounts {
		if m.Destination == "/sys" && slices.Contains(m.Options, "ro") {
			t.Error("/sys is read-only")
		}
	}
}

func TestCapabilitiesAreMixedAsDockerDoes(t *testing.T) {
	all, err := holdable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		add, drop []string
		want      int
		has, not  string
	}{
		"default":             {nil, nil, 14, "CAP_CHOWN", "CAP_SYS_ADMIN"},
		"add":                 {[]string{"sys_admin"}, nil, 15, "CAP_SYS_ADMIN", "CAP_NET_ADMIN"},
		"add what is there":   {[]string{"CAP_CHOWN"}, nil, 14, "CAP_CHOWN", "CAP_SYS_ADMIN"},
		"drop":                {nil, []string{"chown"}, 13, "CAP_KILL", "CAP_CHOWN"},
		"drop all":            {nil, []string{"ALL"}, 0, "", "CAP_CHOWN"},
		"drop all but one":    {[]string{"net_raw"}, []string{"all"}, 1, "CAP_NET_RAW", "CAP_CHOWN"},
		"everything but some": {[]string{"ALL"}, []string{"CAP_KILL"}, len(without(slices.Clone(all), []string{"CAP_KILL"})), "", "CAP_KILL"},
	} {
		got, err := capabilitiesOf(c.add, c.drop, false)
		if err != nil || len(got) != c.want || c.has != "" && !slices.Contains(got, c.has) || slices.Contains(got, c.not) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := capabilitiesOf([]string{"FLY"}, nil, false); steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "" {
		t.Errorf("unknown capability: %v", err)
	}
}

func TestSecurityOptions(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(profile, []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]struct {
		nnp     bool
		profile string
	}{
		"no-new-privileges":       {true, "builtin"},
		"no-new-privileges=true":  {true, "builtin"},
		"no-new-privileges=false": {false, "builtin"},
		"seccomp=unconfined":      {false, "unconfined"},
		"seccomp=" + profile:      {false, `{"defaultAction":"SCMP_ACT_ALLOW"}`},
	} {
		nnp, got, err := securityOf([]string{option})
		if err != nil || nnp != want.nnp || got != want.profile {
			t.Errorf("%s: %v %q %v", option, nnp, got, err)
		}
	}
	for _, bad := range []string{"", "seccomp", "seccomp=/no/such/file", "no-new-privileges=maybe", "apparmor=x"} {
		if _, _, err := securityOf([]string{bad}); steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestUserLookupStaysInsideTheRoot(t *testing.T) {
	root := t.TempDir()
	secret := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(secret, []byte("evil:x:6666:6666::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(root, "etc", "passwd")); err != nil {
		t.Fatal(err)
	}
	if u, err := userOf(root, "evil"); err == nil {
		t.Errorf("a link led out of the root: %v", u)
	}
	if u, err := userOf(root, "7:8"); err != nil || u.UID != 7 || u.GID != 8 {
		t.Errorf("numbers need no file: %v %v", u, err)
	}
}
