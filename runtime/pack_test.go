package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/go-archive"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// packed returns the archive of a path and what was warned of.
func packed(t *testing.T, path, as string) (*bytes.Buffer, []string) {
	t.Helper()
	var warned []string
	var text bytes.Buffer
	info, err := os.Lstat(path)
	if err == nil {
		err = newPacker(&text, false, func(w string) { warned = append(warned, w) }).pack(path, info.IsDir(), as)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &text, warned
}

// entries lists an archive, one line each: name, type, link, content.
func packedEntries(t *testing.T, text io.Reader) []string {
	t.Helper()
	var list []string
	for r := tar.NewReader(text); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%q %c %s %s", h.Name, h.Typeflag, h.Linkname, content))
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestATreeIsPackedInOrderWithItsLinks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755),
		os.WriteFile(filepath.Join(dir, "d", "b"), []byte("text"), 0o640),
		os.Link(filepath.Join(dir, "d", "b"), filepath.Join(dir, "d", "a")),
		os.Symlink("/etc/passwd", filepath.Join(dir, "d", "c")),
		unix.Mkfifo(filepath.Join(dir, "d", "e"), 0o600))
	want := []string{`"D/" 5  `, `"D/a" 0  text`, `"D/b" 1 D/a `, `"D/c" 2 /etc/passwd `, `"D/e" 6  `}
	text, _ := packed(t, filepath.Join(dir, "d"), "D")
	if diff := cmp.Diff(want, packedEntries(t, text)); diff != "" {
		t.Error(diff)
	}
	for as, first := range map[string]string{".": `"./" 5  `, "/": `"/" 5  `, "": `"a" 0  text`} {
		text, _ := packed(t, filepath.Join(dir, "d"), as)
		if got := packedEntries(t, text)[0]; got != first {
			t.Errorf("as %q begins with %s, not %s", as, got, first)
		}
	}
}

func TestASocketIsLeftOutWithAWarning(t *testing.T) {
	dir := t.TempDir()
	socket, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	must(t, os.Link(filepath.Join(dir, "s"), filepath.Join(dir, "t")))
	text, warned := packed(t, dir, "")
	if diff := cmp.Diff([]string{"left out s: a socket", "left out t: a hard link to s"}, warned); diff != "" || len(packedEntries(t, text)) != 0 {
		t.Error(diff)
	}
}

func TestAnyNameGoesThroughAnArchive(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	names := []string{
		"a b", "new\nline", "-rf", "*", `back\slash`, "\xff\xfe", "日本語", strings.Repeat("x", 255), ".wh.file", ".wh..wh..opq", " ", "a:b", "=", "tab\t",
	}
	for _, name := range names {
		must(t, os.WriteFile(filepath.Join(from, name), []byte(name), 0o600))
	}
	deep := from
	for range 20 {
		deep = filepath.Join(deep, strings.Repeat("d", 100))
	}
	must(t, os.MkdirAll(deep, 0o700), os.Symlink(strings.Repeat("l", 4000), filepath.Join(deep, "far")))
	text, _ := packed(t, from, ".")
	o := unpackOptions()
	o.NoLchown = true
	must(t, unpack(text, to, o))
	for _, name := range names {
		if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(got) != name {
			t.Errorf("%q holds %q, %v", name, got, err)
		}
	}
	if _, err := os.Readlink(filepath.Join(to, strings.TrimPrefix(deep, from), "far")); err != nil {
		t.Error(err)
	}
}

// shrinking cuts the file when its header has been written.
type shrinking struct {
	io.Writer
	path string
	done bool
}

func (s *shrinking) Write(b []byte) (int, error) {
	if !s.done {
		s.done = true
		if err := os.Truncate(s.path, 3); err != nil {
			return 0, err
		}
	}
	return s.Writer.Write(b)
}

func TestAFileThatShrinksIsFilledUpWithZeros(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	must(t, os.WriteFile(path, []byte("0123456789"), 0o600))
	var text bytes.Buffer
	var warned []string
	p := newPacker(&shrinking{Writer: &text, path: path}, false, func(w string) { warned = append(warned, w) })
	must(t, p.pack(path, false, "log"))
	if diff := cmp.Diff([]string{"\"log\" 0  012\x00\x00\x00\x00\x00\x00\x00"}, packedEntries(t, &text)); diff != "" || len(warned) != 1 {
		t.Errorf("warned %q\n%s", warned, diff)
	}
}

func TestACopyLandsWhereDockersDoes(t *testing.T) {
	file, tree, inside := source{name: "f"}, source{name: "t", dir: true}, source{name: ".", dir: true}
	isDir, isFile := archive.CopyInfo{Path: "/d", Exists: true, IsDir: true}, archive.CopyInfo{Path: "/p/x", Exists: true}
	for what, c := range map[string]struct {
		src       source
		dst       archive.CopyInfo
		dir, name string
		err       error
	}{
		"file into a directory":      {file, isDir, "/d", "f", nil},
		"file over a file":           {file, isFile, "/p", "x", nil},
		"file to a new name":         {file, archive.CopyInfo{Path: "/p/new"}, "/p", "new", nil},
		"file to a missing dir/":     {file, archive.CopyInfo{Path: "/p/new/"}, "", "", archive.ErrDirNotExists},
		"file to a missing dir/.":    {file, archive.CopyInfo{Path: "/p/new/."}, "", "", archive.ErrDirNotExists},
		"tree into a directory":      {tree, isDir, "/d", "t", nil},
		"tree over a file":           {tree, isFile, "", "", archive.ErrCannotCopyDir},
		"tree to a new name":         {tree, archive.CopyInfo{Path: "/p/new"}, "/p", "new", nil},
		"tree to a new name/":        {tree, archive.CopyInfo{Path: "/p/new/"}, "/p", "new", nil},
		"content into a directory":   {inside, isDir, "/d", ".", nil},
		"content to a new directory": {inside, archive.CopyInfo{Path: "/p/new"}, "/p", "new", nil},
	} {
		dir, name, err := landing(c.src, c.dst)
		if dir != c.dir || name != c.name || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, %q, %v", what, dir, name, err)
		}
	}
}

func TestWhatGivesOrdersToTheKernelIsSiftedOut(t *testing.T) {
	var in, out bytes.Buffer
	w := tar.NewWriter(&in)
	for _, h := range []*tar.Header{
		{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
		{Name: "alias", Typeflag: tar.TypeLink, Linkname: "/null"},
		{Name: "disk", Typeflag: tar.TypeBlock, Devmajor: 8},
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{
			"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.mine": "1",
		}},
	} {
		must(t, w.WriteHeader(h))
	}
	must(t, w.Close())
	var warned []string
	must(t, sift(context.Background(), &in, &out, "", func(s string) { warned = append(warned, s) }))
	h, err := tar.NewReader(&out).Next()
	if err != nil || h.Name != "d/" || len(h.PAXRecords) != 1 || h.PAXRecords["SCHILY.xattr.user.mine"] != "1" {
		t.Errorf("left is %+v, %v", h, err)
	}
	if len(warned) != 4 {
		t.Errorf("warned of %q", warned)
	}
}

func TestNoArchiveIsSaidToBeNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"junk":                    "the input is no tar archive, or one that is cut short",
		strings.Repeat("x", 1024): "the input is no tar archive, or a damaged one",
	} {
		err := sift(context.Background(), strings.NewReader(text), io.Discard, "", func(string) {})
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%.10q: %s", text, got)
		}
	}
}

func TestTheFirstCauseOfABrokenTransferIsTold(t *testing.T) {
	boom := errors.New("boom")
	endless := func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return fmt.Errorf("pack: %w", err)
			}
		}
	}
	if _, err := transfer(context.Background(), endless, func(io.Reader) error { return boom }); !errors.Is(err, boom) || err.Error() != "boom" {
		t.Errorf("unpacking failed: %v", err)
	}
	_, err := transfer(context.Background(), func(io.Writer) error { return boom }, func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
	if !errors.Is(err, boom) {
		t.Errorf("packing failed: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(fs.ErrClosed)
	if _, err := transfer(ctx, endless, func(io.Reader) error { select {} }); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOnlyTheContainersRowsOfPsAreShown(t *testing.T) {
	text := "USER   PID COMMAND\nroot    10 sleep 1 2\nroot     - -\nroot    11 other\nroot     - -\nroot    12 a\u00a0b c\n"
	got, err := pickProcesses(text, []int{10, 12})
	want := Processes{Titles: []string{"USER", "PID", "COMMAND"}, Rows: [][]string{{"root", "10", "sleep 1 2"}, {"root", "-", "-"}, {"root", "12", "a\u00a0b c"}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, err := pickProcesses("USER COMMAND\nroot sh\n", nil); err == nil || err.Error() != "Couldn't find PID field in ps output" {
		t.Error(err)
	}
	if _, err := pickProcesses("PID\nx\n", nil); err == nil || !strings.HasPrefix(err.Error(), "Unexpected pid 'x'") {
		t.Error(err)
	}
	for options, want := range map[string]string{"-o x=PID,pid": `specifying "x=PID,pid" is not allowed`, "-o pid=PID": "", "-ef": ""} {
		if err := checkPsOptions(options); (err != nil) != (want != "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestDescendantsAreFoundWithoutACgroup(t *testing.T) {
	if all := descendants(os.Getppid()); len(all) < 2 {
		t.Errorf("of the parent only %v", all)
	}
}

func TestEntriesArePlacedBelowADirectory(t *testing.T) {
	for _, c := range []struct {
		header, want tar.Header
		refused      string
		unwanted     bool
	}{
		{header: tar.Header{Name: "a/b"}, want: tar.Header{Name: "/mnt/a/b"}},
		{header: tar.Header{Name: "/a"}, want: tar.Header{Name: "/mnt/a"}},
		{header: tar.Header{Name: "d/", Typeflag: tar.TypeDir}, want: tar.Header{Name: "/mnt/d/", Typeflag: tar.TypeDir}},
		{header: tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../out"}, want: tar.Header{Name: "/mnt/l", Typeflag: tar.TypeSymlink, Linkname: "../out"}},
		{header: tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "a/b"}, want: tar.Header{Name: "/mnt/h", Typeflag: tar.TypeLink, Linkname: "/mnt/a/b"}},
		{header: tar.Header{Name: "./", Typeflag: tar.TypeDir}, unwanted: true},
		{header: tar.Header{Name: "/", Typeflag: tar.TypeDir}, unwanted: true},
		{header: tar.Header{Name: "../a"}, refused: `invalid entry name "../a"`},
		{header: tar.Header{Name: "a/../../b"}, refused: `invalid entry name "a/../../b"`},
		{header: tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}, refused: `invalid hardlink target "../../etc/shadow"`},
		{header: tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "."}, refused: `invalid hardlink target "."`},
	} {
		got := c.header
		wanted, err := placed(&got, "/mnt")
		switch {
		case c.refused != "":
			if err == nil || err.Error() != c.refused || steps.HintOf(err) == "" {
				t.Errorf("%+v: %v, want %s", c.header, err, c.refused)
			}
		case err != nil || wanted == c.unwanted:
			t.Errorf("%+v: wanted %v, %v", c.header, wanted, err)
		case wanted && (got.Name != c.want.Name || got.Linkname != c.want.Linkname):
			t.Errorf("%+v: %+v", c.header, got)
		}
	}
	whole := tar.Header{Name: "../a"}
	if wanted, err := placed(&whole, ""); !wanted || err != nil || whole.Name != "../a" {
		t.Errorf("without a directory: %v, %v, %s", wanted, err, whole.Name)
	}
}
