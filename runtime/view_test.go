package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/internal/leftover"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// made makes a container of a small image, not started, and a directory on the
// host that no container may reach. What is left of it fails the test.
func made(t *testing.T) (c *Container, victim string) {
	t.Helper()
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	base, err := os.MkdirTemp("/var/tmp", "minidock-view-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, os.RemoveAll(base)) })
	leftover.Check(t, base)
	rootfs := filepath.Join(base, "rootfs")
	must(t, os.MkdirAll(filepath.Join(rootfs, "etc"), 0o755), os.MkdirAll(filepath.Join(rootfs, "dir"), 0o755),
		os.WriteFile(filepath.Join(rootfs, "etc", "motd"), []byte("image\n"), 0o644),
		os.WriteFile(filepath.Join(rootfs, "dir", "old"), []byte("old\n"), 0o644))
	l, err := LayoutOf(filepath.Join(base, "root"))
	if err == nil {
		_, err = images.Open(l.Root).ImportDir(context.Background(), rootfs, "small", images.ImportOptions{})
	}
	if err == nil {
		c, err = Create(l, Options{Image: "small", Name: "box", Command: []string{"x"}}, nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, Remove(l, "box", true, nil), os.RemoveAll(l.Run)) })
	victim = filepath.Join(base, "victim")
	must(t, os.Mkdir(victim, 0o777), os.WriteFile(filepath.Join(victim, "secret"), []byte("secret\n"), 0o600))
	return c, victim
}

func quiet(string) {}

// put copies a text into the container.
func put(c *Container, t *testing.T, text, to string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte(text), 0o644))
	_, err := CopyTo(context.Background(), c.layout, file, "box", to, CopyOptions{Warn: quiet})
	return err
}

// get copies a file out of the container.
func get(c *Container, t *testing.T, from string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if _, err := CopyFrom(context.Background(), c.layout, "box", from, file, CopyOptions{Warn: quiet}); err != nil {
		return "", err
	}
	text, err := os.ReadFile(file)
	return string(text), err
}

func TestWhatIsCopiedInComesOut(t *testing.T) {
	c, _ := made(t)
	must(t, put(c, t, "new\n", "/dir/new"))
	for path, want := range map[string]string{"/dir/new": "new\n", "dir/../dir/new": "new\n", "/../../dir/old": "old\n", "/etc/hostname": c.Config.Hostname + "\n"} {
		if got, err := get(c, t, path); got != want || err != nil {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(c.dir(), "upper", "dir", "new")); string(text) != "new\n" || err != nil {
		t.Errorf("in its layer: %q, %v", text, err)
	}
	if mountedOver(filepath.Join(c.dir(), "merged")) {
		t.Error("still mounted")
	}
	if _, err := get(c, t, "/none"); err == nil || err.Error() != "Could not find the file /none in container box" {
		t.Error(err)
	}
}

// Links of every kind lead somewhere in the container, or nowhere.
func TestNoLinkLeadsOutOfTheContainer(t *testing.T) {
	c, victim := made(t)
	pid := os.Getpid()
	links := map[string]string{
		"absolute": victim, "relative": strings.Repeat("../", 40) + victim, "root": "/", "up": "../../../../..",
		"magic": fmt.Sprintf("/proc/%d/root%s", pid, victim), "self": "/proc/self/root" + victim, "cwd": "/proc/self/cwd",
		"thread": "/proc/thread-self/root" + victim, "fd": fmt.Sprintf("/proc/%d/fd/0", pid), "dev": "/dev/fd/1",
	}
	v, err := openView(context.Background(), c.layout, "box", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range links {
		must(t, v.do(func() error { return os.Symlink(target, "/"+name) }))
	}
	defer func() { must(t, v.close()) }()
	source := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(source, []byte("planted\n"), 0o644))
	for name := range links {
		for _, path := range []string{"/" + name + "/secret", "/" + name + "/victim/secret", "/" + name + "/./secret"} {
			for _, follow := range []bool{false, true} {
				to := filepath.Join(t.TempDir(), "out")
				_, err := v.copyFrom(context.Background(), path, to, CopyOptions{Follow: follow, Warn: quiet})
				if got, _ := os.ReadFile(to); err == nil && string(got) != "planted\n" {
					t.Errorf("%s is %q", path, got)
				}
			}
		}
		for _, path := range []string{"/" + name, "/" + name + "/", "/" + name + "/new", "/" + name + "/secret"} {
			// Some land in the container, some nowhere.
			_, _ = v.copyTo(context.Background(), source, path, CopyOptions{Warn: quiet})
		}
	}
	checkVictim(t, victim)
}

// checkVictim: nothing of the host's has been read or written.
func checkVictim(t *testing.T, victim string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(victim, "*"))
	text, readErr := os.ReadFile(filepath.Join(victim, "secret"))
	if len(names) != 1 || string(text) != "secret\n" || err != nil || readErr != nil {
		t.Errorf("on the host are %v, and the secret is %q (%v)", names, text, errors.Join(err, readErr))
	}
}

// While links change places with directories all the time, nothing gets out or in.
func TestLinksThatChangeMeanwhileLeadNowhere(t *testing.T) {
	c, victim := made(t)
	v, err := openView(context.Background(), c.layout, "box", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, v.close()) }()
	must(t, os.Mkdir(filepath.Join(v.merged(), "swap"), 0o777), os.Symlink(victim, filepath.Join(v.merged(), "link")))
	dir, stop, stopped := filepath.Join(v.merged(), "swap"), atomic.Bool{}, make(chan struct{})
	go func() {
		defer close(stopped)
		for !stop.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, filepath.Join(v.merged(), "link"), unix.RENAME_EXCHANGE)
		}
	}()
	source := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(source, []byte("planted\n"), 0o644))
	landed := 0
	for range 300 {
		if _, err := v.copyTo(context.Background(), source, "/swap/secret", CopyOptions{Warn: quiet}); err == nil {
			landed++
		}
		var text bytes.Buffer
		src, err := v.source("/swap/", true)
		if err == nil {
			err = v.stream(context.Background(), &text, src, quiet)
		}
		if strings.Contains(text.String(), "secret\n\x00") {
			t.Fatalf("the host's file came out: %v", err)
		}
	}
	stop.Store(true)
	<-stopped
	if landed == 0 {
		t.Error("no copy ever landed: nothing was tried")
	}
	checkVictim(t, victim)
}

func TestDevicesInTheContainerAreNotOpened(t *testing.T) {
	c, _ := made(t)
	v, err := openView(context.Background(), c.layout, "box", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { must(t, v.close()) }()
	must(t, v.do(func() error { return unix.Mknod("/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }))
	if err := v.do(func() error { _, err := os.Open("/null"); return err }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("open a device: %v", err)
	}
	var text bytes.Buffer
	must(t, v.stream(context.Background(), &text, source{path: "/null", name: "null"}, quiet))
	if h, err := tar.NewReader(&text).Next(); err != nil || h.Typeflag != tar.TypeChar || h.Devmajor != 1 || h.Devminor != 3 {
		t.Errorf("in an archive it is %+v, %v", h, err)
	}
	var warned []string
	_, err = v.copyFrom(context.Background(), "/null", t.TempDir(), CopyOptions{Warn: func(s string) { warned = append(warned, s) }})
	if err != nil || !slices.Contains(warned, "left out null: a device node") {
		t.Errorf("copy a device: %v, warned %q", err, warned)
	}
}

func TestTheHostStaysAsItIsAroundAView(t *testing.T) {
	c, _ := made(t)
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	_, err = get(c, t, "/etc/motd")
	after, readErr := os.ReadFile("/proc/self/mountinfo")
	must(t, err, readErr)
	if diff := cmp.Diff(string(before), string(after)); diff != "" {
		t.Error(diff)
	}
	if root, err := os.Readlink("/proc/self/root"); root != "/" || err != nil {
		t.Errorf("this process's root is %s, %v", root, err)
	}
}

func TestTenThousandFilesGoInAndOut(t *testing.T) {
	c, _ := made(t)
	count := 10000
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		count = 1000 // An emulated machine takes minutes for more.
	}
	tree, back := t.TempDir(), t.TempDir()
	for i := range count {
		dir := filepath.Join(tree, fmt.Sprintf("d%02d", i%100))
		if i < 100 {
			must(t, os.Mkdir(dir, 0o755))
		}
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), fmt.Append(nil, i), 0o644))
	}
	o := CopyOptions{Warn: quiet}
	_, err := CopyTo(context.Background(), c.layout, tree+"/.", "box", "/many", o)
	if err == nil {
		_, err = CopyFrom(context.Background(), c.layout, "box", "/many/.", back, o)
	}
	must(t, err)
	for i := range count {
		got, err := os.ReadFile(filepath.Join(back, fmt.Sprintf("d%02d", i%100), fmt.Sprintf("f%d", i)))
		if err != nil || string(got) != fmt.Sprint(i) {
			t.Fatalf("file %d: %q, %v", i, got, err)
		}
	}
}

func TestABigFileGoesInAndOut(t *testing.T) {
	c, _ := made(t)
	const size = 64 << 20
	from, to := filepath.Join(t.TempDir(), "big"), filepath.Join(t.TempDir(), "big")
	must(t, os.WriteFile(from, bytes.Repeat([]byte("0123456789abcdef"), size/16), 0o600))
	o := CopyOptions{Warn: quiet}
	done, err := CopyTo(context.Background(), c.layout, from, "box", "/big", o)
	if err != nil || done.Content != size || done.Transferred <= size || done.To != "box:/big" {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := CopyFrom(context.Background(), c.layout, "box", "/big", to, o); err != nil {
		t.Fatal(err)
	}
	a, err1 := os.ReadFile(from)
	b, err2 := os.ReadFile(to)
	if !bytes.Equal(a, b) || errors.Join(err1, err2) != nil {
		t.Errorf("the file came back otherwise: %v", errors.Join(err1, err2))
	}
}

func TestAnExportIsImportedAsItWas(t *testing.T) {
	c, _ := made(t)
	v, err := openView(context.Background(), c.layout, "box", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	must(t, v.do(func() error {
		return errors.Join(
			os.WriteFile("/dir/file", []byte("text"), 0o640), os.Lchown("/dir/file", 1234, 567), unix.Chmod("/dir/file", 0o4750),
			os.Link("/dir/file", "/dir/again"), os.Symlink("../etc", "/dir/link"), os.Lchown("/dir/link", 7, 8),
			unix.Setxattr("/dir/old", "user.note", []byte("kept"), 0), unix.Mkfifo("/dir/fifo", 0o600), os.Remove("/etc/motd"))
	}), v.close())
	var text bytes.Buffer
	must(t, Export(context.Background(), c.layout, "box", &text, nil, quiet))
	image, err := images.Open(c.layout.Root).Import(context.Background(), bytes.NewReader(text.Bytes()), "again", images.ImportOptions{Warn: func(w string) { t.Error(w) }})
	if err != nil {
		t.Fatal(err)
	}
	layer := image.Layers[0]
	var st, again, link syscall.Stat_t
	must(t, syscall.Lstat(layer+"/dir/file", &st), syscall.Lstat(layer+"/dir/again", &again), syscall.Lstat(layer+"/dir/link", &link))
	if st.Mode != unix.S_IFREG|0o4750 || st.Uid != 1234 || st.Gid != 567 || st.Ino != again.Ino || link.Uid != 7 || link.Gid != 8 {
		t.Errorf("file %o %d:%d, link %d:%d, same file: %v", st.Mode, st.Uid, st.Gid, link.Uid, link.Gid, st.Ino == again.Ino)
	}
	note := make([]byte, 10)
	if n, err := unix.Getxattr(layer+"/dir/old", "user.note", note); err != nil || string(note[:n]) != "kept" {
		t.Errorf("attribute %q, %v", note, err)
	}
	if _, err := os.Lstat(layer + "/etc/motd"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the removed file: %v", err)
	}
}

func TestDiffIsDockers(t *testing.T) {
	c, _ := made(t)
	if changes, err := Diff(c.layout, "box"); len(changes) != 0 || err != nil {
		t.Errorf("never started: %v, %v", changes, err)
	}
	v, err := openView(context.Background(), c.layout, "box", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	must(t, v.do(func() error {
		return errors.Join(
			os.RemoveAll("/dir"), os.Mkdir("/dir", 0o755), os.WriteFile("/dir/new", nil, 0o600), // Opaque.
			os.Chmod("/etc/motd", 0o600), os.Chmod("/etc/motd", 0o644), // Copied up, and as it was.
			os.MkdirAll("/a/b", 0o755), os.WriteFile("/a.file", nil, 0o600), os.Mkdir("/proc", 0o755))
	}), v.close())
	changes, err := Diff(c.layout, "box")
	want := []Change{{"A", "/a"}, {"A", "/a/b"}, {"A", "/a.file"}, {"C", "/dir"}, {"A", "/dir/new"}, {"D", "/dir/old"}}
	if diff := cmp.Diff(want, changes); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A view that was killed leaves a mount, which the next one takes back, or the
// clean-up, and both leave the story of the last run alone.
func TestAKilledViewsMountIsTakenBack(t *testing.T) {
	c, _ := made(t)
	merged, story := filepath.Join(c.dir(), "merged"), filepath.Join(c.dir(), storyFile)
	must(t, undoFile(c.layout.Ledger(c.Config.ID).Boot), os.WriteFile(story, []byte("[]"), 0o600))
	abandon := func() {
		must(t, withLedger(c, nil, func(c *Container, l *steps.Ledger) error { return images.Mount(l, c.Config.Layers, c.dir()) }))
	}
	abandon()
	if _, err := get(c, t, "/etc/motd"); err != nil || mountedOver(merged) {
		t.Errorf("the next view: %v, mounted: %v", err, mountedOver(merged))
	}
	abandon()
	found, err := Cleanup(c.layout, false)
	if len(found) != 1 || err != nil || mountedOver(merged) {
		t.Errorf("clean-up: %v, %v, mounted: %v", found, err, mountedOver(merged))
	}
	text, err := os.ReadFile(story)
	if string(text) != "[]" || err != nil {
		t.Errorf("the story is %q, %v", text, err)
	}
	if _, err := os.Lstat(c.layout.Ledger(c.Config.ID).Boot); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ledger: %v", err)
	}
}

func TestAnInterruptedCopyTakesItsMountBack(t *testing.T) {
	c, _ := made(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	out, in := io.Pipe()
	defer in.Close()
	go func() { _, _ = in.Write([]byte("x")); cancel(context.Canceled) }()
	// Its input never ends.
	_, err := StreamTo(ctx, c.layout, out, "box", "/dir", CopyOptions{Warn: quiet})
	if !errors.Is(err, context.Canceled) || mountedOver(filepath.Join(c.dir(), "merged")) {
		t.Errorf("%v", err)
	}
}

func TestAReadOnlyContainerIsNotWrittenTo(t *testing.T) {
	c, _ := made(t)
	c.Config.ReadOnly = true
	must(t, writeJSON(filepath.Join(c.dir(), configFile), c.Config, false))
	if err := put(c, t, "x", "/dir"); err == nil || err.Error() != "container rootfs is marked read-only" {
		t.Error(err)
	}
	if got, err := get(c, t, "/dir/old"); got != "old\n" || err != nil {
		t.Errorf("read: %q, %v", got, err)
	}
}

// Several at once wait for each other, and leave nothing.
func TestManyCopiesOfOneStoppedContainer(t *testing.T) {
	c, _ := made(t)
	results := make(chan error)
	for i := range 8 {
		go func() {
			_, err := CopyFrom(context.Background(), c.layout, "box", "/dir", filepath.Join(t.TempDir(), fmt.Sprint(i)), CopyOptions{Warn: quiet})
			results <- err
		}()
	}
	for range 8 {
		must(t, <-results)
	}
	if mountedOver(filepath.Join(c.dir(), "merged")) {
		t.Error("still mounted")
	}
}
