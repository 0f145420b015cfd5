package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// entry is one entry of a test's archive.
type entry struct {
	name    string
	kind    byte
	link    string
	content string
	mode    int64
	uid     int
	records map[string]string
	size    int64
}

func file(name, content string) entry { return entry{name: name, content: content} }

func dir(name string) entry { return entry{name: name, kind: tar.TypeDir, mode: 0o755} }

func symlink(name, target string) entry {
	return entry{name: name, kind: tar.TypeSymlink, link: target}
}

func hardlink(name, target string) entry { return entry{name: name, kind: tar.TypeLink, link: target} }

func device(name string) entry { return entry{name: name, kind: tar.TypeChar} }

// archiveTime is the time of all entries: archives of the same entries are equal.
var archiveTime = time.Date(2024, 2, 3, 4, 5, 6, 0, time.UTC)

func (e entry) header() *tar.Header {
	if e.kind == 0 {
		e.kind = tar.TypeReg
	}
	if e.mode == 0 {
		e.mode = 0o644
	}
	size := int64(len(e.content))
	if e.size > 0 {
		size = e.size
	}
	return &tar.Header{
		Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Uid: e.uid, Gid: e.uid,
		Size: size, ModTime: archiveTime, PAXRecords: e.records, Format: tar.FormatPAX,
	}
}

// archiveOf makes a tar archive.
func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(e.header()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// newStore makes a store; importing takes root, as an image's files have owners.
func newStore(t testing.TB) *Store {
	t.Helper()
	require.Needs(t, require.Linux, require.Root)
	return Open(filepath.Join(t.TempDir(), "root"))
}

func mustImport(t testing.TB, s *Store, name string, archive []byte, o ImportOptions) Image {
	t.Helper()
	image, err := s.Import(context.Background(), bytes.NewReader(archive), name, o)
	if err != nil {
		t.Fatalf("import %s: %v", name, err)
	}
	return image
}

// wantNothingHalfMade fails where anything of an import stays beside images.
func wantNothingHalfMade(t testing.TB, s *Store) {
	t.Helper()
	for _, part := range []string{"staging", "ledgers"} {
		entries, err := os.ReadDir(s.path(part))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left behind: %s/%s", part, e.Name())
		}
	}
}

// wantEmpty fails where the store holds anything.
func wantEmpty(t testing.TB, s *Store) {
	t.Helper()
	wantNothingHalfMade(t, s)
	for _, part := range []string{"layers", "images/blobs/sha256"} {
		entries, err := os.ReadDir(s.path(part))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("left behind: %s/%s", part, e.Name())
		}
	}
	list, err := s.List()
	if err != nil || len(list) > 0 {
		t.Errorf("images %v, %v; want none", list, err)
	}
}

// wantFault fails unless err is meant for the person at the terminal.
func wantFault(t testing.TB, err error) *steps.Fault {
	t.Helper()
	var fault *steps.Fault
	if !errors.As(err, &fault) || fault.Error() != err.Error() {
		t.Fatalf("error %v (%T); want a fault", err, err)
	}
	if fault.Hint == "" {
		t.Errorf("%q has no hint", fault.Msg)
	}
	return fault
}
