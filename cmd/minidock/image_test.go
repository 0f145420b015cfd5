package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

func anImage(name string, created time.Time) images.Image {
	return images.Image{
		ID: "sha256:0123456789abcdef" + strings.Repeat("0", 48), Name: name, Created: created, Size: 1_982_256,
		Config: v1.ConfigFile{Created: v1.Time{Time: created}},
	}
}

func TestTheListOfImagesIsDockers(t *testing.T) {
	rows := []map[string]string{
		imageRow(anImage("localhost:5000/team/app:1.0", time.Now().Add(-3*time.Hour)), false),
		imageRow(anImage("", time.Time{}), false),
	}
	for format, want := range map[string]string{
		"": "REPOSITORY                TAG       IMAGE ID       CREATED       SIZE\n" +
			"localhost:5000/team/app   1.0       0123456789ab   3 hours ago   1.98MB\n" +
			"<none>                    <none>    0123456789ab   N/A           1.98MB\n",
		"table":                          "REPOSITORY                TAG       IMAGE ID       CREATED       SIZE\n" + "localhost:5000/team/app   1.0       0123456789ab   3 hours ago   1.98MB\n" + "<none>                    <none>    0123456789ab   N/A           1.98MB\n",
		`table {{.ID}}\t{{lower .Size}}`: "IMAGE ID       SIZE\n0123456789ab   1.98mb\n0123456789ab   1.98mb\n",
		`{{.Repository}}:{{.Tag}}`:       "localhost:5000/team/app:1.0\n<none>:<none>\n",
		`{{.Tag}}\n{{.Digest}}`:          "1.0\n<none>\n<none>\n<none>\n",
	} {
		var out strings.Builder
		if err := printRows(&out, format, imageColumns(), rows); err != nil || out.String() != want {
			t.Errorf("format %q, %v:\n%s\nwant:\n%s", format, err, out.String(), want)
		}
	}
}

func TestTheListOfImagesAsJSONHasDockersFields(t *testing.T) {
	var out strings.Builder
	row := imageRow(anImage("app:1", time.Now()), true)
	if err := printRows(&out, "json", imageColumns(), []map[string]string{row}); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"Containers", "CreatedAt", "CreatedSince", "Digest", "ID", "Repository", "SharedSize", "Size", "Tag", "UniqueSize"} {
		if got[field] == "" {
			t.Errorf("no %s in %s", field, out.String())
		}
	}
	if got["ID"] != anImage("", time.Time{}).ID || got["Digest"] != "<none>" {
		t.Errorf("ID %q, digest %q", got["ID"], got["Digest"])
	}
}

func TestAPatternChoosesImages(t *testing.T) {
	for pattern, want := range map[string]string{
		"app": "app:1 app:2", "app:1": "app:1", "app:*": "app:1 app:2", "*": "app:1 app:2", "team/*": "team/x:1", "nothing": "", "[": "",
	} {
		var got []string
		for _, name := range []string{"app:1", "app:2", "team/x:1", ""} {
			if matches(pattern, anImage(name, time.Time{})) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s chooses %v; want %s", pattern, got, want)
		}
	}
}

func TestOnlyTheFirstWarningsAreShown(t *testing.T) {
	var out strings.Builder
	w := &warnings{w: &out}
	for range 25 {
		w.add("left out dev/null")
	}
	w.end()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 11 || lines[0] != "minidock: warning: left out dev/null" || lines[10] != "minidock: warning: and 15 more like these" {
		t.Errorf("printed %q", lines)
	}
}

func TestSourcesThatCantBeReadSayWhatToDo(t *testing.T) {
	store := images.Open(filepath.Join(t.TempDir(), "root"))
	for source, want := range map[string]string{
		"https://example.org/root.tar": "minidock downloads nothing",
		"/no/such/file":                "open /no/such/file: no such file or directory",
	} {
		_, err := importFrom(context.Background(), store, source, "x", images.ImportOptions{})
		if err == nil || !strings.Contains(err.Error(), want) || steps.HintOf(err) == "" {
			t.Errorf("%s: %v; want %q", source, err, want)
		}
	}
}

func TestAnInspectedImageHasDockersFields(t *testing.T) {
	require.Needs(t, require.Linux, require.Root)
	store := images.Open(filepath.Join(t.TempDir(), "root"))
	image, err := store.ImportDir(context.Background(), t.TempDir(), "app:1", images.ImportOptions{
		Changes: []string{`CMD ["a<b"]`, "HEALTHCHECK --interval=5s --start-interval=2s CMD true"}, Message: "made here",
	})
	if err != nil {
		t.Fatal(err)
	}
	inspected, err := inspectImage(store, "app:1")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{{.Id}}`:                        image.ID,
		`{{json .RepoTags}}`:             `["app:1"]`,
		`{{json .RepoDigests}}`:          `[]`,
		`{{.Comment}}`:                   "made here",
		`{{json .Config.Cmd}}`:           `["a<b"]`,
		`{{.Os}}`:                        "linux",
		`{{.RootFS.Type}}`:               "layers",
		`{{index .RootFS.Layers 0}}`:     image.Config.RootFS.DiffIDs[0].String(),
		`{{.GraphDriver.Data.LowerDir}}`: image.Layers[0],
		`{{json .Config.Healthcheck}}`:   `{"Test":["CMD-SHELL","true"],"Interval":5000000000,"StartInterval":2000000000}`,
	} {
		var out strings.Builder
		if err := renderTemplate(&out, text, inspected); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, out.String(), err, want)
		}
	}
	if _, err := inspectImage(store, "nothing"); err == nil || err.Error() != "No such image: nothing:latest" {
		t.Errorf("error %v", err)
	}
}
