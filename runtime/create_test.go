package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/steps"
)

func TestCommandIsMixedAsDockerDoes(t *testing.T) {
	image := v1.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"default"}}
	for name, c := range map[string]struct {
		image v1.Config
		o     Options
		want  []string
	}{
		"image's own":                         {image, Options{}, []string{"/entry", "default"}},
		"command replaces the image's":        {image, Options{Command: []string{"a", "b"}}, []string{"/entry", "a", "b"}},
		"entrypoint drops the image's cmd":    {image, Options{Entrypoint: []string{"/e"}, EntrypointSet: true}, []string{"/e"}},
		"entrypoint and command":              {image, Options{Entrypoint: []string{"/e"}, EntrypointSet: true, Command: []string{"x"}}, []string{"/e", "x"}},
		"empty entrypoint clears the image's": {image, Options{EntrypointSet: true, Command: []string{"x"}}, []string{"x"}},
		"no entrypoint at all":                {v1.Config{Cmd: []string{"sh"}}, Options{}, []string{"sh"}},
	} {
		got, err := commandOf(c.image, c.o)
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if _, err := commandOf(v1.Config{}, Options{}); err == nil || steps.CodeOf(err, 0) != 125 {
		t.Errorf("no command at all: %v", err)
	}
}

func TestLaterVariablesReplaceEarlierOnesInPlace(t *testing.T) {
	got := mixEnv("box", []string{"A=1", "C=1", "PATH=/bin"}, []string{"A=2", "B=", "A=3", "C", "UNKNOWN"})
	if diff := cmp.Diff([]string{"PATH=/bin", "HOSTNAME=box", "A=3", "B="}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRandomNamesAreAdjectiveSurname(t *testing.T) {
	for range 50 {
		if name := randomName(); !regexp.MustCompile(`^[a-z]+_[a-z]+$`).MatchString(name) {
			t.Errorf("name %q", name)
		}
	}
}

func TestNamesAreCheckedAsDockerDoes(t *testing.T) {
	for name, ok := range map[string]bool{"web": true, "a1_.-": true, "a": false, "": false, "-web": false, "we b": false, "../x": false, "wéb": false} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOnlyOneContainerGetsAName(t *testing.T) {
	l, err := LayoutOf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var ledgers []*steps.Ledger
	for _, id := range []string{"aaa", "bbb"} {
		if err := os.MkdirAll(l.Container(id), 0o700); err != nil {
			t.Fatal(err)
		}
		ledger, err := steps.Open(steps.Paths{Boot: filepath.Join(t.TempDir(), "b"), Kept: filepath.Join(t.TempDir(), "k")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ledger.Close()
		ledgers = append(ledgers, ledger)
	}
	if err := reserveName(l, ledgers[0], "web", "aaa"); err != nil {
		t.Fatal(err)
	}
	err = reserveName(l, ledgers[1], "web", "bbb")
	if err == nil || !strings.Contains(err.Error(), `The container name "/web" is already in use by container "aaa"`) {
		t.Errorf("second container: %v", err)
	}
	drawn := &Container{layout: l, Config: Config{ID: "bbb", Name: "web"}, unnamed: true}
	if err := drawn.takeName(ledgers[1]); err != nil || drawn.Config.Name == "web" || !taken(l, drawn.Config.Name) {
		t.Errorf("a name that was drawn, and is another's by now: %v, %q", err, drawn.Config.Name)
	}
	if err := undoName(filepath.Join(l.Names(), "web") + heldBy + "bbb"); err != nil || !taken(l, "web") {
		t.Errorf("the loser's undo took the name: %v", err)
	}
	if err := os.Remove(l.Container("aaa")); err != nil {
		t.Fatal(err)
	}
	if err := reserveName(l, ledgers[1], "web", "bbb"); err != nil {
		t.Errorf("a name whose holder is gone: %v", err)
	}
}

func TestBrokenStateNamesFileAndLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	whole := "{\n  \"ID\": \"abc\",\n  \"Name\": \"web\",\n  \"Args\": [\"sh\"]\n}\n"
	for cut := range whole {
		if err := os.WriteFile(path, []byte(whole[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		var c Config
		err := steps.ReadState(path, &c)
		if cut >= len(whole)-1 {
			continue // Only the last newline is missing.
		}
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if err := os.WriteFile(path, []byte("{\n\"ID\": \"a\",\n\"Name\": 7\n}"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c Config
	if err := steps.ReadState(path, &c); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("wrong type on line 3: %v", err)
	}
}

func TestAnotherRootHasNamesOfItsOwn(t *testing.T) {
	standard, err1 := LayoutOf("")
	other, err2 := LayoutOf("/srv/lab")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if standard.Instance != "minidock" || standard.Run != "/run/minidock" || standard.Root != DefaultRoot {
		t.Errorf("default: %+v", standard)
	}
	if !regexp.MustCompile(`^minidock-[0-9a-f]{8}$`).MatchString(other.Instance) || other.Run != "/run/"+other.Instance {
		t.Errorf("other: %+v", other)
	}
}
