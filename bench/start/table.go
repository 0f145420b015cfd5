package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// writeTable writes a result as Markdown that is a readable table in a terminal,
// too.
func writeTable(w io.Writer, r result) {
	fmt.Fprintf(w, "### Start to exit of `true`, on %s\n\n", r.Title)
	rows := [][]string{{"", "median", "fastest", "times runc", "95%"}, {"-", "-:", "-:", "-:", "-"}}
	for _, c := range r.Contenders {
		rows = append(rows, row(c))
	}
	writeRows(w, rows)
	m := r.Machine
	fmt.Fprintf(w, "\n%s · Linux %s · %d × %s · %d MiB · cgroups %s · load before %s · %s\n",
		m.System, m.Kernel, m.CPUs, m.CPU, m.MiB, m.Cgroups, m.Load, r.Date.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(w, "\n%d rounds of %d runs each, in changing order. The interval comes from drawing whole rounds again (bootstrap).\n", r.Rounds, r.Runs)
	for _, c := range r.Contenders {
		fmt.Fprintf(w, "\n- %s: `%s`", c.Version, shorten(c.Command))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n- %s", note)
	}
	fmt.Fprint(w, "\n\n")
}

func row(c *contender) []string {
	cells := []string{c.Name, fmt.Sprintf("%.1f ms", c.Median), fmt.Sprintf("%.1f ms", c.Min), "", ""}
	if c.ToRunc != nil && c.Name != reference {
		cells[3] = fmt.Sprintf("%.2f", c.ToRunc.Median)
		cells[4] = fmt.Sprintf("%.2f to %.2f", c.ToRunc.Low, c.ToRunc.High)
	}
	if c.Name == reference {
		cells[3] = "1"
	}
	return cells
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
