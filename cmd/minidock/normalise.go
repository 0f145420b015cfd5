package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/steps"
)

// Docker's command line is read by the library pflag, minidock's by urfave/cli,
// which reads flags as Go's own flag package does. normalise turns the first
// notation into the one in which both agree:
//
//	minidock run -itm32m --rm busybox ls -l
//	minidock run --interactive=true --tty=true --memory=32m --rm=true -- busybox ls -l
//
// It knows which flags there are, and which take a value, from the definitions
// of the commands alone. What pflag refuses, it refuses in pflag's words, with
// Docker's exit status 125.
func normalise(app *cli.App, argv []string) ([]string, error) {
	prepare(app)
	if len(argv) < 2 {
		return argv, nil
	}
	p := parser{out: []string{argv[0]}}
	err := p.group(level{path: app.Name, flags: app.Flags}, app.Commands, argv[1:])
	return p.out, err
}

// prepare makes urfave/cli leave alone what is Docker's: -h, which is run's
// hostname, and the word help, which can be an image's name.
func prepare(app *cli.App) {
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Usage: "Print usage", DisableDefaultText: true}
	app.Setup()
	hideHelp(app.Commands)
}

func hideHelp(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		hideHelp(c.Subcommands)
	}
}

// level is one command of a command line, as in "minidock image import".
type level struct {
	path  string
	flags []cli.Flag
	// ended says that the first argument ends the flags: what follows belongs
	// to the next command, or to the container.
	ended bool
}

// parser collects the rewritten command line.
type parser struct {
	out []string
	// help says that usage was asked for, which ends the reading.
	help bool
}

// group reads a command that has others under it.
func (p *parser) group(l level, commands []*cli.Command, words []string) error {
	l.ended = true
	rest, err := p.read(l, words)
	if err != nil || p.help || len(rest) == 0 {
		return err
	}
	if rest[0] == "help" {
		return p.helpOn(l.path, commands, rest[1:])
	}
	c, err := pick(l.path, commands, rest[0])
	if err != nil {
		return err
	}
	return p.command(l.path, c, rest)
}

// helpOn reads "help image import" as "image import --help".
func (p *parser) helpOn(path string, commands []*cli.Command, words []string) error {
	if len(words) == 0 || len(commands) == 0 {
		p.usage()
		return nil
	}
	c, err := pick(path, commands, words[0])
	if err != nil {
		return err
	}
	p.out = append(p.out, words[0])
	return p.helpOn(path+" "+c.Name, c.Subcommands, words[1:])
}

func pick(path string, commands []*cli.Command, name string) (*cli.Command, error) {
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(name) })
	if i < 0 {
		return nil, &steps.Fault{
			Msg:  fmt.Sprintf("unknown command: %s %s", path, name),
			Hint: fmt.Sprintf("Run '%s --help' for more information.", path),
			Code: 1,
		}
	}
	return commands[i], nil
}

func (p *parser) command(path string, c *cli.Command, words []string) error {
	p.out = append(p.out, words[0])
	_, group, _ := strings.Cut(path, " ")
	next := level{path: path + " " + c.Name, flags: c.Flags, ended: startsContainer(group, c)}
	if len(c.Subcommands) > 0 {
		return p.group(next, c.Subcommands, words[1:])
	}
	rest, err := p.read(next, words[1:])
	if err == nil && !p.help && len(rest) > 0 {
		p.out = append(append(p.out, "--"), rest...)
	}
	return err
}

// startsContainer tells the verbs whose arguments end with a command line of
// the container's own, or of ps: those of no group, and of the group container.
func startsContainer(group string, c *cli.Command) bool {
	return (group == "" || group == "container") && slices.Contains([]string{"run", "create", "exec", "top"}, c.Name)
}

// oldNames are flags that Docker still takes and shows nowhere.
var oldNames = map[string]string{"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}

// read rewrites the flags among the words and returns the arguments.
func (p *parser) read(l level, words []string) (arguments []string, err error) {
	for len(words) > 0 && !p.help {
		word := words[0]
		switch {
		case word == "--":
			return append(arguments, words[1:]...), nil
		case strings.HasPrefix(word, "--"):
			words, err = p.long(l, word, words[1:])
		case strings.HasPrefix(word, "-") && word != "-":
			words, err = p.shorts(l, word, words[1:])
		case l.ended:
			return words, nil
		default:
			arguments, words = append(arguments, word), words[1:]
		}
		if err != nil {
			return nil, err
		}
	}
	return arguments, nil
}

// long reads --flag, --flag=value or --flag value, and returns the words after it.
func (p *parser) long(l level, word string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(word[2:], "=")
	if name == "" || name[0] == '-' {
		return nil, l.fault("bad flag syntax: %s", word)
	}
	flag := l.find(name)
	switch {
	case name == "help":
		p.usage()
		return nil, nil
	case flag == nil || len(name) == 1:
		return nil, l.fault("unknown flag: --%s", name)
	case given:
	case !takesValue(flag):
		value = "true"
	case len(rest) == 0:
		return nil, l.fault("flag needs an argument: %s", word)
	default:
		value, rest = rest[0], rest[1:]
	}
	return rest, p.set(l, flag, value)
}

// shorts reads a group of one-letter flags, the last of which may have a value:
// -it, -m32m, -im 32m, -e=A=1.
func (p *parser) shorts(l level, word string, rest []string) ([]string, error) {
	for letters := word[1:]; letters != ""; {
		flag := l.find(letters[:1])
		value := ""
		switch {
		case flag == nil && letters[0] == 'h':
			p.usage()
			return nil, nil
		case flag == nil:
			return nil, l.fault("unknown shorthand flag: %q in -%s", letters[0], letters)
		case len(letters) > 2 && letters[1] == '=':
			value, letters = letters[2:], ""
		case !takesValue(flag):
			value, letters = "true", letters[1:]
		case len(letters) > 1:
			value, letters = letters[1:], ""
		case len(rest) == 0:
			return nil, l.fault("flag needs an argument: %q in -%s", letters[0], letters)
		default:
			value, letters, rest = rest[0], "", rest[1:]
		}
		if err := p.set(l, flag, value); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (p *parser) usage() {
	p.help = true
	p.out = append(p.out, "--help")
}

func (p *parser) set(l level, flag cli.Flag, value string) error {
	if err := checkValue(flag, value); err != nil {
		return l.fault("invalid argument %q for %q flag: %v", value, flagTitle(flag), err)
	}
	p.out = append(p.out, "--"+flag.Names()[0]+"="+value)
	return nil
}

// checkValue finds what urfave/cli would refuse in words of its own.
func checkValue(flag cli.Flag, value string) (err error) {
	switch flag.(type) {
	case *cli.BoolFlag:
		_, err = strconv.ParseBool(value)
	case *cli.IntFlag, *cli.Int64Flag:
		_, err = strconv.ParseInt(value, 0, 64)
	case *cli.Float64Flag:
		_, err = strconv.ParseFloat(value, 64)
	case *cli.DurationFlag:
		_, err = time.ParseDuration(value)
	}
	return err
}

// flagTitle is how messages name a flag: "-m, --memory", or "--rm".
func flagTitle(flag cli.Flag) string {
	title := "--" + flag.Names()[0]
	for _, name := range flag.Names() {
		if len(name) == 1 {
			return "-" + name + ", " + title
		}
	}
	return title
}

func takesValue(flag cli.Flag) bool {
	documented, ok := flag.(cli.DocGenerationFlag)
	return !ok || documented.TakesValue()
}

func (l level) find(name string) cli.Flag {
	for _, f := range l.flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	if now := oldNames[name]; now != "" {
		return l.find(now)
	}
	return nil
}

func (l level) fault(format string, args ...any) error {
	return &steps.Fault{Msg: fmt.Sprintf(format, args...), Hint: fmt.Sprintf("See '%s --help'.", l.path), Code: 125}
}
