package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func explainCommand() *cli.Command {
	return &cli.Command{
		Name: "explain", Usage: "Tell every act on the kernel that made a container", ArgsUsage: "CONTAINER",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the output: text or json", Value: "text"}},
		Action: explainContainer,
	}
}

func explainContainer(c *cli.Context) error {
	if c.NArg() != 1 {
		return needsArguments(c, "exactly 1 argument")
	}
	if err := checkFormat(c.String("format")); err != nil {
		return err
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	records, err := runtime.Story(layout, c.Args().First())
	if err != nil {
		return err
	}
	if c.String("format") == "json" {
		return json.NewEncoder(os.Stdout).Encode(records)
	}
	newTeller(os.Stdout, layout).story(records)
	return nil
}

// teller prints steps for a learner. The container's long paths are given names
// first, as shell variables, so that the commands stay short and can be pasted.
type teller struct {
	w      io.Writer
	layout runtime.Layout
	short  *strings.Replacer
	bold   func(string) string
	faint  func(string) string
}

func newTeller(w io.Writer, l runtime.Layout) *teller {
	t := &teller{w: w, layout: l, bold: plain, faint: plain}
	if isTerminal(w) {
		t.bold, t.faint = wrap("\x1b[1m"), wrap("\x1b[2m")
	}
	return t
}

func plain(s string) string { return s }

// wrap returns an ECMA-48 (8.3.117, SGR) style around a text.
func wrap(style string) func(string) string {
	return func(s string) string { return style + s + "\x1b[0m" }
}

// story tells what has happened already.
func (t *teller) story(records []steps.Record) {
	for _, r := range records {
		t.begin(r)
		if r.State == steps.Undone {
			fmt.Fprintln(t.w, t.faint("      taken back"))
		} else {
			t.end(r)
		}
	}
}

// tell tells a step while it happens: once when it begins, once when it ends.
func (t *teller) tell(r steps.Record) {
	switch r.State {
	case steps.Begun:
		t.begin(r)
	case steps.Undone:
		t.introduce(r)
		fmt.Fprintf(t.w, "%s %s %s\n", t.bold(fmt.Sprintf("<- %d. take back", r.N)), r.Kind, t.shorten(r.Target))
		t.shell(r.Undo)
	default:
		t.end(r)
	}
}

func (t *teller) begin(r steps.Record) {
	t.introduce(r)
	where := ""
	if r.Inside {
		where = t.faint("  (in the container)")
	}
	fmt.Fprintf(t.w, "%s %s%s\n      %s\n", t.bold(fmt.Sprintf("%2d. %s", r.N, r.Kind)), t.shorten(r.Target), where, r.Why)
	t.lines("call", r.Call...)
	t.shell(r.Shell...)
	t.lines("see", r.See)
	t.lines("man", r.Man)
}

func (t *teller) end(r steps.Record) {
	switch {
	case r.State == steps.Failed:
		fmt.Fprintf(t.w, "      %s %s\n", t.bold("failed:"), t.shorten(r.Error))
	case r.State == steps.Begun:
		fmt.Fprintf(t.w, "      %s\n", t.bold("was under way when its process died"))
	case r.Took > 0:
		fmt.Fprintf(t.w, "      %s\n", t.faint("done in "+r.Took.Round(time.Microsecond).String()))
	}
}

// lines prints what there is under one heading.
func (t *teller) lines(heading string, lines ...string) {
	for _, line := range lines {
		if line != "" {
			t.line(heading, t.shorten(line))
		}
	}
}

// shell prints what to type.
func (t *teller) shell(commands ...string) {
	for _, command := range commands {
		if command != "" {
			t.line("$", t.shortenUnquoted(command))
		}
	}
}

// line prints one entry; of one that spans lines all stand below each other.
func (t *teller) line(heading, text string) {
	text = strings.ReplaceAll(text, "\n", "\n           ")
	fmt.Fprintf(t.w, "      %s %s\n", t.faint(fmt.Sprintf("%-4s", heading)), text)
}

// shortenUnquoted leaves what stands in single quotes as it is: a shell sees no
// variables there.
func (t *teller) shortenUnquoted(command string) string {
	var b strings.Builder
	for command != "" {
		before, rest, quoted := strings.Cut(command, "'")
		b.WriteString(t.shorten(before))
		switch {
		case !quoted:
			return b.String()
		case strings.HasSuffix(before, `\`):
			b.WriteString("'")
			command = rest
			continue
		}
		inside, after, _ := strings.Cut(rest, "'")
		b.WriteString("'" + inside + "'")
		command = after
	}
	return b.String()
}

// introduce names the long paths with the first step that tells which container
// it is.
func (t *teller) introduce(r steps.Record) {
	if t.short != nil {
		return
	}
	id := regexp.MustCompile("[0-9a-f]{64}").FindString(r.Target)
	if id == "" {
		return
	}
	names := [][2]string{
		{"$C", t.layout.Container(id)},
		{"$R", t.layout.RunContainer(id)},
		{"$L", filepath.Join(t.layout.Libcontainer(), id)},
		{"$G", "/sys/fs/cgroup" + t.layout.CgroupPath(id)},
		{"$I", id},
	}
	var pairs []string
	for _, n := range names {
		fmt.Fprintf(t.w, "    %s=%s\n", n[0][1:], n[1])
		pairs = append(pairs, n[1], n[0])
	}
	t.short = strings.NewReplacer(pairs...)
}

func (t *teller) shorten(s string) string {
	if t.short == nil {
		return s
	}
	return t.short.Replace(s)
}
