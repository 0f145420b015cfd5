package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Annotations of an image in index.json.
const (
	// nameAnnotation carries the full name (image-spec, annotations.md).
	nameAnnotation = "org.opencontainers.image.ref.name"
	// sizeAnnotation carries the bytes that the image's files have unpacked.
	sizeAnnotation = "io.github.minidock.unpacked-size"
	// taggedAnnotation carries when the image got its name, RFC 3339.
	taggedAnnotation = "io.github.minidock.tagged"
)

// layoutVersion is the text of the file oci-layout (image-spec, image-layout.md).
const layoutVersion = `{"imageLayoutVersion":"1.0.0"}` + "\n"

// Store keeps images below one root directory. Several processes may use one at
// the same time: readers see whole files only, writers take turns.
type Store struct{ root string }

// Open names the store below a root directory. It neither reads nor makes
// anything.
func Open(root string) *Store {
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	return &Store{root: root}
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.root}, parts...)...)
}

func (s *Store) indexPath() string { return s.path("images", "index.json") }

func (s *Store) blobPath(h v1.Hash) string { return s.path("images", "blobs", h.Algorithm, h.Hex) }

// layerPath is where the layer of this DiffID is unpacked.
func (s *Store) layerPath(diffID v1.Hash) string { return s.path("layers", diffID.Hex) }

// lock lets this process be the only one that changes the store, until release
// is called. It waits for whoever does so now.
func (s *Store) lock() (release func(), err error) {
	if err := s.prepare(); err != nil {
		return nil, s.translate(err)
	}
	l := flock.New(s.path("images", "lock"))
	if err := l.Lock(); err != nil {
		return nil, s.translate(fmt.Errorf("lock image store: %w", err))
	}
	if err := s.tidy(); err != nil {
		return nil, s.translate(errors.Join(err, l.Close()))
	}
	return func() { _ = l.Close() }, nil
}

// tidy mends what a writer left that was killed in the middle of a file.
func (s *Store) tidy() error {
	if err := os.Remove(s.indexPath() + part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("tidy image store: %w", err)
	}
	marker := s.path("images", "oci-layout")
	if text, err := os.ReadFile(marker); err == nil && string(text) == layoutVersion {
		return nil
	}
	return os.WriteFile(marker, []byte(layoutVersion), 0o600)
}

// prepare makes what every store has. It stays when nothing is in the store any
// more, and so has no undo.
func (s *Store) prepare() error {
	for _, dir := range []string{s.path("images", "blobs", "sha256"), s.path("layers"), s.path("staging")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make image store: %w", err)
		}
	}
	return nil
}

// readIndex returns an empty index where there is none yet.
func (s *Store) readIndex() (*v1.IndexManifest, error) {
	index := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	err := readJSON(s.indexPath(), index)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return index, err
}

// writeIndex replaces index.json as a whole: the one moment at which an image
// comes into being, or ceases to be.
func (s *Store) writeIndex(index *v1.IndexManifest) error {
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return fmt.Errorf("encode image index: %w", err)
	}
	if err := replace(s.indexPath(), append(text, '\n')); err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	return nil
}

// part ends the name of a file that is still being written. The holder of the
// store's lock is the only one who writes any.
const part = ".part"

// replace writes a file as a whole, such that it survives a power cut: readers,
// who take no lock, see the old or the new one.
func replace(path string, text []byte) error {
	f, err := os.OpenFile(path+part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+part))
	}
	return rename(path+part, path)
}

// syncDirectory makes the names in a directory survive a power cut (fsync(2):
// syncing a file does not sync its name).
func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// images lists the manifests of the index; an index of another program may hold
// other things too.
func imagesOf(index *v1.IndexManifest) []v1.Descriptor {
	return slices.DeleteFunc(slices.Clone(index.Manifests), func(d v1.Descriptor) bool { return !d.MediaType.IsImage() })
}

// Transactions: an import or a removal has a ledger of its own, so that whoever
// comes after a killed process can finish what it began.
const (
	importPrefix  = "import-"
	removalPrefix = "rmi-"
)

// Owns says whether the ledger of this ID belongs to the image store, and not to
// a container; [Store.Cleanup] looks after it.
func Owns(ledgerID string) bool {
	return strings.HasPrefix(ledgerID, importPrefix) || strings.HasPrefix(ledgerID, removalPrefix)
}

func (s *Store) staging(id string) string { return s.path("staging", id) }

// ledgerPaths has no file for what dies with the boot: a store makes no such thing.
func (s *Store) ledgerPaths(id string) steps.Paths {
	return steps.Paths{Kept: s.path("ledgers", id+".jsonl")}
}

// Cleanup undoes what imports and removals left whose process died, and returns
// the records of that; with dry it only returns them. An import that still runs
// is left alone.
func (s *Store) Cleanup(dry bool) ([]steps.Record, error) {
	entries, err := os.ReadDir(s.path("ledgers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.translate(fmt.Errorf("list imports: %w", err))
	}
	var all []steps.Record
	var errs []error
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".jsonl"); ok && Owns(id) {
			records, err := s.cleanOne(id, dry)
			all, errs = append(all, records...), append(errs, err)
		}
	}
	return all, errors.Join(errs...)
}

// cleanOne works under the store's lock: nobody begins, commits or removes
// anything meanwhile, so a transaction that does not hold its staging is dead.
func (s *Store) cleanOne(id string, dry bool) ([]steps.Record, error) {
	release, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer release()
	if live, err := s.Live(id); live || err != nil {
		return nil, err
	}
	ledger, err := steps.Open(s.ledgerPaths(id), nil)
	if err != nil {
		return nil, err
	}
	pending := ledger.Pending(Undos(), steps.Kept)
	if dry {
		return pending, ledger.Close()
	}
	if err := ledger.Undo(Undos(), steps.Kept); err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	return pending, ledger.Remove()
}

// Live says whether the process of an import still works on it: it then holds a
// lock on the import's directory.
func (s *Store) Live(id string) (bool, error) {
	f, err := lockStaging(s.staging(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, err
	}
	return false, f.Close()
}

// lockStaging locks a directory until its process dies or closes the file.
func lockStaging(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock staging directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock staging directory %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// readJSON reads one of the store's files; what can't be understood gives a
// fault that names the file and the line.
func readJSON(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read image store: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return &steps.Fault{
			Msg:  fmt.Sprintf("read image store: %s, line %d: %v", path, steps.LineOf(err, text), err),
			Hint: damagedHint, Code: 125, Err: err,
		}
	}
	return nil
}

const damagedHint = "A file of the store was cut short, edited or removed: mend it, or move the images directory away and import again."

// readBlob reads a blob that something refers to, so that it has to be there.
func (s *Store) readBlob(h v1.Hash, into any) error {
	err := readJSON(s.blobPath(h), into)
	if errors.Is(err, fs.ErrNotExist) {
		return &steps.Fault{Msg: "read image store: " + s.blobPath(h) + " is missing", Hint: damagedHint, Code: 125, Err: err}
	}
	return err
}

// translate turns what the kernel refuses into what the person can do about it;
// faults and other errors pass.
func (s *Store) translate(err error) error {
	var fault *steps.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &steps.Fault{
			Msg:  "no space left for the image below " + s.root,
			Hint: fmt.Sprintf("Free some space there (`df -h %s` shows it, `df -i` its inodes), or choose another place with --root.", s.root),
			Code: 125, Err: err,
		}
	case errors.Is(err, unix.EROFS):
		return &steps.Fault{
			Msg:  s.root + " is on a read-only filesystem",
			Hint: "Choose another place with --root.", Code: 125, Err: err,
		}
	case errors.Is(err, fs.ErrPermission):
		return &steps.Fault{
			Msg:  "the image store below " + s.root + " is not yours to use: permission denied",
			Hint: "Run it as root (sudo); an image's files belong to several users, and only root can give files away.",
			Code: 125, Err: err,
		}
	}
	return err
}

// now is a time as state files hold it: UTC.
func now() time.Time { return time.Now().UTC() }
