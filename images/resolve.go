package images

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/steps"
)

// ErrNoImage says that no image has this name or ID.
var ErrNoImage = errors.New("no such image")

// ErrBadName says that a text is no image's name, nor the beginning of an ID.
var ErrBadName = errors.New("invalid reference")

// Image is one image under one name.
type Image struct {
	// ID is the digest of the configuration, "sha256:…".
	ID string
	// Digest is the digest of the manifest, "sha256:…".
	Digest string
	// Name is the familiar name with tag, as in "busybox:latest"; empty for an
	// image that lost its name to another.
	Name string
	// Created is when the image was made; zero where it does not say.
	Created time.Time
	// Tagged is when it got its name; zero where nothing says.
	Tagged time.Time
	// Size is the bytes of its files, unpacked.
	Size int64
	// Config is how to run it.
	Config v1.ConfigFile
	// HealthStartInterval is the one setting of its healthcheck that Config has
	// no field for; 0 means the default.
	HealthStartInterval time.Duration
	// Layers are the directories of its unpacked layers, bottom first.
	Layers []string
}

// Repository is the part of the name before the tag.
func (i Image) Repository() string { repository, _ := i.split(); return repository }

// Tag is the part of the name after the repository.
func (i Image) Tag() string { _, tag := i.split(); return tag }

func (i Image) split() (repository, tag string) {
	at := strings.LastIndexByte(i.Name, ':')
	if at < 0 || strings.Contains(i.Name[at:], "/") {
		return i.Name, ""
	}
	return i.Name[:at], i.Name[at+1:]
}

// Resolve finds an image by name[:tag], name@digest, or the beginning of its ID,
// as Docker does. It takes no lock and checks no blob: every start of a container
// waits for it. The error is a *[steps.Fault] with Docker's 125, and for an
// unknown image [ErrNoImage] is its cause.
func (s *Store) Resolve(ref string) (Image, error) {
	index, err := s.readIndex()
	if err != nil {
		return Image{}, s.translate(err)
	}
	found, err := s.find(index, ref)
	if err != nil {
		return Image{}, s.translate(err)
	}
	image, err := s.load(found)
	return image, s.translate(err)
}

// List returns every image under each of its names, the newest first.
func (s *Store) List() ([]Image, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, s.translate(err)
	}
	var list []Image
	for _, d := range imagesOf(index) {
		image, err := s.load(d)
		if err != nil {
			return nil, s.translate(err)
		}
		list = append(list, image)
	}
	slices.SortStableFunc(list, func(a, b Image) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

// find looks for a name first and for an ID then: a name hides an ID.
func (s *Store) find(index *v1.IndexManifest, ref string) (v1.Descriptor, error) {
	name, nameErr := parseReference(ref)
	if nameErr == nil {
		for _, d := range imagesOf(index) {
			if d.Annotations[nameAnnotation] == name.tagged().full() || d.Digest.String() == name.digest {
				return d, nil
			}
		}
	}
	found, err := s.findID(index, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if found == nil && nameErr != nil && !errors.Is(nameErr, errIsID) {
		fault := badName(ref, nameErr)
		fault.Code, fault.Err = 125, errors.Join(ErrBadName, nameErr)
		return v1.Descriptor{}, fault
	}
	if found == nil {
		return v1.Descriptor{}, unknown(ref)
	}
	return *found, nil
}

func unknown(ref string) error {
	return &steps.Fault{
		Msg: fmt.Sprintf("Unable to find image '%s' locally", Familiar(ref)),
		Hint: "minidock pulls from no registry: `minidock image ls` lists what is here, " +
			"`minidock image import TARBALL|DIR|- NAME` makes an image of a root filesystem",
		Code: 125, Err: ErrNoImage,
	}
}

// findID looks for an image whose ID begins so. One that has several names is
// still one image.
func (s *Store) findID(index *v1.IndexManifest, ref string) (*v1.Descriptor, error) {
	prefix := strings.TrimPrefix(ref, "sha256:")
	if prefix == "" || !isHex(prefix) {
		return nil, nil
	}
	var found *v1.Descriptor
	for _, d := range imagesOf(index) {
		var m v1.Manifest
		if err := s.readBlob(d.Digest, &m); err != nil {
			return nil, err
		}
		switch {
		case !strings.HasPrefix(m.Config.Digest.Hex, prefix):
		case found != nil && found.Digest != d.Digest:
			return nil, &steps.Fault{Msg: "multiple IDs found with provided prefix: " + ref, Hint: "Give more digits, or the name.", Code: 125}
		default:
			found = &d
		}
	}
	return found, nil
}

// load reads what the index refers to.
func (s *Store) load(d v1.Descriptor) (Image, error) {
	var m v1.Manifest
	if err := s.readBlob(d.Digest, &m); err != nil {
		return Image{}, err
	}
	image := Image{ID: m.Config.Digest.String(), Digest: d.Digest.String()}
	if err := s.readBlob(m.Config.Digest, &image.Config); err != nil {
		return Image{}, err
	}
	image.Created = image.Config.Created.Time
	if full := d.Annotations[nameAnnotation]; full != "" {
		image.Name = Familiar(full)
	}
	// Another program's layout lacks these; 0 is what is then known.
	image.Size, _ = strconv.ParseInt(d.Annotations[sizeAnnotation], 10, 64)
	image.Tagged, _ = time.Parse(time.RFC3339Nano, d.Annotations[taggedAnnotation])
	for _, diffID := range image.Config.RootFS.DiffIDs {
		image.Layers = append(image.Layers, s.layerPath(diffID))
	}
	if image.Config.Config.Healthcheck == nil {
		return image, nil
	}
	var err error
	image.HealthStartInterval, err = s.startInterval(m.Config.Digest)
	return image, err
}

// healthExtra is the part of a configuration that the library's type leaves out.
type healthExtra struct {
	Config struct {
		Healthcheck struct {
			StartInterval time.Duration `json:",omitempty"`
		}
	} `json:"config"`
}

func (s *Store) startInterval(config v1.Hash) (time.Duration, error) {
	var extra healthExtra
	err := s.readBlob(config, &extra)
	return extra.Config.Healthcheck.StartInterval, err
}

// withStartInterval puts it into the text of a configuration.
func withStartInterval(text []byte, d time.Duration) ([]byte, error) {
	if d == 0 {
		return text, nil
	}
	var file, config, health map[string]json.RawMessage
	err := errors.Join(
		json.Unmarshal(text, &file),
		json.Unmarshal(file["config"], &config),
		json.Unmarshal(config["Healthcheck"], &health),
	)
	if err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	health["StartInterval"] = json.RawMessage(strconv.FormatInt(int64(d), 10))
	config["Healthcheck"], err = json.Marshal(health)
	if err == nil {
		file["config"], err = json.Marshal(config)
	}
	if err == nil {
		text, err = json.Marshal(file)
	}
	if err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	return text, nil
}
