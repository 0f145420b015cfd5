// Package tree holds the shape of the repository: who may import whom.
package tree

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

const module = "github.com/minidock/minidock/"

// allowed says which of our own packages each package may import. Dependencies
// point one way: cmd, runtime, leaves, steps.
func allowed() map[string][]string {
	leaf := []string{"steps"}
	runtime := []string{"cgroups", "netns", "volumes", "healthcheck", "images", "steps"}
	return map[string][]string{
		"cmd/minidock": append([]string{"runtime"}, runtime...),
		"runtime":      runtime,
		"cgroups":      leaf, "netns": leaf, "volumes": leaf, "healthcheck": leaf, "images": leaf,
		"steps": {},
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestDependenciesPointOneWay(t *testing.T) {
	seen := 0
	for _, p := range list(t) {
		may, known := allowed()[strings.TrimPrefix(p.ImportPath, module)]
		if !known {
			continue
		}
		seen++
		for _, i := range p.Imports {
			if ours, isOurs := strings.CutPrefix(i, module); isOurs && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
	}
	if seen < 6 {
		t.Errorf("only %d of the packages were found", seen)
	}
}

// Only the command line prints, and only the command line knows flags.
func TestOnlyTheCommandLineKnowsFlags(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath != module+"cmd/minidock" && slices.Contains(p.Imports, "github.com/urfave/cli/v2") {
			t.Errorf("%s imports the flag library", p.ImportPath)
		}
	}
}

// list asks the go command. The lab VM has none, and the same sources; anywhere
// else its lack is a failure.
func list(t *testing.T) []goPackage {
	t.Helper()
	require.Layers(t, "needs the go command", "unit", "native")
	cmd := exec.Command("go", "list", "-tags", "seccomp", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
