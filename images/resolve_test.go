package images

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/steps"
)

func TestAnImageIsFoundByNameAndByID(t *testing.T) {
	s := newStore(t)
	image := mustImport(t, s, "team/app:1", archiveOf(t, file("a", "x")), ImportOptions{
		Changes: []string{`CMD ["sh"]`, "ENV A=1", "WORKDIR /w", "USER u"}, Message: "made by a test",
	})
	hex := strings.TrimPrefix(image.ID, "sha256:")
	for _, ref := range []string{"team/app:1", "docker.io/team/app:1", image.ID, hex, hex[:4], "sha256:" + hex[:12], "team/app@" + image.Digest} {
		got, err := s.Resolve(ref)
		if err != nil || got.ID != image.ID {
			t.Errorf("%s is %s, %v; want %s", ref, got.ID, err, image.ID)
		}
	}
	got, err := s.Resolve("team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	c := got.Config.Config
	if fmt.Sprintf("%v %v %v %v", c.Cmd, c.Env, c.WorkingDir, c.User) != "[sh] [A=1] /w u" || got.Config.History[0].Comment != "made by a test" {
		t.Errorf("configuration %+v, history %+v", c, got.Config.History)
	}
	if got.Name != "team/app:1" || got.Repository() != "team/app" || got.Tag() != "1" || got.Size != 1 || got.Created.IsZero() || got.Tagged.IsZero() {
		t.Errorf("image %+v", got)
	}
}

func TestAnUnknownImageIsSaidInDockersWords(t *testing.T) {
	for ref, want := range map[string]string{
		"nothing":               "Unable to find image 'nothing:latest' locally",
		"a/b:1":                 "Unable to find image 'a/b:1' locally",
		"sha256:0123":           "Unable to find image 'sha256:0123' locally",
		strings.Repeat("0", 64): "Unable to find image '" + strings.Repeat("0", 64) + "' locally",
	} {
		_, err := Open(t.TempDir()).Resolve(ref)
		fault := wantFault(t, err)
		if fault.Msg != want || fault.Code != 125 || !errors.Is(err, ErrNoImage) {
			t.Errorf("%s: %q, %d, %v; want %q", ref, fault.Msg, fault.Code, fault.Err, want)
		}
	}
	_, err := Open(t.TempDir()).Resolve("BusyBox")
	if fault := wantFault(t, err); fault.Code != 125 || errors.Is(err, ErrNoImage) || !strings.Contains(fault.Msg, "must be lowercase") {
		t.Errorf("%+v", fault)
	}
}

func TestAnIDThatTwoImagesBeginWithIsRefused(t *testing.T) {
	s := newStore(t)
	var firsts string
	// Of 17 images two begin with the same digit.
	for i := range 17 {
		image := mustImport(t, s, fmt.Sprintf("app:%d", i), archiveOf(t), ImportOptions{})
		first := strings.TrimPrefix(image.ID, "sha256:")[:1]
		if strings.Contains(firsts, first) {
			_, err := s.Resolve(first)
			if fault := wantFault(t, err); !strings.Contains(fault.Msg, "multiple IDs found") {
				t.Errorf("%s: %q", first, fault.Msg)
			}
			return
		}
		firsts += first
	}
	t.Fatal("17 images begin with 17 different digits")
}

func TestADamagedStoreIsNamedByFileAndLine(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *Store, image Image) string{
		"index cut short": func(t *testing.T, s *Store, _ Image) string {
			text, err := os.ReadFile(s.indexPath())
			if err != nil {
				t.Fatal(err)
			}
			overwrite(t, s.indexPath(), string(text[:len(text)-10]))
			return s.indexPath() + ", line "
		},
		"index of another shape": func(t *testing.T, s *Store, _ Image) string {
			overwrite(t, s.indexPath(), "{\n  \"manifests\": [\n    7\n  ]\n}")
			return s.indexPath() + ", line 3"
		},
		"digest that is none": func(t *testing.T, s *Store, _ Image) string {
			overwrite(t, s.indexPath(), `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"../../etc/passwd"}]}`)
			return s.indexPath()
		},
		"manifest": func(t *testing.T, s *Store, image Image) string {
			path := s.blobPath(mustHash(t, image.Digest))
			overwrite(t, path, "{\n\n!")
			return path + ", line 3"
		},
		"manifest missing": func(t *testing.T, s *Store, image Image) string {
			path := s.blobPath(mustHash(t, image.Digest))
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return path + " is missing"
		},
		"configuration": func(t *testing.T, s *Store, image Image) string {
			path := s.blobPath(mustHash(t, image.ID))
			overwrite(t, path, "")
			return path + ", line 1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			image := mustImport(t, s, "app", archiveOf(t, file("a", "x")), ImportOptions{})
			want := damage(t, s, image)
			_, err := s.Resolve("app")
			if fault := wantFault(t, err); !strings.Contains(fault.Msg, want) {
				t.Errorf("message %q; want %q in it", fault.Msg, want)
			}
			// Nothing is removed on the word of a damaged file.
			if err := undoLayer(image.Layers[0]); err == nil {
				t.Error("a layer was removed")
			}
			if _, err := os.Stat(image.Layers[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustHash(t *testing.T, s string) v1.Hash {
	t.Helper()
	h, err := v1.NewHash(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRemovalSpeaksAsDockerDoes(t *testing.T) {
	container := strings.Repeat("c", 64)
	running, stopped := []User{{container, true}}, []User{{container, false}}
	tests := map[string]struct {
		byID, force bool
		users       []User
		refused     string
		said        []string
		stays       bool
	}{
		"unused, by name":                  {said: []string{"Untagged: app:1", "Deleted: ID", "Deleted: LAYER"}},
		"unused, by ID":                    {byID: true, said: []string{"Untagged: app:1", "Deleted: ID", "Deleted: LAYER"}},
		"used, by name":                    {users: stopped, refused: `conflict: unable to remove repository reference "app:1" (must force) - container cccccccccccc is using its referenced image SHORT`},
		"used, by name, force":             {users: stopped, force: true, said: []string{"Untagged: app:1"}, stays: true},
		"used by running, by name, force":  {users: running, force: true, said: []string{"Untagged: app:1"}, stays: true},
		"used by stopped, by ID":           {byID: true, users: stopped, refused: "conflict: unable to delete SHORT (must be forced) - image is being used by stopped container cccccccccccc"},
		"used by stopped, by ID, force":    {byID: true, users: stopped, force: true, said: []string{"Untagged: app:1"}, stays: true},
		"used by running, by ID":           {byID: true, users: running, refused: "conflict: unable to delete SHORT (cannot be forced) - image is being used by running container cccccccccccc"},
		"used by running, by ID, by force": {byID: true, users: running, force: true, refused: "conflict: unable to delete SHORT (cannot be forced) - image is being used by running container cccccccccccc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			image := mustImport(t, s, "app:1", archiveOf(t, file("a", "x")), ImportOptions{})
			ref := "app:1"
			if test.byID {
				ref = image.ID
			}
			fill := strings.NewReplacer("SHORT", shortID(image.ID), "ID", image.ID, "LAYER", image.Config.RootFS.DiffIDs[0].String())
			said, err := s.Remove(ref, RemoveOptions{Force: test.force, Users: func(id string) ([]User, error) {
				if id != image.ID {
					t.Errorf("asked for users of %s", id)
				}
				return test.users, nil
			}})
			if test.refused != "" {
				if fault := wantFault(t, err); fault.Msg != fill.Replace(test.refused) || fault.Code != 0 {
					t.Errorf("refused with %q (%d); want %q", fault.Msg, fault.Code, fill.Replace(test.refused))
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Join(said, "\n"), fill.Replace(strings.Join(test.said, "\n")); got != want {
				t.Errorf("said:\n%s\nwant:\n%s", got, want)
			}
			wantConsistent(t, s)
			if _, err := s.Resolve(image.ID); (err == nil) != (test.stays || test.refused != "") {
				t.Errorf("image after it: %v", err)
			}
		})
	}
}

func TestRemovalKeepsWhatIsShared(t *testing.T) {
	s := newStore(t)
	archive := archiveOf(t, file("a", "x"))
	one := mustImport(t, s, "one", archive, ImportOptions{})
	two := mustImport(t, s, "two", archive, ImportOptions{Changes: []string{"USER u"}})
	if one.ID == two.ID || one.Layers[0] != two.Layers[0] {
		t.Fatalf("images %s and %s with layers %v and %v", one.ID, two.ID, one.Layers, two.Layers)
	}
	said, err := s.Remove("one", RemoveOptions{})
	if err != nil || len(said) != 2 || said[1] != "Deleted: "+one.ID {
		t.Errorf("said %v, %v; want no layer deleted", said, err)
	}
	wantText(t, two.Layers[0]+"/a", "x")
	wantConsistent(t, s)
	if _, err := s.Remove("two", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, s)
}

func TestTheLastOfSeveralNamesTakesTheImageAlong(t *testing.T) {
	s := newStore(t)
	image := mustImport(t, s, "one", archiveOf(t, file("a", "x")), ImportOptions{})
	index, err := s.readIndex()
	if err != nil {
		t.Fatal(err)
	}
	second := index.Manifests[0]
	second.Annotations = map[string]string{nameAnnotation: "docker.io/library/two:latest"}
	index.Manifests = append(index.Manifests, second)
	if err := s.writeIndex(index); err != nil {
		t.Fatal(err)
	}
	_, err = s.Remove(image.ID, RemoveOptions{})
	if fault := wantFault(t, err); !strings.Contains(fault.Msg, "(must be forced) - image is referenced in multiple repositories") {
		t.Errorf("message %q", fault.Msg)
	}
	if said, err := s.Remove("one", RemoveOptions{}); err != nil || fmt.Sprint(said) != "[Untagged: one:latest]" {
		t.Errorf("said %v, %v", said, err)
	}
	wantConsistent(t, s)
	if said, err := s.Remove("two", RemoveOptions{}); err != nil || len(said) != 3 {
		t.Errorf("said %v, %v", said, err)
	}
	wantEmpty(t, s)
}

func TestRemovingAnUnknownImageIsNoMatterOfRun(t *testing.T) {
	s := newStore(t)
	_, err := s.Remove("nothing", RemoveOptions{})
	if fault := wantFault(t, err); fault.Msg != "No such image: nothing:latest" || steps.CodeOf(err, 1) != 1 || !errors.Is(err, ErrNoImage) {
		t.Errorf("%+v", fault)
	}
}

// BenchmarkResolve is on the way of every start: it should stay far below 1 ms.
func BenchmarkResolve(b *testing.B) {
	for _, count := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d images", count), func(b *testing.B) {
			s := newStore(b)
			for i := range count {
				mustImport(b, s, fmt.Sprintf("app:%d", i), archiveOf(b, file("a", "x")), ImportOptions{Changes: []string{"ENV A=1", `CMD ["sh"]`}})
			}
			for b.Loop() {
				if _, err := s.Resolve("app:0"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestAChainIDNamesALayerWithAllBelowIt(t *testing.T) {
	one, two := mustHash(t, "sha256:"+strings.Repeat("1", 64)), mustHash(t, "sha256:"+strings.Repeat("2", 64))
	if got := chainID("", one); got != one.String() {
		t.Errorf("lowest layer is %s; want its DiffID", got)
	}
	// printf 'sha256:11…1 sha256:22…2' | sha256sum
	want := "sha256:9932074217c35353d2e03a3f5a86549f7c67bfeb0ba53e23d69f4d4c8f7958f5"
	if got := chainID(one.String(), two); got != want {
		t.Errorf("second layer is %s; want %s", got, want)
	}
}
