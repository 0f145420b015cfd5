// Command probe is a whole root filesystem in one static file: a container made
// of it alone has a program that loads the processor, takes memory, forks,
// serves, dies in every way, and above all reports what it sees of its
// namespaces, mounts, capabilities and limits as JSON. So tests need no image
// from anywhere, and assert on facts rather than on text.
//
//	CGO_ENABLED=0 go build -o bin/minidock-probe ./internal/probe
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// verb is one sub-command. Its error is printed with exit status 1, unless it
// is a status.
type verb struct {
	name, usage string
	run         func(args []string) error
}

// status ends the program quietly with an exit status.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// usage is an error in the arguments; it ends with status 2, as in POSIX
// utilities.
type usage string

func (u usage) Error() string { return string(u) }

func verbs() []verb {
	return []verb{
		{"exit", "exit N: end with status N", exit},
		{"echo", "echo WORD…: write the words and a newline", echo},
		{"cat", "cat: copy standard input to standard output", cat},
		{"stdio", "stdio [OUT [ERR]]: write a line to each stream", stdio},
		{"flood", "flood MIB [--rate MIB] [--width BYTES]: write numbered lines, so many MiB in a second", flood},
		{"print-env", "print-env [NAME]: write the environment, or one value", printEnv},
		{"touch", "touch PATH: create a file, or open it for writing", touch},
		{"read", "read PATH: write the content of a file", readFile},
		{"edit", "edit DIR/|FILE=TEXT|LINK->TARGET|-PATH|wait…: make directories, files, links, remove, and wait as ignore-term does", edit},
		{"swap", "swap PATH TARGET: let a directory and a link to TARGET change places without end", swap},
		{"sleep", "sleep SECONDS: wait; a signal n ends it with 128+n", sleep},
		{"terminal", "terminal: say the size of the terminal, each new size, and each line that is typed, up to 'bye'", terminal},
		{"ignore-term", "ignore-term: say 'ready', ignore SIGTERM, wait for SIGKILL", ignoreTerm},
		{"signal", "signal N: die of signal N", dieOf},
		{"zombie", "zombie: leave an orphan behind and say whether somebody reaps it", zombie},
		{"memhog", "memhog MB [--step MB] [--pace DURATION] [--hold DURATION] [--child [--exit N]]: take memory and touch every page", memhog},
		{"cpuburn", "cpuburn [SECONDS] [--threads N]: keep processors busy and report the time used", cpuburn},
		{"forkbomb", "forkbomb [N]: fork until refused, at most N times (200)", forkbomb},
		{"serve", "serve [[ADDRESS:]PORT[/udp]]: answer HTTP, or send datagrams back, on every address or one (8080)", serve},
		{"call", "call HOST:PORT[/udp] [WITHIN]: call what serve answers, and write the answer; give up after WITHIN (3s)", call},
		{"lookup", "lookup NAME|ADDRESS…: write what each stands for", lookup},
		{"report", "report: write what this process sees, as JSON", report},
		// What the others start themselves as.
		{"orphan-maker", "", orphanMaker},
	}
}

func main() {
	err := dispatch(os.Args[1:])
	var code status
	var misuse usage
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.As(err, &misuse):
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func dispatch(args []string) error {
	all := verbs()
	if len(args) == 0 {
		return usage("a verb is missing\n" + manual(all))
	}
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == args[0] })
	if i < 0 {
		return usage("unknown verb " + args[0] + "\n" + manual(all))
	}
	return all[i].run(args[1:])
}

func manual(all []verb) string {
	var lines []string
	for _, v := range all {
		if v.usage != "" {
			lines = append(lines, "  "+v.usage)
		}
	}
	return strings.Join(lines, "\n")
}
