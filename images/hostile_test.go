package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

func TestHostileArchivesAreRefusedAndLeaveNothing(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 30)
	tests := map[string]struct {
		archive []byte
		max     int64
		want    string
	}{
		"parent in the name":                     {archiveOf(t, file("../evil", "x")), 0, "leads out of the image"},
		"parent after a real directory":          {archiveOf(t, dir("a"), file("a/../../evil", "x")), 0, "leads out of the image"},
		"absolute name with parents":             {archiveOf(t, file("/"+up+victim, "x")), 0, "leads out of the image"},
		"directory outside":                      {archiveOf(t, dir("../evil")), 0, "leads out of the image"},
		"symbolic link outside":                  {archiveOf(t, symlink("../evil", "x")), 0, "leads out of the image"},
		"whiteout outside":                       {archiveOf(t, file("../.wh.evil", "")), 0, "leads out of the image"},
		"file through a relative link out":       {archiveOf(t, symlink("a", up+filepath.Dir(victim)), file("a/victim", "x")), 0, "leads out of the image"},
		"directory through a link out":           {archiveOf(t, symlink("a", "../.."), dir("a/evil")), 0, "leads out of the image"},
		"link through a link out":                {archiveOf(t, symlink("a", "../.."), symlink("a/evil", "x")), 0, "leads out of the image"},
		"two links that lead out together":       {archiveOf(t, dir("d"), symlink("d/a", ".."), symlink("b", "d/a/.."), file("b/evil", "x")), 0, "leads out of the image"},
		"hard link out":                          {archiveOf(t, hardlink("a", "../../etc/passwd")), 0, "leads out of the image"},
		"hard link through a link out":           {archiveOf(t, symlink("a", up+filepath.Dir(victim)), hardlink("b", "a/victim")), 0, "leads out of the image"},
		"hard link to nothing":                   {archiveOf(t, hardlink("a", "missing")), 0, "not in the archive"},
		"attribute through a link out":           {archiveOf(t, symlink("a", up+filepath.Dir(victim)), entry{name: "a/victim", records: map[string]string{"SCHILY.xattr.user.x": "y"}}), 0, "leads out of the image"},
		"file that claims 10 GiB":                {claiming(t, 10<<30), 0, "more than 8 GiB"},
		"sparse file of 10 GiB":                  {sparse(10 << 30), 0, "more than 8 GiB"},
		"size beyond any sum":                    {claiming(t, 1<<62), 0, "more than 8 GiB"},
		"files that exceed the limit together":   {archiveOf(t, file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))), 1000, "more than 1000 bytes"},
		"zeros after the end, compressed":        {compressed(t, io.MultiReader(bytes.NewReader(archiveOf(t, file("a", "x"))), zeros(64<<20))), 1 << 20, "more than 1 MiB"},
		"gzip bomb in a file":                    {compressed(t, bomb(t, 64<<20)), 1 << 20, "more than 1 MiB"},
		"cut short in a file":                    {archiveOf(t, file("a", strings.Repeat("x", 4000)))[:2000], 0, "cut short"},
		"cut short in a header":                  {archiveOf(t, file("a", "x"), file("b", "x"))[:1300], 0, "cut short"},
		"compressed and cut short":               {cut(compressed(t, bytes.NewReader(archiveOf(t, file("a", strings.Repeat("x", 4000)))))), 0, "cut short"},
		"compressed and damaged":                 {damage(compressed(t, bytes.NewReader(archiveOf(t, file("a", strings.Repeat("xyz", 4000)))))), 0, "read archive"},
		"damaged after an entry":                 {append(archiveOf(t, file("a", "x"))[:1024], bytes.Repeat([]byte("garbage "), 200)...), 0, "damaged after entry 1"},
		"text":                                   {[]byte(strings.Repeat("this is no tar archive\n", 200)), 0, "no tar archive"},
		"short text":                             {[]byte("hello\n"), 0, "no tar archive"},
		"nothing":                                {nil, 0, "is empty"},
		"owner beyond 32 bits":                   {archiveOf(t, entry{name: "a", uid: 1 << 33}), 0, "owner"},
		"name longer than the kernel takes":      {archiveOf(t, file(strings.Repeat("a/", 2100)+"b", "x")), 0, "can't be unpacked"},
		"part of a name longer than it takes":    {archiveOf(t, file(strings.Repeat("a", 300), "x")), 0, "can't be unpacked"},
		"file below a file":                      {archiveOf(t, file("a", "x"), file("a/b", "x")), 0, "can't be unpacked"},
		"symbolic links in a circle":             {archiveOf(t, symlink("a", "b"), symlink("b", "a"), file("a/c", "x")), 0, "can't be unpacked"},
		"symbolic link to nothing":               {archiveOf(t, symlink("a", "")), 0, "can't be unpacked"},
		"whiteout of what it brings":             {archiveOf(t, file("a", "x"), file(".wh.a", "")), 0, "can't be unpacked"},
		"type that nobody knows":                 {archiveOf(t, entry{name: "a", kind: 'Q'}), 0, "can't be unpacked"},
		"attribute larger than the kernel takes": {archiveOf(t, entry{name: "a", records: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("y", 70<<10)}}), 0, "can't be unpacked"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			_, err := s.Import(context.Background(), bytes.NewReader(test.archive), "evil", ImportOptions{MaxSize: test.max})
			if fault := wantFault(t, err); !strings.Contains(fault.Msg, test.want) {
				t.Errorf("message %q; want %q in it", fault.Msg, test.want)
			}
			wantEmpty(t, s)
			if text, err := os.ReadFile(victim); err != nil || string(text) != "untouched" {
				t.Errorf("the file outside is %q, %v", text, err)
			}
			if names, err := filepath.Glob(filepath.Join(filepath.Dir(s.root), "*")); err != nil || len(names) != 1 {
				t.Errorf("beside the store: %v, %v", names, err)
			}
		})
	}
}

// claiming makes an archive whose one file claims a size that it has not.
func claiming(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(entry{name: "huge", size: size}.header()); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, 4096)...)
}

// sparse makes an archive of one file in GNU's old sparse format, which is a hole
// from end to end: its size in the archive is 0 (GNU tar manual, "Old GNU Format").
func sparse(size int64) []byte {
	h := make([]byte, 512)
	copy(h, "huge")
	copy(h[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00")
	h[156] = 'S'
	copy(h[257:], "ustar  \x00")
	copy(h[386:], octal(size)+octal(0))
	copy(h[483:], octal(size))
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(h, make([]byte, 1024)...)
}

// octal is a number of 12 bytes; beyond 8 GiB GNU writes it in base 256.
func octal(n int64) string {
	if n < 1<<33 {
		return fmt.Sprintf("%011o\x00", n)
	}
	b := make([]byte, 12)
	for i := 11; i > 3; i-- {
		b[i] = byte(n)
		n >>= 8
	}
	b[0] |= 0x80
	return string(b)
}

func zeros(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// bomb is an archive with one file of zeros.
func bomb(t *testing.T, size int64) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(entry{name: "zeros", size: size}.header()); err != nil {
		t.Fatal(err)
	}
	return io.MultiReader(&b, zeros(size), zeros(1024))
}

func compressed(t *testing.T, r io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func cut(b []byte) []byte { return b[:len(b)/2] }

func damage(b []byte) []byte {
	b[len(b)-6] ^= 0xff // In the checksum.
	return b
}

func TestTooManyEntriesAreRefused(t *testing.T) {
	b := newBudget(0)
	// One inode for each 16 KiB of 8 GiB.
	for range 524288 {
		if err := b.entry(0); err != nil {
			t.Fatalf("entry %d: %v", b.entries, err)
		}
	}
	if fault := wantFault(t, b.entry(0)); !strings.Contains(fault.Msg, "more than 524288 files") {
		t.Errorf("message %q", fault.Msg)
	}
}

func TestALimitIsMetExactly(t *testing.T) {
	s := newStore(t)
	archive := archiveOf(t, file("a", strings.Repeat("x", 5000)))
	if _, err := s.Import(context.Background(), bytes.NewReader(archive), "x", ImportOptions{MaxSize: 4999}); err == nil {
		t.Error("5000 bytes fit into 4999")
	}
	if image := mustImport(t, s, "x", archive, ImportOptions{MaxSize: 5000}); image.Size != 5000 {
		t.Errorf("size %d; want 5000", image.Size)
	}
}

func TestWhatIsLeftOutIsSaid(t *testing.T) {
	s := newStore(t)
	var warnings []string
	image := mustImport(t, s, "x", archiveOf(t,
		file("/etc/hostname", "absolute\n"),
		device("dev/null"), hardlink("dev/zero", "dev/null"),
		symlink("absolute", "/etc/passwd"), symlink("up", "../../etc"),
		entry{name: "dir", kind: tar.TypeDir, mode: 0o755, records: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}},
		entry{name: "fifo", kind: tar.TypeFifo, records: map[string]string{"SCHILY.xattr.user.x": "y"}},
	), ImportOptions{Warn: func(w string) { warnings = append(warnings, w) }})
	said := strings.Join(warnings, "\n")
	for _, want := range []string{"dev/null: a device node", "dev/zero: a hard link to dev/null", "trusted.overlay.opaque of dir", "user.x of fifo"} {
		if !strings.Contains(said, want) {
			t.Errorf("no warning of %q in:\n%s", want, said)
		}
	}
	root := image.Layers[0]
	if text, err := os.ReadFile(filepath.Join(root, "etc/hostname")); err != nil || string(text) != "absolute\n" {
		t.Errorf("/etc/hostname: %q, %v", text, err)
	}
	for _, name := range []string{"dev/null", "dev/zero"} {
		if _, err := os.Lstat(filepath.Join(root, name)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	for name, want := range map[string]string{"absolute": "/etc/passwd", "up": "../../etc"} {
		if target, err := os.Readlink(filepath.Join(root, name)); err != nil || target != want {
			t.Errorf("%s leads to %q, %v; want %q", name, target, err, want)
		}
	}
}

func TestAnAbsoluteLinkLeadsInsideTheImage(t *testing.T) {
	s := newStore(t)
	outside := filepath.Join(t.TempDir(), "run")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	image := mustImport(t, s, "x", archiveOf(t, dir("var"), symlink("var/run", outside), file("var/run/pid", "1")), ImportOptions{})
	if _, err := os.Lstat(filepath.Join(outside, "pid")); !os.IsNotExist(err) {
		t.Errorf("written outside: %v", err)
	}
	if _, err := os.Stat(filepath.Join(image.Layers[0], outside, "pid")); err != nil {
		t.Errorf("not written where the container will see it: %v", err)
	}
}

func TestAnArchiveWithoutEndMarkIsTakenWithAWarning(t *testing.T) {
	s := newStore(t)
	var warnings []string
	whole := archiveOf(t, file("a", "x"))
	mustImport(t, s, "x", whole[:1024], ImportOptions{Warn: func(w string) { warnings = append(warnings, w) }})
	if len(warnings) != 1 || !strings.Contains(warnings[0], "no end mark") {
		t.Errorf("warnings %q", warnings)
	}
	mustImport(t, s, "y", whole, ImportOptions{Warn: func(w string) { t.Errorf("warning %q", w) }})
}

func TestAnEmptyArchiveIsAnEmptyImage(t *testing.T) {
	s := newStore(t)
	image := mustImport(t, s, "scratch", archiveOf(t), ImportOptions{})
	if entries, err := os.ReadDir(image.Layers[0]); err != nil || len(entries) > 0 {
		t.Errorf("layer holds %v, %v", entries, err)
	}
}

func FuzzUnpackStaysInside(f *testing.F) {
	require.Needs(f, require.Linux, require.Root)
	f.Add(archiveOf(f, file("../evil", "x")))
	f.Add(archiveOf(f, symlink("a", "../.."), file("a/evil", "x"), hardlink("b", "a/evil")))
	f.Add(archiveOf(f, dir("d"), file("d/.wh..wh..opq", ""), file(".wh.x", "")))
	f.Add(sparse(1 << 20))
	f.Fuzz(func(t *testing.T, archive []byte) {
		top := t.TempDir()
		tree := filepath.Join(top, "root")
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(context.Background(), bytes.NewReader(archive), tree, io.Discard, newBudget(1<<20), func(string) {})
		if names, err := os.ReadDir(top); err != nil || len(names) != 1 {
			t.Errorf("beside the tree: %v, %v", names, err)
		}
	})
}
