package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// importChild makes this test's binary an import that another test kills.
const importChild = "MINIDOCK_TEST_IMPORT_ROOT"

func TestMain(m *testing.M) {
	if root := os.Getenv(importChild); root != "" {
		_, err := Open(root).Import(context.Background(), os.Stdin, "x", ImportOptions{Tell: func(r steps.Record) {
			fmt.Println(r.State, r.Kind)
		}})
		fmt.Println("ended:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestAnImportKeepsWhatTheArchiveSays(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	s := newStore(t)
	// A capability set as setcap(8) writes it: revision 2, cap_net_raw effective.
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	image := mustImport(t, s, "app", archiveOf(t,
		entry{name: "./", kind: tar.TypeDir, mode: 0o700},
		entry{name: "usr/bin/ping", content: "binary", mode: 0o4755, records: map[string]string{"SCHILY.xattr.security.capability": capability}},
		entry{name: "home/", kind: tar.TypeDir, mode: 0o2750, uid: 1234},
		entry{name: "home/file", content: "first"},
		entry{name: "home/file", content: "second", mode: 0o600, uid: 70000},
		entry{name: "home/other", kind: tar.TypeLink, link: "home/file", mode: 0o600, uid: 70000},
		symlink("bin", "usr/bin"),
		file("bin/sh", "#!"),
	), ImportOptions{})
	root := image.Layers[0]
	for name, want := range map[string]string{
		"": "drwxr-xr-x 0", "usr": "drwxr-xr-x 0", "usr/bin/ping": "urwxr-xr-x 0", "home": "dgrwxr-x--- 1234",
		"home/file": "-rw------- 70000", "home/other": "-rw------- 70000", "usr/bin/sh": "-rw-r--r-- 0",
	} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Errorf("/%s: %v", name, err)
			continue
		}
		if got := fmt.Sprintf("%v %d", info.Mode(), statOf(info).Uid); got != want {
			t.Errorf("/%s is %s; want %s", name, got, want)
		}
		if explicit := name != "" && name != "usr"; explicit && !info.ModTime().Equal(archiveTime) {
			t.Errorf("/%s is from %v; want %v", name, info.ModTime(), archiveTime)
		}
	}
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(root, "usr/bin/ping"), "security.capability", value)
	if err != nil || string(value[:n]) != capability {
		t.Errorf("capability %q, %v", value[:max(n, 0)], err)
	}
	one, _ := os.Stat(filepath.Join(root, "home/file"))
	other, _ := os.Stat(filepath.Join(root, "home/other"))
	if !os.SameFile(one, other) {
		t.Error("the hard link is another file")
	}
	wantNothingHalfMade(t, s)
}

func TestEveryCompressionGivesTheSameLayer(t *testing.T) {
	plain := archiveOf(t, file("a", strings.Repeat("text ", 1000)))
	s := newStore(t)
	want := mustImport(t, s, "plain", plain, ImportOptions{}).Config.RootFS.DiffIDs
	forms := map[string][]byte{"gzip": compressed(t, bytes.NewReader(plain)), "zstd": zstandard(t, plain)}
	for _, program := range []string{"bzip2", "xz"} {
		if _, err := exec.LookPath(program); err == nil {
			forms[program] = through(t, program, plain)
		}
	}
	for name, archive := range forms {
		if got := mustImport(t, s, name, archive, ImportOptions{}).Config.RootFS.DiffIDs; !slices.Equal(got, want) {
			t.Errorf("%s: layers %v; want %v", name, got, want)
		}
	}
	if layers, err := os.ReadDir(s.path("layers")); err != nil || len(layers) != 1 {
		t.Errorf("layers %v, %v; want one", layers, err)
	}
}

func zstandard(t *testing.T, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(plain, nil)
}

func through(t *testing.T, program string, in []byte) []byte {
	t.Helper()
	cmd := exec.Command(program, "--stdout")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return out
}

func TestACutXzStreamIsRefused(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		require.Lacks(t, "xz is not installed")
	}
	s := newStore(t)
	archive := through(t, "xz", archiveOf(t, file("a", strings.Repeat("text ", 1000))))
	_, err := s.Import(context.Background(), bytes.NewReader(archive[:len(archive)-20]), "x", ImportOptions{})
	if fault := wantFault(t, err); !strings.Contains(fault.Msg, "read archive: ") || !strings.Contains(fault.Msg, "xz") {
		t.Errorf("message %q", fault.Msg)
	}
	wantEmpty(t, s)
}

func TestANameMovesToTheNewerImage(t *testing.T) {
	s := newStore(t)
	first := mustImport(t, s, "app", archiveOf(t, file("a", "1")), ImportOptions{})
	second := mustImport(t, s, "app:latest", archiveOf(t, file("a", "2")), ImportOptions{})
	if got, err := s.Resolve("app"); err != nil || got.ID != second.ID {
		t.Errorf("app is %s, %v; want %s", got.ID, err, second.ID)
	}
	if got, err := s.Resolve(first.ID); err != nil || got.Name != "" {
		t.Errorf("the older image is called %q, %v; want no name", got.Name, err)
	}
	if list, err := s.List(); err != nil || len(list) != 2 || list[0].ID != second.ID {
		t.Errorf("list %v, %v; want the newer first", list, err)
	}
}

func TestBadNamesAreRefusedBeforeAnythingIsRead(t *testing.T) {
	s := Open(t.TempDir())
	for ref, want := range map[string]string{
		"BusyBox":                               "repository name (library/BusyBox) must be lowercase",
		"a b":                                   "invalid reference format",
		"app:" + strings.Repeat("x", 129):       "invalid reference format",
		"app@sha256:" + strings.Repeat("0", 64): "cannot import digest reference",
		strings.Repeat("0", 64):                 "cannot specify 64-byte hexadecimal strings",
	} {
		_, err := s.Import(context.Background(), unreadable{t}, ref, ImportOptions{})
		if fault := wantFault(t, err); !strings.Contains(fault.Msg, want) {
			t.Errorf("%s: %q; want %q in it", ref, fault.Msg, want)
		}
	}
	_, err := s.Import(context.Background(), unreadable{t}, "app", ImportOptions{Changes: []string{"RUN make"}})
	if fault := wantFault(t, err); !strings.Contains(fault.Msg, "run is not a valid change command") {
		t.Errorf("message %q", fault.Msg)
	}
	if entries, err := os.ReadDir(s.root); err != nil || len(entries) > 0 {
		t.Errorf("store holds %v, %v; want nothing", entries, err)
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the archive was read")
	return 0, io.EOF
}

func TestAFullDiskIsSaidAndLeavesNothing(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	}()
	s := Open(filepath.Join(small, "root"))
	mustImport(t, s, "fits", archiveOf(t, file("a", strings.Repeat("x", 1000))), ImportOptions{})
	_, err := s.Import(context.Background(), bytes.NewReader(archiveOf(t, file("big", strings.Repeat("x", 2<<20)))), "big", ImportOptions{})
	if fault := wantFault(t, err); !strings.Contains(fault.Msg, "no space left") || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("message %q", fault.Msg)
	}
	wantNothingHalfMade(t, s)
	if list, err := s.List(); err != nil || len(list) != 1 {
		t.Errorf("images %v, %v; want the one that fits", list, err)
	}
	mustImport(t, s, "fits-too", archiveOf(t, file("a", strings.Repeat("y", 1000))), ImportOptions{})
}

func TestACancelledImportLeavesNothing(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	go func() {
		_, _ = w.Write(archiveOf(t, file("a", strings.Repeat("x", 10000)))[:6000])
		cancel()
	}()
	if _, err := s.Import(ctx, r, "x", ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want cancelled", err)
	}
	wantEmpty(t, s)
}

func TestAKilledImportIsCleanedUpAndALivingOneIsNot(t *testing.T) {
	s := newStore(t)
	kept := mustImport(t, s, "kept", archiveOf(t, file("a", "x")), ImportOptions{})
	child, feed := startImport(t, s)
	defer func() { _ = feed.Close() }()
	if records, err := s.Cleanup(false); err != nil || len(records) > 0 {
		t.Errorf("cleaned up a living import: %v, %v", records, err)
	}
	if id := onlyStaging(t, s); id == "" {
		t.Error("the living import has no staging directory")
	} else if live, err := s.Live(id); err != nil || !live {
		t.Errorf("live: %v, %v", live, err)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	would, err := s.Cleanup(true)
	if err != nil || len(would) != 1 || would[0].Kind != KindStaging || onlyStaging(t, s) == "" {
		t.Errorf("dry clean-up: %v, %v", would, err)
	}
	if did, err := s.Cleanup(false); err != nil || !cmp.Equal(did, would) {
		t.Errorf("clean-up: %v, %v; want %v", did, err, would)
	}
	wantNothingHalfMade(t, s)
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].ID != kept.ID {
		t.Errorf("images %v, %v", list, err)
	}
	if again, err := s.Cleanup(false); err != nil || len(again) > 0 {
		t.Errorf("second clean-up: %v, %v", again, err)
	}
}

// startImport returns when the import unpacks, and waits for more of its archive.
func startImport(t *testing.T, s *Store) (*exec.Cmd, io.Closer) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), importChild+"="+s.root)
	feed, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	told, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Write(archiveOf(t, file("a", strings.Repeat("x", 10000)))[:6000]); err != nil {
		t.Fatal(err)
	}
	want := "begun staging\ndone staging\nbegun unpack\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(told, got); err != nil || string(got) != want {
		t.Fatalf("the import said %q, %v", got, err)
	}
	return child, feed
}

func onlyStaging(t *testing.T, s *Store) string {
	t.Helper()
	entries, err := os.ReadDir(s.path("staging"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		return ""
	}
	return entries[0].Name()
}

// TestCleanupFinishesARemovalKilledAtAnyPoint replays what a removal has on disk
// at each of its points.
func TestCleanupFinishesARemovalKilledAtAnyPoint(t *testing.T) {
	for _, point := range []string{"before the index", "after the index", "in the middle of a layer"} {
		t.Run(point, func(t *testing.T) {
			s := newStore(t)
			image := mustImport(t, s, "x", archiveOf(t, dir("d"), file("d/a", "x")), ImportOptions{})
			r, err := s.planRemoval("x", RemoveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ledger, err := steps.Open(s.ledgerPaths("rmi-0"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.announce(ledger); err != nil {
				t.Fatal(err)
			}
			if point != "before the index" {
				if err := s.writeIndex(r.index); err != nil {
					t.Fatal(err)
				}
			}
			if point == "in the middle of a layer" {
				if err := os.Rename(image.Layers[0], image.Layers[0]+leaving); err != nil {
					t.Fatal(err)
				}
			}
			if err := ledger.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Cleanup(false); err != nil {
				t.Fatal(err)
			}
			if point != "before the index" {
				wantEmpty(t, s)
				return
			}
			wantNothingHalfMade(t, s)
			if got, err := s.Resolve("x"); err != nil || got.ID != image.ID {
				t.Errorf("the image is gone: %v, %v", got, err)
			}
			if _, err := os.Stat(filepath.Join(image.Layers[0], "d/a")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestImportsAtOnceOfTheSameContentShareIt(t *testing.T) {
	s := newStore(t)
	archive := archiveOf(t, file("a", strings.Repeat("x", 100_000)))
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			if _, err := s.Import(context.Background(), bytes.NewReader(archive), fmt.Sprintf("app:%d", i%3), ImportOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := s.List()
	if err != nil || len(list) != 6 {
		t.Fatalf("%d images, %v; want 6", len(list), err)
	}
	for _, image := range list {
		if !slices.Equal(image.Layers, list[0].Layers) {
			t.Errorf("layers %v and %v", image.Layers, list[0].Layers)
		}
	}
	wantNothingHalfMade(t, s)
	wantConsistent(t, s)
}

// TestImportsAndRemovalsLeaveExactlyWhatImagesNeed does many at random; the seed
// is in the failure's text.
func TestImportsAndRemovalsLeaveExactlyWhatImagesNeed(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	s := newStore(t)
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	used := map[string]bool{}
	users := func(id string) ([]User, error) {
		if used[id] {
			return []User{{ID: strings.Repeat("c", 64)}}, nil
		}
		return nil, nil
	}
	for range 120 {
		name := fmt.Sprintf("app:%d", random.Intn(4))
		switch random.Intn(4) {
		case 0, 1:
			mustImport(t, s, name, archiveOf(t, file("a", fmt.Sprint(random.Intn(3)))), ImportOptions{})
		case 2:
			image, err := s.Resolve(name)
			_, removeErr := s.Remove(name, RemoveOptions{Users: users, Force: random.Intn(2) == 0})
			if err == nil && !used[image.ID] && removeErr != nil || err != nil && !errors.Is(removeErr, ErrNoImage) {
				t.Fatalf("seed %d: remove %s: %v", seed, name, removeErr)
			}
			if _, err := s.Resolve(image.ID); err != nil && used[image.ID] {
				t.Fatalf("seed %d: a used image is gone: %v", seed, err)
			}
		case 3:
			if image, err := s.Resolve(name); err == nil {
				used[image.ID] = !used[image.ID]
			}
		}
		wantConsistent(t, s)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	clear(used)
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range list {
		if _, err := s.Remove(image.ID, RemoveOptions{Users: users}); err != nil {
			t.Fatal(err)
		}
	}
	wantEmpty(t, s)
}

// wantConsistent compares what is on disk with what the images need.
func wantConsistent(t *testing.T, s *Store) {
	t.Helper()
	wantNothingHalfMade(t, s)
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	index, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	need := map[string]bool{}
	names := map[string]bool{}
	for _, image := range list {
		if image.Name != "" && names[image.Name] {
			t.Errorf("two images are called %s", image.Name)
		}
		names[image.Name] = true
	}
	for _, d := range index.Manifests {
		blobs, layers, err := s.partsOf(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range blobs {
			need[s.blobPath(h)] = true
		}
		for _, h := range layers {
			need[s.layerPath(h)] = true
		}
	}
	have, _ := filepath.Glob(s.path("layers", "*"))
	blobs, _ := filepath.Glob(s.path("images/blobs/sha256", "*"))
	for _, path := range append(have, blobs...) {
		if !need[path] {
			t.Errorf("%s is there, and no image needs it", path)
		}
		delete(need, path)
	}
	for path := range need {
		t.Errorf("%s is missing", path)
	}
}

func TestADirectoryBecomesAnImage(t *testing.T) {
	s := newStore(t)
	src := t.TempDir()
	mustMake(t, filepath.Join(src, "bin/tool"), "#!", 0o4755)
	mustMake(t, filepath.Join(src, "etc/conf"), "x=1", 0o640)
	if err := errors.Join(
		os.Link(filepath.Join(src, "etc/conf"), filepath.Join(src, "etc/conf2")),
		os.Symlink("/bin/tool", filepath.Join(src, "link")),
		os.Chown(filepath.Join(src, "etc/conf"), 7, 8),
		unix.Setxattr(filepath.Join(src, "bin/tool"), "trusted.note", []byte("kept"), 0),
		unix.Mkfifo(filepath.Join(src, "fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	mounted := filepath.Join(src, "proc")
	if err := errors.Join(os.Mkdir(mounted, 0o755), unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=64k")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mounted, unix.MNT_DETACH) }()
	mustMake(t, filepath.Join(mounted, "secret"), "x", 0o600)
	var warnings []string
	image, err := s.ImportDir(context.Background(), src, "tree", ImportOptions{Warn: func(w string) { warnings = append(warnings, w) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "proc empty") {
		t.Errorf("warnings %q", warnings)
	}
	again, err := s.ImportDir(context.Background(), src, "again", ImportOptions{})
	if err != nil || !slices.Equal(again.Layers, image.Layers) {
		t.Errorf("the same directory has layers %v, then %v (%v)", image.Layers, again.Layers, err)
	}
	root := image.Layers[0]
	tool, err := os.Stat(filepath.Join(root, "bin/tool"))
	if err != nil || tool.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("tool: %v, %v", tool, err)
	}
	value := make([]byte, 16)
	if n, err := unix.Lgetxattr(filepath.Join(root, "bin/tool"), "trusted.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("attribute: %v", err)
	}
	one, err1 := os.Stat(filepath.Join(root, "etc/conf"))
	two, err2 := os.Stat(filepath.Join(root, "etc/conf2"))
	if errors.Join(err1, err2) != nil || !os.SameFile(one, two) || statOf(one).Uid != 7 || statOf(one).Gid != 8 {
		t.Errorf("hard link: %v %v, %v %v", one, two, err1, err2)
	}
	if entries, err := os.ReadDir(filepath.Join(root, "proc")); err != nil || len(entries) > 0 {
		t.Errorf("what was mounted came along: %v, %v", entries, err)
	}
}

func mustMake(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(path, uint32(mode)); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatHoldsTheStoreIsRefused(t *testing.T) {
	s := newStore(t)
	mustImport(t, s, "x", archiveOf(t, file("a", "x")), ImportOptions{})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(s.root), link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.root, filepath.Dir(s.root), link} {
		_, err := s.ImportDir(context.Background(), dir, "y", ImportOptions{})
		if fault := wantFault(t, err); !strings.Contains(fault.Msg, "holds minidock's own images") {
			t.Errorf("%s: %q", dir, fault.Msg)
		}
	}
	wantNothingHalfMade(t, s)
}

func TestTheStoryOfAnImportNamesItsSteps(t *testing.T) {
	s := newStore(t)
	var told []string
	mustImport(t, s, "x", archiveOf(t, file("a", "x")), ImportOptions{Tell: func(r steps.Record) {
		if r.Why == "" || !strings.HasPrefix(r.Target, s.root) {
			t.Errorf("step %+v", r)
		}
		told = append(told, fmt.Sprintf("%s %s", r.State, r.Kind))
	}})
	want := []string{
		"begun staging", "done staging", "begun unpack", "done unpack", "begun layer", "done layer",
		"begun blob", "done blob", "begun blob", "done blob", "begun blob", "done blob",
		"begun index", "done index", "undone staging",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}
