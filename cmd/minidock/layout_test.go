package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
)

// docs/layout.md names every file: what a used installation has on its disk is
// held against its table, while a container runs and after another has ended.
func TestLayoutDocumentNamesEveryFile(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	require.Layers(t, "nothing in it depends on cgroup v2", "native")
	patterns := documentedPaths(t)
	w := newWorld(t)
	w.importProbe()
	w.must("run", "--name", "ended", "--log-opt", "max-size=1", "--log-opt", "max-file=2", "probe", "/probe", "stdio")
	w.must("network", "create", "web")
	w.background("running", "probe", "/probe", "ignore-term")
	seen := 0
	for place, dir := range map[string]string{"ROOT": w.layout.Root, "RUN": w.layout.Run} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel := place + strings.TrimPrefix(path, dir)
			seen++
			if !documented(patterns, rel, entry.IsDir()) {
				t.Errorf("docs/layout.md does not name %s", rel)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if seen < 30 {
		t.Errorf("only %d files were looked at", seen)
	}
}

// documentedPaths reads the first column of the table.
func documentedPaths(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/layout.md")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:ROOT|RUN)/[^`]*)` \\|").FindAllStringSubmatch(string(text), -1) {
		paths = append(paths, m[1])
	}
	if len(paths) < 20 {
		t.Fatalf("only %d paths in docs/layout.md", len(paths))
	}
	return paths
}

// documented says whether a pattern is this path, holds it (**), or, for a
// directory, lies below it.
func documented(patterns []string, path string, isDir bool) bool {
	for _, p := range patterns {
		whole, inside := patternOf(p)
		if whole.MatchString(path) {
			return true
		}
		if isDir && inside.MatchString(path) {
			return true
		}
	}
	return false
}

// patternOf gives the expression for a documented path, and the one for the
// directories that lead to it.
func patternOf(p string) (whole, above *regexp.Regexp) {
	path, below := strings.CutSuffix(p, "/**")
	words := strings.NewReplacer("ID", "[0-9a-f]{64}", "DIGEST", "[0-9a-f]{64}", "NAME", "[^/]+", "NUMBER", "[0-9]+", "ADDRESS", "[0-9.]+", ".", `\.`)
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	var leading []string
	for i := range parts {
		parts[i] = words.Replace(parts[i])
		leading = append(leading, strings.Join(parts[:i], "/"))
	}
	tail := ""
	if below {
		tail = "(/.*)?"
	}
	return regexp.MustCompile("^" + strings.Join(parts, "/") + tail + "$"), regexp.MustCompile("^(" + strings.Join(leading, "|") + ")$")
}
