package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "Check what this host offers to containers, and how to mend what is missing",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the output: text or json", Value: "text"}},
		Action: examine,
	}
}

func examine(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	format := c.String("format")
	if err := checkFormat(format); err != nil {
		return err
	}
	checks := runtime.CheckHost(layout.Root)
	if format == "json" {
		err = printJSON(os.Stdout, checks)
	} else {
		printDiagnosis(os.Stdout, checks)
	}
	if err != nil {
		return err
	}
	return diagnosis(checks)
}

// diagnosis is the error that gives the exit status 1 where a feature is missing.
func diagnosis(checks []runtime.DoctorCheck) error {
	switch missing := countVerdict(checks, runtime.DoctorMissing); missing {
	case 0:
		return nil
	case 1:
		return &steps.Fault{Msg: "1 requirement is missing", Hint: "Its line says how to mend it."}
	default:
		return &steps.Fault{Msg: fmt.Sprintf("%d requirements are missing", missing), Hint: "Each line says how to mend it."}
	}
}

func countVerdict(checks []runtime.DoctorCheck, verdict runtime.DoctorVerdict) int {
	n := 0
	for _, check := range checks {
		if check.Verdict == verdict {
			n++
		}
	}
	return n
}

// printDiagnosis writes one line for each requirement, and under it the fix; where
// several in a row have the same, once under the last of them.
func printDiagnosis(w io.Writer, checks []runtime.DoctorCheck) {
	width := 0
	for _, check := range checks {
		width = max(width, len(check.Name))
	}
	style := verdictStyles(isTerminal(w))
	same := 1
	for i, check := range checks {
		fmt.Fprintf(w, "%s  %-*s  %s\n", style[check.Verdict](fmt.Sprintf("%-7s", check.Verdict)), width, check.Name, check.Detail)
		switch {
		case check.Fix == "":
		case i+1 < len(checks) && checks[i+1].Fix == check.Fix:
			same++
		default:
			fmt.Fprintf(w, "%*s  %s: %s\n", len("warning")+2+width, "", fixLabel(same), check.Fix)
			same = 1
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d warning, %d missing\n", countVerdict(checks, runtime.DoctorOK),
		countVerdict(checks, runtime.DoctorWarning), countVerdict(checks, runtime.DoctorMissing))
}

func fixLabel(requirements int) string {
	if requirements == 1 {
		return "fix"
	}
	return fmt.Sprintf("fix for these %d", requirements)
}

// verdictStyles are the usual green, yellow and red (ECMA-48, 8.3.117, SGR).
func verdictStyles(coloured bool) map[runtime.DoctorVerdict]func(string) string {
	if !coloured {
		return map[runtime.DoctorVerdict]func(string) string{
			runtime.DoctorOK: plain, runtime.DoctorWarning: plain, runtime.DoctorMissing: plain,
		}
	}
	return map[runtime.DoctorVerdict]func(string) string{
		runtime.DoctorOK: wrap("\x1b[32m"), runtime.DoctorWarning: wrap("\x1b[33m"), runtime.DoctorMissing: wrap("\x1b[1;31m"),
	}
}
