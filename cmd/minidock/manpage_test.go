package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/internal/require"
)

func manPageOf(t *testing.T, app *cli.App) string {
	t.Helper()
	prepare(app)
	var page strings.Builder
	if err := writeManPage(&page, app); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

func TestManPageHasEveryVerbAndFlag(t *testing.T) {
	app := application()
	page := manPageOf(t, app)
	sections := map[string]string{}
	for part := range strings.SplitSeq(page, "\n.SS ") {
		title, body, _ := strings.Cut(part, "\n")
		sections[title] = body
	}
	eachCommand(app.Commands, "minidock", func(path string, c *cli.Command) {
		body, found := sections[roff(strings.TrimSpace(path+" "+c.ArgsUsage))]
		if !found || !strings.HasPrefix(body, roff(c.Usage)) {
			t.Errorf("%s is not told", path)
		}
		twin := `The same as \fBminidock ` + roff(c.Name) + `\fR.`
		if strings.HasPrefix(path, "minidock container ") && strings.Contains(body, twin) {
			return // That one is looked at under its own name.
		}
		for _, f := range c.Flags {
			for _, spelling := range flagSpellings(f) {
				if !strings.Contains(body, `\fB`+roff(spelling)+`\fR`) {
					t.Errorf("%s %s is not told", path, spelling)
				}
			}
		}
	})
	for _, want := range []string{`\fB\-\-root\fR \fIDIR\fR`, `\fB\-m\fR, \fB\-\-memory\fR \fIvalue\fR`, ".SH EXIT STATUS", "MINIDOCK_ROOT"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestManPageIsWrittenSo(t *testing.T) {
	app := &cli.App{
		Name: "minidock", Usage: "tells", Version: "1", HideHelpCommand: true,
		Commands: []*cli.Command{{
			Name: "try", Aliases: []string{"attempt"}, Usage: "Try 'it'", ArgsUsage: "[WHAT]",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "read `FILE`", Value: ".x", Category: "Input:"},
				&cli.BoolFlag{Name: "q", Usage: `no \n`, Category: "Input:"},
			},
		}},
	}
	_, got, _ := strings.Cut(manPageOf(t, app), ".SH COMMANDS\n")
	got, _, _ = strings.Cut(got, ".SH EXIT STATUS")
	want := `.SS minidock try [WHAT]
Try \(aqit\(aq.
Also called \fBattempt\fR.
.PP
Input:
.TP
\fB\-f\fR, \fB\-\-file\fR \fIFILE\fR
read FILE (default: .x)
.TP
\fB\-q\fR
no \en
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestGroffFindsNoFaultWithTheManPage(t *testing.T) {
	require.Needs(t, require.Groff)
	file := filepath.Join(t.TempDir(), "minidock.1")
	if err := os.WriteFile(file, []byte(manPageOf(t, application())), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("groff", "-man", "-Tutf8", "-ww", "-rLL=78n", "-P-c", file)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Errorf("%v: %s", err, complaints.String())
	}
	// Overstruck letters are how a terminal without colours shows bold ones.
	plain := string(out)
	for _, want := range []string{"NAME", "minidock - a container runtime that explains itself", "minidock run IMAGE [COMMAND] [ARG...]"} {
		if !strings.Contains(unstruck(plain), want) {
			t.Errorf("no %q in the page", want)
		}
	}
}

// unstruck takes away the letters that others were printed over (grotty(1)).
func unstruck(text string) string {
	var out []rune
	for _, r := range text {
		if r == '\b' {
			out = out[:max(len(out)-1, 0)]
			continue
		}
		out = append(out, r)
	}
	return string(out)
}
