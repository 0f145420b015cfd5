package images

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// ImportOptions say how an image is made of an archive.
type ImportOptions struct {
	// Changes are Dockerfile instructions that write configuration.
	Changes []string
	// Message is the comment in the image's history; Docker's "Imported from -"
	// where there is none.
	Message string
	// MaxSize bounds what the archive unpacks, in bytes; 0 is [DefaultMaxSize].
	MaxSize int64
	// Tell, when not nil, hears every step.
	Tell func(steps.Record)
	// Warn, when not nil, hears what was left out of the image.
	Warn func(string)
}

// Import makes an image of a root filesystem's archive: tar, plain or compressed
// with gzip, zstd, bzip2 or xz. ref names it, with the tag latest unless it says
// otherwise; an image that had this name loses it. An empty ref makes an image
// without a name.
//
// The archive is not trusted: see the package's tests for what it may try. On an
// error, which is a *[steps.Fault] wherever the person can do something about it,
// nothing stays.
func (s *Store) Import(ctx context.Context, r io.Reader, ref string, o ImportOptions) (Image, error) {
	settings, err := applyChanges(o.Changes)
	if err != nil {
		return Image{}, err
	}
	name := ""
	if ref != "" {
		full, err := nameFor(ref)
		if err != nil {
			return Image{}, err
		}
		name = full.full()
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	t, err := s.begin(importPrefix, o.Tell)
	if err != nil {
		return Image{}, s.translate(err)
	}
	image, err := t.importArchive(ctx, r, name, settings, o)
	return image, s.translate(t.finish(err))
}

// transaction is one change to the store, with the ledger by which anybody can
// finish or undo it.
type transaction struct {
	store   *Store
	id      string
	ledger  *steps.Ledger
	staging string
	// live tells others that this process works on it, while it is open.
	live *os.File
}

// newID names a transaction; 64 bits of chance keep two apart.
func newID(prefix string) string {
	bits := make([]byte, 8)
	_, _ = rand.Read(bits) // It never fails (crypto/rand).
	return fmt.Sprintf("%s%x", prefix, bits)
}

// begin makes and locks the staging directory under the store's lock, so that
// nobody finds a transaction's ledger without the lock that says it lives.
func (s *Store) begin(prefix string, tell func(steps.Record)) (*transaction, error) {
	release, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer release()
	t := &transaction{store: s, id: newID(prefix)}
	t.staging = s.staging(t.id)
	if t.ledger, err = steps.Open(s.ledgerPaths(t.id), tell); err != nil {
		return nil, err
	}
	if err := t.ledger.Do(t.stagingStep(), t.makeStaging); err != nil {
		return nil, errors.Join(err, t.ledger.Remove())
	}
	return t, nil
}

func (t *transaction) stagingStep() steps.Step {
	return steps.Step{
		Kind: KindStaging, Target: t.staging, Lifetime: steps.Kept,
		Why: "Unpack aside, in a directory that nothing refers to yet, so that a failure leaves no half an image. " +
			"Its lock tells a clean-up that this import is alive.",
		Call:  []string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", t.staging), "flock(fd, LOCK_EX|LOCK_NB)"},
		Shell: []string{"mkdir -m 700 " + steps.ShellQuote(t.staging)},
		Undo:  "rm -r " + steps.ShellQuote(t.staging),
		See:   "ls " + steps.ShellQuote(t.staging),
		Man:   "mkdir(2), flock(2)",
	}
}

// makeStaging takes its directory back itself: a failed step has no undo.
func (t *transaction) makeStaging() (err error) {
	if err := unix.Mkdirat(unix.AT_FDCWD, t.staging, 0o700); err != nil {
		return &fs.PathError{Op: "mkdirat", Path: t.staging, Err: err}
	}
	if t.live, err = lockStaging(t.staging); err != nil {
		return errors.Join(err, os.Remove(t.staging))
	}
	return nil
}

// finish ends a transaction. Without an error only the staging directory goes;
// with one everything goes, as far as no image refers to it.
func (t *transaction) finish(cause error) error {
	defer func() { _ = t.live.Close() }()
	if cause == nil {
		return t.undo(steps.Undos{KindStaging: undoDirectory})
	}
	release, err := t.store.lock()
	if err == nil {
		defer release()
		err = t.undo(Undos())
	}
	if err != nil {
		return fmt.Errorf("%w (and undoing it: %w)", cause, err)
	}
	return cause
}

func (t *transaction) undo(undos steps.Undos) error {
	if err := t.ledger.Undo(undos, steps.Kept); err != nil {
		return errors.Join(err, t.ledger.Close())
	}
	return t.ledger.Remove()
}

func (t *transaction) importArchive(ctx context.Context, r io.Reader, name string, set *settings, o ImportOptions) (Image, error) {
	u, layer, err := t.unpackLayer(ctx, r, o)
	if err != nil {
		return Image{}, err
	}
	if o.Message == "" {
		o.Message = "Imported from -"
	}
	config, err := configOf(set, u.diffID, o.Message, now())
	if err != nil {
		return Image{}, err
	}
	return t.commit(u, layer, config, name)
}

func (t *transaction) treePath() string { return filepath.Join(t.staging, "root") }

func (t *transaction) archivePath() string { return filepath.Join(t.staging, "layer.tar.gz") }

func (t *transaction) unpackLayer(ctx context.Context, r io.Reader, o ImportOptions) (u unpacked, layer v1.Descriptor, err error) {
	tree := t.treePath()
	step := steps.Step{
		Kind: KindUnpack, Target: tree, Lifetime: steps.Kept,
		Why: "Unpack the archive once: any number of containers will share the files. Owners, modes, times and attributes " +
			"are kept; device nodes are left out, and a name that leads out of this directory is refused.",
		Call:  []string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0755)", tree), "openat(fd, name, …), fchownat, fchmodat, utimensat, lsetxattr for each entry", "syncfs(fd)"},
		Shell: []string{"tar --extract --numeric-owner --same-permissions --xattrs --xattrs-include='*' --directory=" + steps.ShellQuote(tree) + " --file=ARCHIVE"},
		See:   "ls -l " + steps.ShellQuote(tree),
		Man:   "tar(5), openat(2), syncfs(2)",
	}
	err = t.ledger.Do(step, func() error {
		u, layer, err = t.unpackTo(ctx, r, tree, o)
		return err
	})
	return u, layer, err
}

func (t *transaction) unpackTo(ctx context.Context, r io.Reader, tree string, o ImportOptions) (u unpacked, layer v1.Descriptor, err error) {
	if err := errors.Join(os.Mkdir(tree, 0o755), os.Chmod(tree, 0o755)); err != nil {
		return u, layer, err
	}
	keep, err := os.OpenFile(t.archivePath(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return u, layer, err
	}
	defer func() { _ = keep.Close() }()
	blob := newBlobWriter(keep)
	if u, err = unpack(ctx, r, tree, blob, newBudget(o.MaxSize), o.Warn); err != nil {
		return u, layer, err
	}
	if layer, err = blob.finish(); err != nil {
		return u, layer, err
	}
	// One call for thousands of files; an image must not lose any to a power cut.
	if err := unix.Syncfs(int(keep.Fd())); err != nil {
		return u, layer, fmt.Errorf("sync unpacked layer: %w", err)
	}
	return u, layer, nil
}

// configOf writes the image's configuration (image-spec, config.md).
func configOf(set *settings, diffID v1.Hash, message string, at time.Time) ([]byte, error) {
	text, err := json.Marshal(v1.ConfigFile{
		Architecture: goruntime.GOARCH, OS: "linux",
		Created: v1.Time{Time: at},
		History: []v1.History{{Created: v1.Time{Time: at}, Comment: message}},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID}},
		Config:  set.config,
	})
	if err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	return withStartInterval(text, set.startInterval)
}

// commit puts what is unpacked in its place, and last of all the image into the
// index. Until then nothing refers to any of it.
func (t *transaction) commit(u unpacked, layer v1.Descriptor, config []byte, name string) (Image, error) {
	release, err := t.store.lock()
	if err != nil {
		return Image{}, err
	}
	defer release()
	if err := t.placeLayer(u); err != nil {
		return Image{}, err
	}
	if err := t.placeArchive(layer); err != nil {
		return Image{}, err
	}
	configured, err := t.writeBlob(types.OCIConfigJSON, config, "The configuration says how to run the image; its digest is the image's ID.")
	if err != nil {
		return Image{}, err
	}
	text, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: configured, Layers: []v1.Descriptor{layer}})
	if err != nil {
		return Image{}, fmt.Errorf("encode image manifest: %w", err)
	}
	manifest, err := t.writeBlob(types.OCIManifestSchema1, text, "The manifest ties a configuration to its layers, each by its digest.")
	if err != nil {
		return Image{}, err
	}
	return t.nameImage(manifest, name, u.size)
}

// placeLayer moves the tree to where images share it. One that is there already
// is the same, byte for byte: its name is the digest of the archive.
func (t *transaction) placeLayer(u unpacked) error {
	from, to := t.treePath(), t.store.layerPath(u.diffID)
	step := steps.Step{
		Kind: KindLayer, Target: to, Lifetime: steps.Kept,
		Why:   "Name the layer by the digest of its archive (its DiffID): images of the same content share it.",
		Call:  []string{fmt.Sprintf("renameat(AT_FDCWD, %q, AT_FDCWD, %q)", from, to)},
		Shell: []string{"mv " + steps.ShellQuote(from) + " " + steps.ShellQuote(to)},
		Undo:  "rm -r " + steps.ShellQuote(to),
		See:   "ls " + steps.ShellQuote(to),
		Man:   "rename(2), image-spec config.md \"Layer DiffID\"",
	}
	if _, err := os.Lstat(to); err == nil {
		step.Why = "This very layer is unpacked already, for another image: both share it."
		step.Call, step.Shell = nil, nil
		return t.ledger.Do(step, func() error { return nil })
	}
	return t.ledger.Do(step, func() error { return rename(from, to) })
}

func (t *transaction) placeArchive(layer v1.Descriptor) error {
	from, to := t.archivePath(), t.store.blobPath(layer.Digest)
	return t.ledger.Do(steps.Step{
		Kind: KindBlob, Target: to, Lifetime: steps.Kept,
		Why:   "Keep the archive too, compressed, and named by its own digest: whoever gets the image from here checks it by that.",
		Call:  []string{fmt.Sprintf("renameat(AT_FDCWD, %q, AT_FDCWD, %q)", from, to)},
		Shell: []string{"mv " + steps.ShellQuote(from) + " " + steps.ShellQuote(to)},
		Undo:  "rm " + steps.ShellQuote(to),
		See:   "sha256sum " + steps.ShellQuote(to),
		Man:   "rename(2), image-spec image-layout.md",
	}, func() error { return rename(from, to) })
}

// rename is the kernel's own, and syncs the new name.
func rename(from, to string) error {
	if err := unix.Renameat(unix.AT_FDCWD, from, unix.AT_FDCWD, to); err != nil {
		return &os.LinkError{Op: "renameat", Old: from, New: to, Err: err}
	}
	return syncDirectory(filepath.Dir(to))
}

func (t *transaction) writeBlob(kind types.MediaType, text []byte, why string) (v1.Descriptor, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(text))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("digest blob: %w", err)
	}
	to := t.store.blobPath(digest)
	err = t.ledger.Do(steps.Step{
		Kind: KindBlob, Target: to, Lifetime: steps.Kept, Why: why,
		Undo: "rm " + steps.ShellQuote(to),
		See:  "cat " + steps.ShellQuote(to),
		Man:  "image-spec image-layout.md",
	}, func() error { return replace(to, text) })
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: size}, err
}

// nameImage enters the image into the index, and takes the name from the image
// that had it.
func (t *transaction) nameImage(manifest v1.Descriptor, name string, size int64) (Image, error) {
	index, err := t.store.readIndex()
	if err != nil {
		return Image{}, err
	}
	manifest.Platform = &v1.Platform{Architecture: goruntime.GOARCH, OS: "linux"}
	manifest.Annotations = map[string]string{
		sizeAnnotation:   strconv.FormatInt(size, 10),
		taggedAnnotation: now().Format(time.RFC3339Nano),
	}
	if name != "" {
		takeName(index, name)
		manifest.Annotations[nameAnnotation] = name
	}
	index.Manifests = append(index.Manifests, manifest)
	path := t.store.indexPath()
	err = t.ledger.Do(steps.Step{
		Kind: KindIndex, Target: path, Lifetime: steps.Kept,
		Why: "Enter the image into the index, replacing the file as a whole: only now does the image exist.",
		See: "cat " + steps.ShellQuote(path),
		Man: "rename(2), image-spec image-layout.md \"index.json\"",
	}, func() error { return t.store.writeIndex(index) })
	if err != nil {
		return Image{}, err
	}
	return t.store.load(manifest)
}

// takeName leaves an image without the name, but in the index: it may be in use.
func takeName(index *v1.IndexManifest, name string) {
	for i, d := range index.Manifests {
		if d.Annotations[nameAnnotation] == name {
			delete(index.Manifests[i].Annotations, nameAnnotation)
		}
	}
}
