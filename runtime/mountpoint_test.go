package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// imageTree makes a small image: /lib leads to /usr/lib, /etc/link nowhere yet.
func imageTree(t *testing.T) (tree, string) {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"usr/lib", "etc", "dev", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"lib": "usr/lib", "etc/link": "/run/net/link", "up": "../../../../etc"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	return newTree(root), root
}

func TestPlaceOfAMountIsForetold(t *testing.T) {
	for _, c := range []struct {
		destination string
		file        bool
		path, mode  string
		missing     []string
	}{
		{destination: "/etc", path: "/etc", mode: "0755"},
		{destination: "/tmp", path: "/tmp", mode: "1777"},
		{destination: "/etc/hosts", file: true, path: "/etc/hosts", missing: []string{"/etc/hosts"}},
		{destination: "/lib/a/b", path: "/usr/lib/a/b", missing: []string{"/usr/lib/a", "/usr/lib/a/b"}},
		{destination: "/etc/link", file: true, path: "/run/net/link", missing: []string{"/run", "/run/net", "/run/net/link"}},
		{destination: "/up/x", path: "/etc/x", missing: []string{"/etc/x"}},
	} {
		t.Run(c.destination, func(t *testing.T) {
			image, root := imageTree(t)
			got := image.place(c.destination, c.file)
			want := place{path: root + c.path, file: c.file, mode: c.mode}
			for _, m := range c.missing {
				want.missing = append(want.missing, root+m)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(place{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsMountedCoversTheImage(t *testing.T) {
	image, root := imageTree(t)
	image.mounted("/dev", image.place("/dev", false), "tmpfs")
	shm := image.place("/dev/shm", false)
	if !slices.Equal(shm.missing, []string{root + "/dev/shm"}) || shm.mode != "" {
		t.Errorf("in an empty /dev: %+v", shm)
	}
	image.mounted("/dev/shm", shm, "tmpfs")
	if again := image.place("/dev/shm", false); len(again.missing) > 0 || again.mode != "0755" {
		t.Errorf("what was made is there: %+v", again)
	}
	image.mounted("/sys", image.place("/sys", false), "sysfs")
	if fs := image.place("/sys/fs", false); len(fs.missing) > 0 || fs.mode != "0555" {
		t.Errorf("a new /sys holds what the host's does: %+v", fs)
	}
	image.mounted("/lib", image.place("/lib", false), "tmpfs")
	if below := image.place("/usr/lib/x", false); !slices.Equal(below.missing, []string{root + "/usr/lib/x"}) {
		t.Errorf("a mount covers what links lead to: %+v", below)
	}
}

func TestWorkingDirectoryIsMadeAsFarAsItIsMissing(t *testing.T) {
	image, _ := imageTree(t)
	for dir, want := range map[string][]string{"/": nil, "/etc": nil, "/lib": nil, "/lib/a": {"/lib/a"}, "/x/y": {"/x", "/x/y"}, "/etc/../x": {"/x"}} {
		if got := image.missingUpTo(dir); !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", dir, got, want)
		}
	}
}

func TestTmpfsTakesOverTheModeThatItCovers(t *testing.T) {
	for _, c := range []struct{ device, mode, data, want string }{
		{"tmpfs", "0755", "size=1m", "mode=0755,size=1m"},
		{"tmpfs", "0755", "", "mode=0755"},
		{"tmpfs", "", "size=1m", "size=1m"},
		{"proc", "0755", "", ""},
	} {
		if got := (place{mode: c.mode}).data(&configs.Mount{Device: c.device, Data: c.data}); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestMissingPlaceIsMadeByCallsAndByHand(t *testing.T) {
	dir := place{path: "/r/a b/c", missing: []string{"/r/a b", "/r/a b/c"}}
	if want := []string{`mkdirat("/r", "a b", 0755)`, `mkdirat("/r/a b", "c", 0755)`}; !slices.Equal(dir.calls(), want) {
		t.Errorf("%q", dir.calls())
	}
	if want := []string{"mkdir -p '/r/a b/c'"}; !slices.Equal(dir.shell(), want) {
		t.Errorf("%q", dir.shell())
	}
	dir.file = true
	if calls := dir.calls(); !strings.HasPrefix(calls[1], `openat("/r/a b", "c", O_RDONLY|O_CREAT|O_EXCL`) {
		t.Errorf("%q", calls)
	}
	if want := []string{"mkdir -p '/r/a b'", "touch '/r/a b/c'"}; !slices.Equal(dir.shell(), want) {
		t.Errorf("%q", dir.shell())
	}
}

func TestProgramIsFoundInTheContainersPath(t *testing.T) {
	_, root := imageTree(t)
	for name, mode := range map[string]os.FileMode{"usr/lib/tool": 0o755, "etc/tool": 0o644} {
		if err := os.WriteFile(filepath.Join(root, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"A=1", "PATH=/nowhere:/etc:/lib:/usr/lib"}
	for name, want := range map[string]string{"tool": "/lib/tool", "/x/tool": "/x/tool", "./tool": "./tool", "gone": "gone", "lib": "lib"} {
		if got := programPath(root, &libcontainer.Process{Args: []string{name}, Env: env}); got != want {
			t.Errorf("%s is found at %s, not %s", name, got, want)
		}
	}
}

func TestMountCallsAreWrittenForTheKernelAndByHand(t *testing.T) {
	for _, c := range []struct {
		mount       mountCall
		call, shell string
	}{
		{
			mountCall{"tmpfs", "/r/dev", "tmpfs", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=755,size=64k"},
			`mount("tmpfs", "/r/dev", "tmpfs", MS_NOSUID|MS_STRICTATIME, "mode=755,size=64k")`,
			"mount -t tmpfs -o nosuid,strictatime,mode=755,size=64k tmpfs /r/dev",
		},
		{
			mountCall{"/a b", "/r/x", "bind", unix.MS_BIND | unix.MS_REC | unix.MS_RDONLY, ""},
			`mount("/a b", "/r/x", NULL, MS_RDONLY|MS_BIND|MS_REC, NULL)`, "mount --rbind '/a b' /r/x",
		},
		{
			mountCall{"", "/r/x", "", unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY, ""},
			`mount("", "/r/x", NULL, MS_RDONLY|MS_REMOUNT|MS_BIND, NULL)`, "mount -o ro,remount,bind /r/x",
		},
		{mountCall{"", "/", "", unix.MS_SLAVE | unix.MS_REC, ""}, `mount("", "/", NULL, MS_REC|MS_SLAVE, NULL)`, "mount --make-rslave /"},
		{mountCall{"proc", "/r/proc", "proc", 0, ""}, `mount("proc", "/r/proc", "proc", 0, NULL)`, "mount -t proc proc /r/proc"},
	} {
		if got := c.mount.call(); got != c.call {
			t.Errorf("call %s\nnot  %s", got, c.call)
		}
		if got := c.mount.shell(); got != c.shell {
			t.Errorf("shell %s\nnot   %s", got, c.shell)
		}
	}
}
