package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minidock/minidock/bench/internal/report"
	"github.com/minidock/minidock/bench/internal/rounds"
)

// writeTables writes a result as Markdown that is readable in a terminal, too.
func writeTables(w io.Writer, r result) {
	for _, c := range r.Comparisons {
		writeComparison(w, r.Title, c)
	}
	if r.Crowd != nil {
		writeCrowd(w, r.Title, r.Crowd)
	}
	fmt.Fprintf(w, "%v · %s\n\n", r.Machine, report.When(r.Date))
}

func writeComparison(w io.Writer, machine string, c *comparison) {
	fmt.Fprintf(w, "### %s, on %s\n\n", c.Title, machine)
	rows := [][]string{{"", "median", "fastest", "times " + c.Reference, "95%"}, {"-", "-:", "-:", "-:", "-"}}
	for _, one := range c.Contenders {
		rows = append(rows, row(one, c.Reference))
	}
	report.WriteRows(w, rows)
	fmt.Fprintf(w, "\n%d rounds of %d runs each, in changing order. The interval comes from drawing whole rounds again (bootstrap).\n", c.Rounds, c.Runs)
	if c.Goal != "" {
		fmt.Fprintf(w, "Goal: %s.\n", c.Goal)
	}
	for _, part := range c.parts() {
		fmt.Fprintf(w, "\n- %s", part)
	}
	for _, one := range c.Contenders {
		fmt.Fprintf(w, "\n- %s: `%s`", one.Version, shorten(one.Command))
	}
	for _, note := range c.Notes {
		fmt.Fprintf(w, "\n- %s", note)
	}
	fmt.Fprint(w, "\n\n")
}

// parts tells what part each takes of the time of the one beside.
func (c *comparison) parts() (list []string) {
	at := slices.IndexFunc(c.Contenders, func(one *contender) bool { return one.Name == c.Beside })
	if at < 0 {
		return nil
	}
	for _, one := range slices.Delete(slices.Clone(c.Contenders), at, at+1) {
		r := rounds.Compare(one.Samples, c.Contenders[at].Samples)
		list = append(list, fmt.Sprintf("%s takes %.2f of %s's time (%.2f to %.2f)", one.Name, r.Median, c.Beside, r.Low, r.High))
	}
	return list
}

func row(c *contender, reference string) []string {
	cells := []string{c.Name, fmt.Sprintf("%.1f ms", c.Median), fmt.Sprintf("%.1f ms", c.Min), "", ""}
	if c.Ratio != nil && c.Name != reference {
		cells[3] = fmt.Sprintf("%.2f", c.Ratio.Median)
		cells[4] = fmt.Sprintf("%.2f to %.2f", c.Ratio.Low, c.Ratio.High)
	}
	if c.Name == reference {
		cells[3] = "1"
	}
	return cells
}

func writeCrowd(w io.Writer, machine string, c *crowd) {
	fmt.Fprintf(w, "### Start of one more, up to %d that run, on %s\n\n", c.Count, machine)
	rows := [][]string{{"", "first ten", "last ten", "last to first"}, {"-", "-:", "-:", "-:"}}
	for _, g := range c.Growth {
		rows = append(rows, []string{g.Name, fmt.Sprintf("%.1f ms", g.First), fmt.Sprintf("%.1f ms", g.Last), fmt.Sprintf("%.2f", g.Ratio)})
	}
	report.WriteRows(w, rows)
	fmt.Fprintf(w, "\nEach start waits for the one before; medians of ten.\nGoal: %s.\n", c.Goal)
	for _, g := range c.Growth {
		fmt.Fprintf(w, "\n- %s: `%s`", g.Version, shorten(g.Command))
	}
	for _, note := range c.Notes {
		fmt.Fprintf(w, "\n- %s", note)
	}
	fmt.Fprint(w, "\n\n")
}

// shorten leaves out the directories, which are gone by now.
func shorten(command []string) string {
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = w
		if filepath.IsAbs(w) {
			words[i] = filepath.Base(w)
		}
	}
	return strings.Join(words, " ")
}
