package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// writeTables writes a result as Markdown that is readable in a terminal, too.
func writeTables(w io.Writer, r result) {
	for _, c := range r.Comparisons {
		writeComparison(w, r.Title, c)
	}
	if r.Crowd != nil {
		writeCrowd(w, r.Title, r.Crowd)
	}
	m := r.Machine
	fmt.Fprintf(w, "%s · Linux %s · %d × %s · %d MiB · cgroups %s · load before %s · %s\n\n",
		m.System, m.Kernel, m.CPUs, m.CPU, m.MiB, m.Cgroups, m.Load, r.Date.Format("2006-01-02 15:04 MST"))
}

func writeComparison(w io.Writer, machine string, c *comparison) {
	fmt.Fprintf(w, "### %s, on %s\n\n", c.Title, machine)
	rows := [][]string{{"", "median", "fastest", "times " + c.Reference, "95%"}, {"-", "-:", "-:", "-:", "-"}}
	for _, one := range c.Contenders {
		rows = append(rows, row(one, c.Reference))
	}
	writeRows(w, rows)
	fmt.Fprintf(w, "\n%d rounds of %d runs each, in changing order. The interval comes from drawing whole rounds again (bootstrap).\n", c.Rounds, c.Runs)
	if c.Goal != "" {
		fmt.Fprintf(w, "Goal: %s.\n", c.Goal)
	}
	for _, one := range c.Contenders {
		fmt.Fprintf(w, "\n- %s: `%s`", one.Version, shorten(one.Command))
	}
	for _, note := range c.Notes {
		fmt.Fprintf(w, "\n- %s", note)
	}
	fmt.Fprint(w, "\n\n")
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
	writeRows(w, rows)
	fmt.Fprintf(w, "\nEach start waits for the one before; medians of ten.\nGoal: %s.\n", c.Goal)
	for _, g := range c.Growth {
		fmt.Fprintf(w, "\n- %s: `%s`", g.Version, shorten(g.Command))
	}
	for _, note := range c.Notes {
		fmt.Fprintf(w, "\n- %s", note)
	}
	fmt.Fprint(w, "\n\n")
}

// writeRows lines the columns up; the second row holds their alignment.
func writeRows(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, cell := range cells {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, cells := range rows {
		for i, cell := range cells {
			fmt.Fprintf(w, "| %s ", pad(cell, width[i], strings.HasSuffix(rows[1][i], ":")))
		}
		fmt.Fprintln(w, "|")
	}
}

// pad fills a cell up; a cell of alignment is filled with its dashes.
func pad(cell string, width int, right bool) string {
	missing := width - len(cell)
	switch {
	case strings.HasPrefix(cell, "-"):
		return strings.Repeat("-", missing) + cell
	case right:
		return strings.Repeat(" ", missing) + cell
	}
	return cell + strings.Repeat(" ", missing)
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
