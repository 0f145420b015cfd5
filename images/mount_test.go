package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// newLedger records steps for a container whose directory is dir.
func newLedger(t *testing.T, dir string) *steps.Ledger {
	t.Helper()
	ledger, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot.jsonl"), Kept: filepath.Join(dir, "kept.jsonl")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ledger.Undo(Undos(), steps.Boot, steps.Kept); err != nil {
			t.Error(err)
		}
		_ = ledger.Close()
	})
	return ledger
}

func makeLayer(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		mustMake(t, filepath.Join(dir, name), content, 0o644)
	}
	return dir
}

func wantText(t *testing.T, path, want string) {
	t.Helper()
	if text, err := os.ReadFile(path); err != nil || string(text) != want {
		t.Errorf("%s holds %q, %v; want %q", path, text, err, want)
	}
}

func TestAMountStacksLayersAndKeepsThemAsTheyAre(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Overlay)
	for _, name := range []string{"plain", "colon:in:it", "comma,in it", `back\slash`, `all,of:\,it\:`, "quote's \"and\" ü"} {
		t.Run(name, func(t *testing.T) {
			top := filepath.Join(t.TempDir(), name)
			layers := []string{
				makeLayer(t, filepath.Join(top, "layers", "one"), map[string]string{"both": "lower", "one": "1"}),
				makeLayer(t, filepath.Join(top, "layers", "two"), map[string]string{"both": "upper", "two": "2"}),
			}
			dir := filepath.Join(top, "container")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			ledger := newLedger(t, dir)
			if err := Mount(ledger, layers, dir); err != nil {
				t.Fatal(err)
			}
			merged := filepath.Join(dir, "merged")
			wantText(t, filepath.Join(merged, "both"), "upper")
			wantText(t, filepath.Join(merged, "one"), "1")
			mustMake(t, filepath.Join(merged, "both"), "written", 0o644)
			wantText(t, filepath.Join(dir, "upper", "both"), "written")
			wantText(t, filepath.Join(layers[1], "both"), "upper")

			if err := undoDirectory(dir); !errors.Is(err, unix.EBUSY) {
				t.Errorf("removed through a mount: %v", err)
			}
			if err := ledger.Undo(Undos(), steps.Boot); err != nil {
				t.Fatal(err)
			}
			wantNotMountedBelow(t, dir)
			if err := Mount(ledger, layers, dir); err != nil {
				t.Fatalf("second mount: %v", err)
			}
			wantText(t, filepath.Join(merged, "both"), "written")
			if err := ledger.Undo(Undos(), steps.Boot, steps.Kept); err != nil {
				t.Fatal(err)
			}
			wantNotMountedBelow(t, dir)
			for _, path := range writablePaths(dir) {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Errorf("%s stays: %v", path, err)
				}
			}
			wantText(t, filepath.Join(layers[0], "both"), "lower")
		})
	}
}

func TestTheContainersRootHasItsModeWhateverTheUmask(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Overlay)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	dir := t.TempDir()
	layer := makeLayer(t, filepath.Join(t.TempDir(), "layer"), map[string]string{"a": "x"})
	if err := Mount(newLedger(t, dir), []string{layer}, dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "merged")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("/ has mode %v, %v; want 0755", info.Mode(), err)
	}
}

func TestTheToldMountIsTheOneThatIsMade(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Overlay)
	dir := t.TempDir()
	layer := makeLayer(t, filepath.Join(t.TempDir(), "layer"), map[string]string{"a": "x"})
	ledger := newLedger(t, dir)
	if err := Mount(ledger, []string{layer}, dir); err != nil {
		t.Fatal(err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(filepath.Join(dir, "merged")))
	if err != nil || len(mounts) != 1 {
		t.Fatalf("mounts %v, %v", mounts, err)
	}
	records := ledger.Records()
	told := records[len(records)-1]
	want := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", layer, filepath.Join(dir, "upper"), filepath.Join(dir, "work"))
	if wantCall := fmt.Sprintf("mount(\"overlay\", %q, \"overlay\", 0, %q)", filepath.Join(dir, "merged"), want); told.Call[0] != wantCall {
		t.Errorf("told %s; want %s", told.Call[0], wantCall)
	}
	if mounts[0].FSType != "overlay" || mounts[0].Source != "overlay" || !strings.Contains(mounts[0].VFSOptions, want) {
		t.Errorf("the kernel has %+v; want %s", mounts[0], want)
	}
}

func TestAMountThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Overlay)
	layer := makeLayer(t, filepath.Join(t.TempDir(), "layer"), map[string]string{"a": "x"})
	var many []string
	for i := range 60 {
		many = append(many, filepath.Join(filepath.Dir(layer), fmt.Sprintf("%064d", i)))
	}
	for name, test := range map[string]struct {
		layers []string
		want   string
	}{
		"a layer is gone":   {[]string{layer, layer + "-gone"}, layer + "-gone is gone"},
		"too many layers":   {many, "too many layers: naming all 60"},
		"no layers":         {nil, "the image has no layers"},
		"a layer is a file": {[]string{filepath.Join(layer, "a")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ledger := newLedger(t, dir)
			err := Mount(ledger, test.layers, dir)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v; want %q in it", err, test.want)
			}
			if test.want != "" {
				_ = wantFault(t, err)
			}
			wantNotMountedBelow(t, dir)
			if err := ledger.Undo(Undos(), steps.Boot, steps.Kept); err != nil {
				t.Fatal(err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "[muw]*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func wantNotMountedBelow(t *testing.T, dir string) {
	t.Helper()
	if mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir)); err != nil || len(mounts) > 0 {
		t.Errorf("mounts %v, %v", mounts, err)
	}
}

func TestOverlayOptionsNameTheTopLayerFirst(t *testing.T) {
	for name, test := range map[string]struct {
		layers []string
		dir    string
		want   string
	}{
		"one":     {[]string{"/l/1"}, "/c", "lowerdir=/l/1,upperdir=/c/upper,workdir=/c/work"},
		"three":   {[]string{"/l/1", "/l/2", "/l/3"}, "/c", "lowerdir=/l/3:/l/2:/l/1,upperdir=/c/upper,workdir=/c/work"},
		"special": {[]string{`/a:b,c\d`}, `/a:b,c\d`, `lowerdir=/a\:b\,c\\d,upperdir=/a:b\,c\\d/upper,workdir=/a:b\,c\\d/work`},
	} {
		if got, err := overlayOptions(test.layers, test.dir, ""); err != nil || got != test.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, test.want)
		}
	}
}

func TestUndosAreHarmlessWhenThereIsNothing(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	s := newStore(t)
	mustImport(t, s, "x", archiveOf(t, file("a", "x")), ImportOptions{})
	gone := filepath.Join(t.TempDir(), "never", "made")
	here := t.TempDir()
	for kind, targets := range map[steps.Kind][]string{
		KindMount: {gone, here}, KindDirectory: {gone}, KindWritable: {gone, here}, KindStaging: {gone},
		KindLayer: {s.path("layers", "00")}, KindBlob: {s.path("images/blobs/sha256", "00")},
	} {
		for _, target := range targets {
			for range 2 {
				if err := Undos()[kind](target); err != nil {
					t.Errorf("undo %s %s: %v", kind, target, err)
				}
			}
		}
	}
	if _, err := os.Stat(here); err != nil {
		t.Error(err)
	}
	wantConsistent(t, s)
}

func TestAnUndoneDirectoryTakesLinksAndNotWhatTheyLeadTo(t *testing.T) {
	outside := t.TempDir()
	mustMake(t, filepath.Join(outside, "file"), "kept", 0o600)
	top := t.TempDir()
	target := filepath.Join(top, "dir")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(target, "sub"), 0o700),
		os.Symlink(outside, filepath.Join(target, "sub", "link")),
		os.Symlink(target, filepath.Join(top, "self")),
	); err != nil {
		t.Fatal(err)
	}
	if err := undoDirectory(filepath.Join(top, "self")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(target, "sub")); err != nil {
		t.Errorf("removed through a link: %v", err)
	}
	if err := undoDirectory(target); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	wantText(t, filepath.Join(outside, "file"), "kept")
}

func TestADirectoryWithAMountInItIsKept(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	top := t.TempDir()
	real := filepath.Join(top, "real")
	mounted := filepath.Join(real, "dir", "deep", "mount")
	if err := errors.Join(os.MkdirAll(mounted, 0o700), unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=64k"), os.Symlink(real, filepath.Join(top, "link"))); err != nil {
		t.Fatal(err)
	}
	mustMake(t, filepath.Join(mounted, "file"), "kept", 0o600)
	// The kernel does not know the directory by the name with the link in it.
	for _, target := range []string{filepath.Join(real, "dir"), filepath.Join(top, "link", "dir"), mounted} {
		if err := undoDirectory(target); !errors.Is(err, unix.EBUSY) {
			t.Errorf("undo %s: %v; want EBUSY", target, err)
		}
	}
	wantText(t, filepath.Join(mounted, "file"), "kept")
	for range 2 {
		if err := undoMount(mounted); err != nil {
			t.Fatal(err)
		}
	}
	if err := undoDirectory(filepath.Join(real, "dir")); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyAbsoluteCleanPathsAreRemoved(t *testing.T) {
	for _, target := range []string{"", "/", ".", "relative", "/a/../b", "/a/"} {
		if err := undoDirectory(target); err == nil {
			t.Errorf("undo %q gave no error", target)
		}
	}
}

func TestAVolatileMountServesOnce(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Overlay)
	dir := t.TempDir()
	layers := []string{makeLayer(t, filepath.Join(t.TempDir(), "layer"), map[string]string{"a": "x"})}
	ledger := newLedger(t, dir)
	if err := MountVolatile(ledger, layers, dir); err != nil {
		t.Fatal(err)
	}
	mustMake(t, filepath.Join(dir, "merged", "a"), "written", 0o644)
	wantText(t, filepath.Join(layers[0], "a"), "x")
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(filepath.Join(dir, "merged")))
	if err != nil || len(mounts) != 1 || !strings.Contains(mounts[0].VFSOptions, "volatile") {
		t.Errorf("the kernel has %+v, %v; want volatile", mounts, err)
	}
	if err := ledger.Undo(Undos(), steps.Boot); err != nil {
		t.Fatal(err)
	}
	if err := MountVolatile(ledger, layers, dir); !errors.Is(err, unix.EINVAL) {
		t.Errorf("second mount: %v; want EINVAL", err)
	}
	wantNotMountedBelow(t, dir)
}
