package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// writeManPage writes minidock(1) from the definitions of the commands, in the
// macros of man(7). It is in no minidock that is installed: `make man` builds one
// that does nothing else (man_tag.go).
func writeManPage(w io.Writer, app *cli.App) error {
	p := &manPage{}
	p.line(".TH MINIDOCK 1 \"\" \"minidock %s\" \"User Commands\"", roff(app.Version))
	p.section("NAME", roff(app.Name+" - "+app.Usage))
	p.section("SYNOPSIS", `.B minidock`, `[\fIGLOBAL OPTIONS\fR] \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]`)
	p.section("DESCRIPTION", manDescription()...)
	p.section("GLOBAL OPTIONS")
	p.flags(app.Flags)
	p.section("COMMANDS")
	p.commands("minidock", app.Commands)
	p.section("EXIT STATUS", manStatus()...)
	p.section("ENVIRONMENT", manEnvironment()...)
	p.section("FILES", manFiles()...)
	p.section("SEE ALSO", `.BR namespaces (7),`, `.BR cgroups (7),`, `.BR capabilities (7),`, `.BR mount (8)`)
	_, err := p.text.WriteTo(w)
	return err
}

// manPage collects the text of the page.
type manPage struct{ text bytes.Buffer }

func (p *manPage) line(format string, args ...any) {
	fmt.Fprintf(&p.text, format+"\n", args...)
}

func (p *manPage) section(title string, lines ...string) {
	p.line(".SH %s", title)
	for _, l := range lines {
		p.line("%s", l)
	}
}

// commands writes commands, and below each those under it. What has the same name
// and meaning under `container` as alone is not told twice.
func (p *manPage) commands(path string, list []*cli.Command) {
	for _, c := range list {
		p.command(path+" "+c.Name, path, c)
		p.commands(path+" "+c.Name, c.Subcommands)
	}
}

func (p *manPage) command(path, parent string, c *cli.Command) {
	p.line(".SS %s", roff(strings.TrimSpace(path+" "+c.ArgsUsage)))
	p.line("%s.", roff(strings.TrimSuffix(c.Usage, ".")))
	if len(c.Aliases) > 0 {
		p.line("Also called %s.", `\fB`+strings.Join(mapped(c.Aliases, roff), `\fR, \fB`)+`\fR`)
	}
	if parent == "minidock container" && slices.Contains(containerVerbs(), c.Name) {
		p.line(`The same as \fBminidock %s\fR.`, roff(c.Name))
		return
	}
	p.flags(c.Flags)
}

func mapped(list []string, f func(string) string) (all []string) {
	for _, s := range list {
		all = append(all, f(s))
	}
	return all
}

// flags writes them in their groups, as --help does.
func (p *manPage) flags(list []cli.Flag) {
	var headings []string
	groups := map[string][]cli.Flag{}
	for _, f := range list {
		heading := ""
		if grouped, ok := f.(cli.CategorizableFlag); ok {
			heading = grouped.GetCategory()
		}
		if _, known := groups[heading]; !known {
			headings = append(headings, heading)
		}
		groups[heading] = append(groups[heading], f)
	}
	for _, heading := range headings {
		if heading != "" {
			p.line(".PP")
			p.line("%s", roff(heading))
		}
		for _, f := range groups[heading] {
			p.flag(f)
		}
	}
}

func (p *manPage) flag(f cli.Flag) {
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return
	}
	before, rest, _ := strings.Cut(documented.GetUsage(), "`")
	value, after, marked := strings.Cut(rest, "`")
	if !marked {
		value = "value"
	}
	p.line(".TP")
	title := strings.Join(mapped(flagSpellings(f), func(s string) string { return `\fB` + roff(s) + `\fR` }), ", ")
	if documented.TakesValue() {
		title += ` \fI` + roff(value) + `\fR`
	}
	p.line("%s", title)
	usage := documented.GetUsage()
	if marked {
		usage = before + value + after
	}
	p.line("%s%s", roff(usage), roff(defaultOf(f)))
}

// flagSpellings are "-m" and "--memory", the short ones first.
func flagSpellings(f cli.Flag) (all []string) {
	for _, name := range f.Names() {
		if len(name) == 1 {
			all = append([]string{"-" + name}, all...)
			continue
		}
		all = append(all, "--"+name)
	}
	return all
}

// defaultOf tells a default that says something.
func defaultOf(f cli.Flag) string {
	switch f := f.(type) {
	case *cli.StringFlag:
		if f.Value != "" {
			return " (default: " + f.Value + ")"
		}
	case *cli.IntFlag:
		if f.Value != 0 {
			return fmt.Sprintf(" (default: %d)", f.Value)
		}
	case *cli.DurationFlag:
		if f.Value != 0 {
			return fmt.Sprintf(" (default: %s)", f.Value)
		}
	}
	return ""
}

// roff escapes what man(7) would take for a command.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "\n", " ").Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	return text
}

func manDescription() []string {
	return []string{
		`Minidock runs programs in containers: with file systems, process numbers, networks and limits of their own.`,
		`Its verbs, flags and words are those of`, `.BR docker (1),`, `and it needs no daemon: each container has a small monitor process of its own.`,
		`.PP`,
		`What it asks of the kernel it can tell while doing it`, `(\fBminidock run \-\-explain\fR) and afterwards (\fBminidock explain\fR):`,
		`each act, why it is done, the system call, the command that does the same by hand, and where to look at the result.`,
		`.PP`,
		`Flags may be written as for docker: \fB\-it\fR, \fB\-m32m\fR, \fB\-\-memory=32m\fR, \fB\-\-memory 32m\fR.`,
		`What follows the name of the image belongs to the container.`,
		`Containers are named by their names, their IDs, or the beginnings of those.`,
	}
}

func manStatus() []string {
	var lines []string
	for _, s := range [][2]string{
		{"0", "All went well."},
		{"1", "Something did not; what, and what to do, is said on standard error."},
		{"125", "minidock itself could not do what run or create was to do, or did not understand a flag."},
		{"126", "The program in the container was found, but can't be run."},
		{"127", "The program was not found in the container."},
		{"other", "What the program ended with; 128 and the number of the signal where one ended it."},
	} {
		lines = append(lines, ".TP", `.B `+s[0], roff(s[1]))
	}
	return lines
}

func manEnvironment() []string {
	return []string{
		".TP", ".B MINIDOCK_ROOT", roff("The directory that holds everything that outlives a reboot, where --root does not say."),
		".TP", ".B NO_COLOR", "Where it is set, nothing is coloured or drawn anew.",
	}
}

func manFiles() []string {
	return []string{
		".TP", ".I /var/lib/minidock", "Containers, images and layers: plain files, named one by one in docs/layout.md.",
		".TP", ".I /run/minidock", "What belongs to running containers and dies with the boot.",
	}
}
