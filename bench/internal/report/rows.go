package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// When writes the time of a measurement.
func When(date time.Time) string { return date.Format("2006-01-02 15:04 MST") }

// WriteRows writes a Markdown table that is readable in a terminal, too: it lines the
// columns up. The second row holds their alignment, "-" or "-:" for numbers.
func WriteRows(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, cell := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
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
	missing := width - utf8.RuneCountInString(cell)
	switch {
	case strings.HasPrefix(cell, "-"):
		return strings.Repeat("-", missing) + cell
	case right:
		return strings.Repeat(" ", missing) + cell
	}
	return cell + strings.Repeat(" ", missing)
}
