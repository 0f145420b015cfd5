package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// exchange is one command and what was said to it, made comparable.
type exchange struct {
	command string
	// lines are what it wrote, errors after a "! ", and its status, unless 0.
	lines []string
}

// Why there is a difference.
const (
	olderEngine = "older-engine" // the engine that was asked is older than what minidock follows
	deliberate  = "deliberate"
	notYet      = "not-yet"
	undeclared  = "undeclared"
)

// comparison is one command of a session, and what both sides say to it.
type comparison struct {
	command          string
	kind, reason     string
	docker, minidock []string
}

func note(words []string, out, err, status string) exchange {
	e := exchange{command: comparableText(commandLine(words))}
	e.lines = append(e.lines, comparableLines(out)...)
	for _, line := range comparableLines(err) {
		if strings.HasPrefix(line, "Usage:") {
			break // All of the help follows.
		}
		if said := bareMessage(line); said != "" {
			e.lines = append(e.lines, "! "+said)
		}
	}
	if status != "0" {
		e.lines = append(e.lines, "["+status+"]")
	}
	return e
}

func commandLine(words []string) string {
	var quoted []string
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n'\"{}$*|;&") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted = append(quoted, w)
	}
	return strings.Join(quoted, " ")
}

// What is different in each run, or of the same meaning, is written in one way.
var incomparable = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`), ""},
	{regexp.MustCompile(`\bsha256:[0-9a-f]{64}\b`), "sha256:ID"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "SHORTID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} [A-Z0-9+-]+`), "TIME"},
	{regexp.MustCompile(`(Less than a second|About a minute|\d+ (second|minute)s?) ago`), "AGO"},
	{regexp.MustCompile(`Up (Less than a second|About a minute|\d+ (second|minute)s?)`), "Up SINCE"},
	{regexp.MustCompile(`"Pid":[1-9]\d*`), `"Pid":PID`},
	{regexp.MustCompile(` {2,}`), "  "},
	{regexp.MustCompile(`\s+$`), ""},
}

func comparableText(text string) string {
	for _, i := range incomparable {
		text = i.pattern.ReplaceAllString(text, i.by)
	}
	return text
}

func comparableLines(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if line = comparableText(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// unsaid is what a program says beside the message itself: who it is, which of
// its layers had the error, and where there is help.
var unsaid = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`^  hint: .*`), ""},
	{regexp.MustCompile(`^(See|Run) 'docker .*--help'.*`), ""},
	// The older command line logs what it then says, too.
	{regexp.MustCompile(`^time="TIME" level=error msg="error waiting for container: .*`), ""},
	{regexp.MustCompile(`^(docker|minidock): `), ""},
	{regexp.MustCompile(`Error response from daemon: |^Error: |^Error response: `), ""},
	{regexp.MustCompile(`(failed to set up container networking: )?driver failed programming external connectivity on endpoint \S+ \(ID\): `), ""},
	{regexp.MustCompile(`(failed to create (shim )?task|OCI runtime (create|exec) failed|runc (create|exec) failed|exec failed|unable to start container process): `), ""},
	{regexp.MustCompile(`: unknown\.?$`), ""},
	{regexp.MustCompile(`\.$`), ""},
	// A newer command line's words for the same.
	{regexp.MustCompile(`["'](?:docker|minidock) ([a-z ]+)["'] (requires|accepts) (exactly )?`), `"docker $1" $2 `},
}

func bareMessage(line string) string {
	for _, u := range unsaid {
		line = u.pattern.ReplaceAllString(line, u.by)
	}
	if line == "" {
		return ""
	}
	return strings.ToLower(line[:1]) + line[1:] // As a newer engine begins them.
}

// writeSession writes a session as it would look in a terminal. Where the sides
// differ, each line has its side before it, and the first says why that is.
func writeSession(all []comparison) string {
	var b strings.Builder
	for _, c := range all {
		fmt.Fprintf(&b, "$ %s\n", c.command)
		if c.kind == "" {
			for _, line := range c.minidock {
				fmt.Fprintln(&b, line)
			}
			continue
		}
		fmt.Fprintf(&b, "differs, %s: %s\n", c.kind, c.reason)
		for _, line := range c.docker {
			fmt.Fprintf(&b, "docker|   %s\n", line)
		}
		for _, line := range c.minidock {
			fmt.Fprintf(&b, "minidock| %s\n", line)
		}
	}
	return b.String()
}

// readSession reads what writeSession has written. A difference has to have one of
// the reasons, and to be one.
func readSession(text string) ([]comparison, error) {
	var all []comparison
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			all = append(all, comparison{command: command})
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("session does not begin with a command: %s", line)
		}
		all[len(all)-1].add(line)
	}
	for _, c := range all {
		if err := c.check(); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (c *comparison) add(line string) {
	if why, ok := strings.CutPrefix(line, "differs, "); ok {
		c.kind, c.reason, _ = strings.Cut(why, ": ")
		return
	}
	docker, isDocker := strings.CutPrefix(line, "docker|   ")
	minidock, isMinidock := strings.CutPrefix(line, "minidock| ")
	switch {
	case c.kind != "" && isDocker:
		c.docker = append(c.docker, docker)
	case c.kind != "" && isMinidock:
		c.minidock = append(c.minidock, minidock)
	default:
		c.docker, c.minidock = append(c.docker, line), append(c.minidock, line)
	}
}

func (c *comparison) check() error {
	switch {
	case c.kind == "":
		return nil
	case !slices.Contains([]string{olderEngine, deliberate, notYet}, c.kind):
		return fmt.Errorf("%s: a difference is %s, %s or %s, not %q", c.command, olderEngine, deliberate, notYet, c.kind)
	case c.reason == "":
		return fmt.Errorf("%s: a difference without a reason", c.command)
	case slices.Equal(c.docker, c.minidock):
		return fmt.Errorf("%s: a difference is declared that is none", c.command)
	}
	return nil
}

func TestSessionsAreReadAsTheyAreWritten(t *testing.T) {
	all := []comparison{
		{command: "docker run x", docker: []string{"a", "! b", "[1]"}, minidock: []string{"a", "! b", "[1]"}},
		{command: "docker rm x"},
		{command: "docker ps", kind: deliberate, reason: "for this: and that", docker: []string{"a"}, minidock: []string{"b", "[2]"}},
		{command: "docker ps -a", kind: notYet, reason: "later", minidock: []string{"[1]"}},
	}
	got, err := readSession(writeSession(all))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, got, cmp.AllowUnexported(comparison{})); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"no command":    "a\n",
		"no difference": "$ docker ps\ndiffers, deliberate: x\ndocker|   a\nminidock| a\n",
		"no reason":     "$ docker ps\ndiffers, deliberate\ndocker|   a\n",
		"unknown kind":  "$ docker ps\ndiffers, undeclared: x\ndocker|   a\n",
	} {
		if _, err := readSession(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOnlyTheMessageIsCompared(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	ours := note([]string{"docker", "exec", "a b", "x"}, id+"\nUp 3 seconds   web \n",
		"minidock: exec: \"/x\": no such file or directory\n  hint: Look again.\nminidock: \"minidock stop\" requires at least 1 argument.\n", "127")
	theirs := note([]string{"docker", "exec", "a b", "x"}, id[16:]+id[:16]+"\nUp Less than a second  web\n",
		"OCI runtime exec failed: exec failed: unable to start container process: exec: \"/x\": no such file or directory: unknown\n"+
			"docker: 'docker stop' requires at least 1 argument\n\nUsage:  docker stop\n\nSee 'docker stop --help' for more information\n", "127")
	want := exchange{"docker exec 'a b' x", []string{
		"ID", "Up SINCE  web", `! exec: "/x": no such file or directory`, `! "docker stop" requires at least 1 argument`, "[127]",
	}}
	for _, got := range []exchange{ours, theirs} {
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(exchange{})); diff != "" {
			t.Error(diff)
		}
	}
	if a, b := note(nil, "a\n", "", "0"), note(nil, "b\n", "", "0"); slices.Equal(a.lines, b.lines) {
		t.Error("a difference is not seen")
	}
}
