// Package program is the command line of a benchmark's program: a verb, and what goes
// with it.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/bench/internal/apart"
	"github.com/minidock/minidock/bench/internal/report"
)

// ErrUsage is returned by a verb whose arguments are not what it takes.
var ErrUsage = errors.New("unknown verb or wrong arguments")

// Verb does what one of a program's words asks for. Its context ends when somebody
// wants the program to end.
type Verb func(ctx context.Context, args []string, out io.Writer) error

// Main runs the verb that the command line begins with, and ends the process where it
// fails. usage is the program's name with its verbs.
func Main(usage string, verbs map[string]Verb) {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	err := Run(ctx, verbs, os.Args[1:], os.Stdout)
	stop()
	if errors.Is(err, ErrUsage) {
		err = fmt.Errorf("usage: %s …, see the package comment", usage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// Run runs the verb that the arguments begin with.
func Run(ctx context.Context, verbs map[string]Verb, args []string, out io.Writer) error {
	if len(args) == 0 || verbs[args[0]] == nil {
		return ErrUsage
	}
	return verbs[args[0]](ctx, args[1:], out)
}

// Apart are the verbs of a benchmark that measures in a network namespace of its own,
// and keeps a [report.Result].
func Apart(measure Verb) map[string]Verb {
	return map[string]Verb{
		"measure":  apart.Again,
		apart.Word: measure,
		"table": func(_ context.Context, files []string, out io.Writer) error {
			return Tables(files, out, func(w io.Writer, r report.Result) { r.WriteTables(w) })
		},
	}
}

// Tables is the verb table: it reads results, and has each written as tables.
func Tables[R any](files []string, out io.Writer, write func(io.Writer, R)) error {
	if len(files) == 0 {
		return ErrUsage
	}
	for _, file := range files {
		r, err := report.Read[R](file)
		if err != nil {
			return err
		}
		write(out, r)
	}
	return nil
}
