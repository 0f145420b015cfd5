package leftover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Canaries makes one foreign object of each kind, with names as near to ours as
// others could choose them, and returns a look at whether they are still there
// and as they were. They go at the end of the test. dir is a directory for them,
// instance the name that minidock's own objects have.
func Canaries(t testing.TB, dir, instance string) (look func(testing.TB)) {
	t.Helper()
	all := []canary{aDirectory(t, dir), aMount(t, dir), aRunDirectory(t, instance), aGroup(t, instance), aNamespace(t, instance), aProcess(t, dir)}
	all = append(all, aTable(t, instance)...)
	before := map[string]string{}
	for _, c := range all {
		before[c.what] = c.state()
		if before[c.what] == "" {
			t.Fatalf("the %s was not made", c.what)
		}
	}
	return func(t testing.TB) {
		t.Helper()
		for _, c := range all {
			if now := c.state(); now != before[c.what] {
				t.Errorf("a foreign %s was touched: it was %q, and is %q", c.what, before[c.what], now)
			}
		}
	}
}

// canary is a foreign object; state says how it is, "" when it is gone.
type canary struct {
	what  string
	state func() string
}

func aDirectory(t testing.TB, dir string) canary {
	file := filepath.Join(dir, "containers", "foreign", "file")
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte("foreign"), 0o644))
	return canary{"directory", func() string { return read(file) }}
}

func aMount(t testing.TB, dir string) canary {
	point := filepath.Join(dir, "merged")
	must(t, os.MkdirAll(point, 0o755))
	must(t, unix.Mount("none", point, "tmpfs", 0, "size=4k"))
	t.Cleanup(func() { must(t, unix.Unmount(point, 0)) })
	return canary{"mount", func() string {
		for line := range strings.Lines(read("/proc/self/mountinfo")) {
			if strings.Contains(line, " "+point+" ") {
				return line
			}
		}
		return ""
	}}
}

// aRunDirectory is another installation's, by its name.
func aRunDirectory(t testing.TB, instance string) canary {
	file := "/run/" + instance + "-foreign/ledgers/foreign.jsonl"
	must(t, os.MkdirAll(filepath.Dir(file), 0o700))
	t.Cleanup(func() { must(t, os.RemoveAll("/run/"+instance+"-foreign")) })
	must(t, os.WriteFile(file, []byte("{}\n"), 0o600))
	return canary{"run directory", func() string { return read(file) }}
}

func aGroup(t testing.TB, instance string) canary {
	group := "/sys/fs/cgroup/" + instance + "-foreign"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		group = "/sys/fs/cgroup/pids/" + instance + "-foreign"
	}
	must(t, os.Mkdir(group, 0o755))
	t.Cleanup(func() { must(t, os.Remove(group)) })
	return canary{"cgroup", func() string { return identity(group) }}
}

// aNamespace is a network namespace with a name, as `ip netns add` makes them.
func aNamespace(t testing.TB, instance string) canary {
	name := "/run/netns/" + instance + "-foreign"
	if os.Mkdir("/run/netns", 0o755) == nil {
		t.Cleanup(func() { _ = os.Remove("/run/netns") }) // Somebody else may use it by now.
	}
	must(t, os.WriteFile(name, nil, 0o600))
	t.Cleanup(func() { must(t, os.Remove(name)) })
	must(t, run("unshare", "--net="+name, "true"))
	t.Cleanup(func() { must(t, unix.Unmount(name, unix.MNT_DETACH)) })
	return canary{"network namespace", func() string { return identity(name) }}
}

// aProcess calls itself a monitor of ours.
func aProcess(t testing.TB, dir string) canary {
	cmd := exec.Command("cat")
	cmd.Args = []string{"minidock: monitor foreign", "-"}
	cmd.Dir, cmd.Env = dir, []string{}
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); must(t, cmd.Wait()) })
	return canary{"process", func() string { return read(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid)) }}
}

// aTable needs nft; where there is none, nobody makes tables by hand either.
func aTable(t testing.TB, instance string) []canary {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil
	}
	name := strings.ReplaceAll(instance, "-", "_") + "_foreign"
	must(t, run("nft", "add", "table", "ip", name))
	t.Cleanup(func() { must(t, run("nft", "delete", "table", "ip", name)) })
	must(t, run("nft", "add", "chain", "ip", name, "foreign"))
	return []canary{{"nftables table", func() string {
		text, _ := exec.Command("nft", "-s", "list", "table", "ip", name).Output()
		return string(text)
	}}}
}

func run(name string, args ...string) error {
	if said, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	return nil
}

// identity tells one object of a name from another that is there later.
func identity(path string) string {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return ""
	}
	return fmt.Sprint(s.Dev, " ", s.Ino)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
