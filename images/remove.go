package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/steps"
)

// User is a container that an image can't go away from under.
type User struct {
	// ID is the container's, in full.
	ID string
	// Running says that it runs now; a stopped one can be started again.
	Running bool
}

// RemoveOptions say how an image is removed.
type RemoveOptions struct {
	// Force takes the name even from an image that containers use; the image
	// itself then stays, without a name, as long as it is in use.
	Force bool
	// Users finds the containers that use the image with this ID; nil means that
	// there are none.
	Users func(imageID string) ([]User, error)
}

// Remove takes a name from an image, and removes the image with its last name,
// and what no other image shares with it. A reference by ID removes the image
// under its only name. What was done comes back in Docker's words: "Untagged: …",
// "Deleted: …". The error is a *[steps.Fault]; a container that uses the image
// gives Docker's conflict.
func (s *Store) Remove(ref string, o RemoveOptions) ([]string, error) {
	release, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer release()
	r, err := s.planRemoval(ref, o)
	if err != nil {
		return nil, s.translate(withoutCode(ref, err))
	}
	if err := r.carryOut(); err != nil {
		return nil, s.translate(err)
	}
	return r.said, nil
}

// withoutCode takes back what is only true of run: that a missing image could
// have been pulled, and the exit status.
func withoutCode(ref string, err error) error {
	var fault *steps.Fault
	if !errors.As(err, &fault) {
		return err
	}
	if errors.Is(err, ErrNoImage) {
		return NotFound(ref)
	}
	plain := *fault
	plain.Code = 0
	return &plain
}

// NotFound is Docker's message for an image that a verb other than run does not
// find.
func NotFound(ref string) error {
	return &steps.Fault{
		Msg:  "No such image: " + Familiar(ref),
		Hint: "List them with `minidock image ls`.",
		Err:  ErrNoImage,
	}
}

// removal is what is going to be removed.
type removal struct {
	store *Store
	index *v1.IndexManifest
	// gone are the entries of the index that go; what they refer to goes too,
	// unless another needs it.
	gone []v1.Descriptor
	said []string
}

// planRemoval decides, changing nothing on disk.
func (s *Store) planRemoval(ref string, o RemoveOptions) (*removal, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	found, err := s.find(index, ref)
	if err != nil {
		return nil, err
	}
	image, err := s.load(found)
	if err != nil {
		return nil, err
	}
	users, err := usersOf(image.ID, o)
	if err != nil {
		return nil, err
	}
	r := &removal{store: s, index: index}
	byName := found.Annotations[nameAnnotation] != "" && image.Name == Familiar(ref)
	return r, r.decide(ref, image, found, byName, users, o.Force)
}

func usersOf(id string, o RemoveOptions) ([]User, error) {
	if o.Users == nil {
		return nil, nil
	}
	return o.Users(id)
}

// decide follows Docker: a name may be taken from a used image only by force; an
// image goes when nothing uses it.
func (r *removal) decide(ref string, image Image, found v1.Descriptor, byName bool, users []User, force bool) error {
	entries := r.entriesOf(found.Digest)
	if !byName && len(entries) > 1 && !force {
		return conflict("unable to delete %s (must be forced) - image is referenced in multiple repositories", shortID(image.ID))
	}
	if byName && len(entries) > 1 {
		r.untag(found)
		return nil
	}
	if len(users) == 0 {
		for _, e := range entries {
			r.untag(e)
		}
		r.said = append(r.said, "Deleted: "+image.ID)
		return nil
	}
	if err := refuseUsed(ref, image, byName, users, force); err != nil {
		return err
	}
	r.orphan(entries)
	return nil
}

// refuseUsed returns the conflict with the containers that use an image, or nil
// where force overrides it.
func refuseUsed(ref string, image Image, byName bool, users []User, force bool) error {
	running := slices.IndexFunc(users, func(u User) bool { return u.Running })
	switch {
	case byName && !force:
		return conflict("unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			ref, shortID(users[0].ID), shortID(image.ID))
	case !byName && running >= 0:
		return conflict("unable to delete %s (cannot be forced) - image is being used by running container %s",
			shortID(image.ID), shortID(users[running].ID))
	case !byName && !force:
		return conflict("unable to delete %s (must be forced) - image is being used by stopped container %s",
			shortID(image.ID), shortID(users[0].ID))
	}
	return nil
}

func conflict(format string, args ...any) error {
	return &steps.Fault{
		Msg:  "conflict: " + fmt.Sprintf(format, args...),
		Hint: "Remove the container first (`minidock rm`), or give --force to take only the name away.",
	}
}

func (r *removal) entriesOf(digest v1.Hash) []v1.Descriptor {
	var entries []v1.Descriptor
	for _, d := range r.index.Manifests {
		if d.Digest == digest {
			entries = append(entries, d)
		}
	}
	return entries
}

// untag takes an entry out of the index.
func (r *removal) untag(entry v1.Descriptor) {
	name := entry.Annotations[nameAnnotation]
	at := slices.IndexFunc(r.index.Manifests, func(d v1.Descriptor) bool {
		return d.Digest == entry.Digest && d.Annotations[nameAnnotation] == name
	})
	r.index.Manifests = slices.Delete(r.index.Manifests, at, at+1)
	r.gone = append(r.gone, entry)
	if name != "" {
		r.said = append(r.said, "Untagged: "+Familiar(name))
	}
}

// orphan leaves an image in the index, for the containers that use it, but takes
// its names.
func (r *removal) orphan(entries []v1.Descriptor) {
	for i, d := range r.index.Manifests {
		if name := d.Annotations[nameAnnotation]; name != "" && d.Digest == entries[0].Digest {
			delete(r.index.Manifests[i].Annotations, nameAnnotation)
			r.said = append(r.said, "Untagged: "+Familiar(name))
		}
	}
}

// carryOut notes what may have to go, takes the image out of the index, and then
// removes what no image refers to any more. Killed at any point, the same removal
// is finished by [Store.Cleanup], from the same notes.
func (r *removal) carryOut() error {
	id := newID(removalPrefix)
	ledger, err := steps.Open(r.store.ledgerPaths(id), nil)
	if err != nil {
		return err
	}
	batch, err := r.announce(ledger)
	if err != nil {
		return errors.Join(err, ledger.Remove())
	}
	layers := r.layers()
	err = r.store.writeIndex(r.index)
	err = errors.Join(err, batch.End(err))
	if undoErr := ledger.Undo(Undos(), steps.Kept); undoErr != nil {
		return errors.Join(err, undoErr, ledger.Close())
	}
	return errors.Join(err, r.sayLayers(layers), ledger.Remove())
}

func (r *removal) announce(ledger *steps.Ledger) (*steps.Batch, error) {
	var list []steps.Step
	for _, entry := range r.gone {
		blobs, layers, err := r.store.partsOf(entry)
		if err != nil {
			return nil, err
		}
		for _, h := range blobs {
			list = append(list, removalStep(KindBlob, r.store.blobPath(h)))
		}
		for _, h := range layers {
			list = append(list, removalStep(KindLayer, r.store.layerPath(h)))
		}
	}
	return ledger.Announce(list)
}

func removalStep(kind steps.Kind, target string) steps.Step {
	return steps.Step{Kind: kind, Target: target, Lifetime: steps.Kept, Why: "Remove it unless another image refers to it.", Undo: "rm -r " + steps.ShellQuote(target)}
}

// layers lists the chain IDs of the layers that may go, as Docker names them,
// with where they are.
func (r *removal) layers() map[string]v1.Hash {
	layers := map[string]v1.Hash{}
	for _, entry := range r.gone {
		image, err := r.store.load(entry)
		if err != nil {
			continue // Then there is nothing to say of its layers.
		}
		chain := ""
		for _, diffID := range image.Config.RootFS.DiffIDs {
			chain = chainID(chain, diffID)
			layers[chain] = diffID
		}
	}
	return layers
}

// chainID names a layer with all below it (image-spec, config.md, "Layer ChainID").
func chainID(below string, diffID v1.Hash) string {
	if below == "" {
		return diffID.String()
	}
	h, _, _ := v1.SHA256(strings.NewReader(below + " " + diffID.String()))
	return h.String()
}

// sayLayers tells which layers are gone now.
func (r *removal) sayLayers(layers map[string]v1.Hash) error {
	used, err := r.store.references()
	if err != nil {
		return err
	}
	var gone []string
	for chain, diffID := range layers {
		if !used[diffID.Hex] {
			gone = append(gone, "Deleted: "+chain)
		}
	}
	slices.Sort(gone)
	r.said = append(r.said, gone...)
	return nil
}

// shortID cuts an ID to the 12 digits that Docker shows.
func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(12, len(id))]
}
