package main

import (
	_ "embed" // the scripts
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Completion is a conversation: the script that a shell has loaded runs
//
//	minidock __complete WORD… CURRENT
//
// with the words up to the cursor, of which the last may be empty, and gets a line
// for each word that may stand there: the word, a tab, what it means. The line
// ":files" asks the shell for names of files as well. The answer comes from the
// definitions of the commands, and from the containers and images that are there.
const completeVerb = "__complete"

// Named as the shells want them in their directories, but for zsh's _minidock.
var (
	//go:embed completions/minidock.bash
	bashScript string
	//go:embed completions/minidock.zsh
	zshScript string
	//go:embed completions/minidock.fish
	fishScript string
)

func completionCommand() *cli.Command {
	parent := &cli.Command{Name: "completion", Usage: "Print a script that completes minidock's command lines in a shell"}
	for _, s := range []struct{ shell, load, script string }{
		{"bash", "source <(minidock completion bash)", bashScript},
		{"fish", "minidock completion fish | source", fishScript},
		{"zsh", "source <(minidock completion zsh)", zshScript},
	} {
		parent.Subcommands = append(parent.Subcommands, &cli.Command{
			Name: s.shell, Usage: "The script for " + s.shell + ": " + s.load,
			Action: func(c *cli.Context) error {
				if c.NArg() > 0 {
					return takesNoArguments(c)
				}
				_, err := io.WriteString(os.Stdout, s.script)
				return err
			},
		})
	}
	return parent
}

// suggestion is a word that may stand at the cursor, and what it means.
type suggestion struct{ word, text string }

// askFiles asks the shell for names of files.
const askFiles = ":files"

// complete answers a shell.
func complete(w io.Writer, app *cli.App, words []string) {
	if len(words) == 0 {
		return
	}
	prepare(app)
	q := question{level: level{flags: app.Flags}, commands: app.Commands, given: map[string]string{}}
	for _, word := range words[:len(words)-1] {
		q.read(word)
	}
	for _, c := range q.answer(words[len(words)-1]) {
		fmt.Fprintln(w, strings.TrimSuffix(c.word+"\t"+c.text, "\t"))
	}
}

// question is what the words before the cursor have said.
type question struct {
	level
	// verb is the path of commands, "image rm".
	verb string
	// commands are those that may follow.
	commands []*cli.Command
	// given are the flags with their values, by their first names.
	given     map[string]string
	arguments []string
	// pending is the flag whose value comes next.
	pending cli.Flag
	// plain says that "--" has ended the flags.
	plain bool
}

func (q *question) read(word string) {
	switch {
	case q.pending != nil:
		q.given[q.pending.Names()[0]] = word
		q.pending = nil
	case q.argumentsOnly():
		q.arguments = append(q.arguments, word)
	case word == "--":
		q.plain = true
	case strings.HasPrefix(word, "--"):
		name, value, hasValue := strings.Cut(word[2:], "=")
		q.flag(q.find(name), value, hasValue)
	case strings.HasPrefix(word, "-") && word != "-":
		q.letters(word[1:])
	case len(q.commands) > 0:
		q.enter(word)
	default:
		q.arguments = append(q.arguments, word)
	}
}

// argumentsOnly says whether flags are behind us.
func (q *question) argumentsOnly() bool {
	return q.plain || q.ended && len(q.arguments) > 0
}

func (q *question) flag(f cli.Flag, value string, hasValue bool) {
	switch {
	case f == nil:
	case hasValue || !takesValue(f):
		q.given[f.Names()[0]] = value
	default:
		q.pending = f
	}
}

// letters reads a group such as -it, or -m32m.
func (q *question) letters(letters string) {
	for i := range letters {
		f := q.find(letters[i : i+1])
		if f == nil {
			return
		}
		rest := strings.TrimPrefix(letters[i+1:], "=")
		q.flag(f, rest, rest != "")
		if takesValue(f) {
			return
		}
	}
}

// enter goes on to a command. One that is not known ends what can be said.
func (q *question) enter(name string) {
	i := slices.IndexFunc(q.commands, func(c *cli.Command) bool { return c.HasName(name) })
	if i < 0 {
		q.commands, q.flags, q.plain = nil, nil, true
		return
	}
	c := q.commands[i]
	q.commands, q.level = c.Subcommands, level{flags: c.Flags, ended: startsContainer(q.verb, c)}
	q.verb = strings.TrimSpace(q.verb + " " + c.Name)
}

// answer lists what may stand where the current word is.
func (q *question) answer(current string) []suggestion {
	switch name, value, hasValue := strings.Cut(current, "="); {
	case q.pending != nil:
		return startingWith(current, q.values(q.pending))
	case !q.argumentsOnly() && strings.HasPrefix(current, "--") && hasValue:
		f := q.find(name[2:])
		if f == nil || !takesValue(f) {
			return nil
		}
		return prefixed(name+"=", startingWith(value, q.values(f)))
	case !q.argumentsOnly() && strings.HasPrefix(current, "-"):
		return startingWith(current, q.flagWords(current))
	case len(q.commands) > 0:
		return startingWith(current, commandWords(q.commands))
	}
	return startingWith(current, q.argumentWords())
}

func startingWith(prefix string, all []suggestion) []suggestion {
	return slices.DeleteFunc(all, func(c suggestion) bool { return c.word != askFiles && !strings.HasPrefix(c.word, prefix) })
}

func prefixed(prefix string, all []suggestion) []suggestion {
	for i := range all {
		if all[i].word != askFiles {
			all[i].word = prefix + all[i].word
		}
	}
	return all
}

// flagWords are the flags not yet given, in their long form, or where they have
// none but one letter. Lists may be given again.
func (q *question) flagWords(current string) []suggestion {
	all := []suggestion{{"--help", "Print usage"}}
	for _, f := range q.flags {
		_, isList := f.(*cli.StringSliceFlag)
		_, known := q.given[f.Names()[0]]
		if known && !isList || f.Names()[0] == "help" {
			continue
		}
		for _, name := range f.Names() {
			switch {
			case len(name) > 1:
				all = append(all, suggestion{"--" + name, usageOf(f)})
			case !strings.HasPrefix(current, "--") && len(f.Names()) == 1:
				all = append(all, suggestion{"-" + name, usageOf(f)})
			}
		}
	}
	return all
}

// usageOf is a flag's usage, without the marks around the word for its value.
func usageOf(f cli.Flag) string {
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	return strings.ReplaceAll(documented.GetUsage(), "`", "")
}

func commandWords(commands []*cli.Command) (all []suggestion) {
	for _, c := range commands {
		if !c.Hidden {
			all = append(all, suggestion{c.Name, c.Usage})
		}
	}
	return all
}
