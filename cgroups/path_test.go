package cgroups

import "testing"

func TestOnlyOurOwnGroupsAreTouched(t *testing.T) {
	for _, p := range []string{"/minidock/0f3a", "/minidock-0123abcd/x"} {
		if err := checkPath(p); err != nil {
			t.Errorf("%s is refused: %v", p, err)
		}
	}
	for _, p := range []string{
		"", "/", ".", "..", "/minidock", "/minidock/", "/minidock/monitors", "/minidock/a/b", "/minidock/..", "/minidock/../x", "minidock/x",
		"//minidock/x", "/system.slice/x", "/minidockx/y", "/minidock-0123ABCD/x", "/minidock-012/x", "/minidock-/x", "/sys/fs/cgroup/minidock/x",
	} {
		if err := checkPath(p); err == nil {
			t.Errorf("%q is taken for a container's group", p)
		}
		if err := undoGroup(p); err == nil {
			t.Errorf("%q would be killed", p)
		}
	}
}

func TestOnlyOurOwnSharedGroupsAreRemoved(t *testing.T) {
	for _, p := range []string{"/minidock", "/minidock-0123abcd", "/minidock/monitors"} {
		if err := checkShared(p); err != nil {
			t.Errorf("%s is refused: %v", p, err)
		}
	}
	for _, p := range []string{"", "/", "minidock", "/minidock/", "/minidock/x", "/minidock/monitors/x", "/docker", "/minidock/../docker"} {
		if err := undoShared(p); err == nil {
			t.Errorf("%q is taken for a shared group", p)
		}
	}
}
