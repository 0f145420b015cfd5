package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

const compatDoc = "../../docs/docker-compat.md"

func readCompatDoc(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(compatDoc)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	listBegin = "<!-- written by make compat RECORD=1 -->\n"
	listEnd   = "<!-- end -->\n"
)

// TestDockerCompatListsEveryDifference holds the list in docs/docker-compat.md
// against the sessions of testdata/compat.
func TestDockerCompatListsEveryDifference(t *testing.T) {
	doc := readCompatDoc(t)
	before, rest, ok1 := strings.Cut(doc, listBegin)
	old, after, ok2 := strings.Cut(rest, listEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the list", compatDoc)
	}
	list := differences(t)
	if os.Getenv("MINIDOCK_COMPAT") == "record" {
		if err := os.WriteFile(compatDoc, []byte(before+listBegin+list+listEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(old, list); diff != "" {
		t.Errorf("%s is not up to date: run make compat RECORD=1 (-doc +sessions)\n%s", compatDoc, diff)
	}
}

// differences writes a section for each kind, and in it what both sides say.
func differences(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("testdata/compat/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]*strings.Builder{}
	for _, kind := range []string{deliberate, notYet, olderEngine} {
		sections[kind] = &strings.Builder{}
	}
	for _, file := range files {
		session, err := readSession(sessionOf(t, file))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range session {
			if c.kind == "" {
				continue
			}
			b := sections[c.kind]
			fmt.Fprintf(b, "- `%s`: %s\n\n", c.command, c.reason)
			for _, line := range strings.SplitAfter(strings.TrimSuffix(writeSession([]comparison{c}), "\n"), "\n")[2:] {
				b.WriteString("      " + line)
			}
			b.WriteString("\n\n")
		}
	}
	return "\n### Deliberate\n\n" + sections[deliberate].String() +
		"### Not yet\n\n" + sections[notYet].String() +
		"### The engine that was asked is older than what minidock follows\n\n" + sections[olderEngine].String()
}

// flagRow is a line of a table of flags: | `--name` | same |.
var flagRow = regexp.MustCompile("(?m)^\\| `--([a-z0-9-]+)` \\| (.*) \\|$")

// flagTables are the rows of each verb's table: flag and what is said of it.
func flagTables(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, section := range strings.Split(readCompatDoc(t), "\n### ")[1:] {
		verb, ok := strings.CutPrefix(strings.SplitN(section, "\n", 2)[0], "`docker ")
		if !ok {
			continue
		}
		rows := map[string]string{}
		for _, row := range flagRow.FindAllStringSubmatch(section, -1) {
			if rows[row[1]] != "" {
				t.Errorf("%s --%s stands there twice", verb, row[1])
			}
			rows[row[1]] = row[2]
		}
		all[strings.TrimSuffix(verb, "`")] = rows
	}
	return all
}

// longFlags are the long names of a verb's flags; the verb may be one of a group's,
// as "network create".
func longFlags(verb string) []string {
	level, flags := commands(), []cli.Flag(nil)
	for word := range strings.FieldsSeq(verb) {
		i := slices.IndexFunc(level, func(c *cli.Command) bool { return c.Name == word })
		if i < 0 {
			return nil
		}
		level, flags = level[i].Subcommands, level[i].Flags
	}
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()[0])
	}
	return names
}

// TestDockerCompatTablesTellOfEveryFlag: what minidock has is "same", "differs"
// or its own, what it lacks "not yet".
func TestDockerCompatTablesTellOfEveryFlag(t *testing.T) {
	tables := flagTables(t)
	for _, verb := range []string{"run", "exec", "logs", "ps", "stats", "network create", "network connect", "network disconnect", "network ls", "network inspect", "network rm", "network prune"} {
		rows, have := tables[verb], longFlags(verb)
		if len(rows) == 0 {
			t.Errorf("no table of docker %s", verb)
		}
		for _, name := range have {
			said := rows[name]
			if !strings.HasPrefix(said, "same") && !strings.HasPrefix(said, "differs: ") && !strings.HasPrefix(said, "minidock's own") {
				t.Errorf("minidock %s has --%s, and the table says %q", verb, name, said)
			}
		}
		for name, said := range rows {
			if !slices.Contains(have, name) && !strings.HasPrefix(said, "not yet") {
				t.Errorf("minidock %s has no --%s, and the table says %q", verb, name, said)
			}
		}
	}
}

// TestDockerCompatTablesHaveEveryFlagOfDocker asks a real command line, where
// there is one.
func TestDockerCompatTablesHaveEveryFlagOfDocker(t *testing.T) {
	engine := os.Getenv("MINIDOCK_ENGINE")
	if engine == "" {
		t.Skip("make compat sets MINIDOCK_ENGINE")
	}
	flag := regexp.MustCompile(`(?m)^ +(?:-[a-zA-Z], )?--([a-z0-9-]+)`)
	for verb, rows := range flagTables(t) {
		help, err := exec.Command(engine, append(strings.Fields(verb), "--help")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		found := flag.FindAllStringSubmatch(string(help), -1)
		// An older one may have none of a verb's flags.
		if len(found) == 0 && !strings.Contains(string(help), "Usage:") {
			t.Errorf("docker %s --help shows no usage", verb)
		}
		for _, f := range found {
			if said, ok := rows[f[1]]; f[1] != "help" && (!ok || strings.HasPrefix(said, "minidock's own")) {
				t.Errorf("docker %s has --%s, and the table says %q", verb, f[1], said)
			}
		}
	}
}
