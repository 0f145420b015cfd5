package report

import (
	"fmt"
	"io"
	"strings"
)

// WriteTables writes a result as Markdown.
func (r *Result) WriteTables(w io.Writer) {
	for _, c := range r.Comparisons {
		c.write(w, r.Title)
	}
	fmt.Fprintf(w, "%v · %s\n\n", r.Machine, When(r.Date))
}

func (c *Comparison) write(w io.Writer, machine string) {
	fmt.Fprintf(w, "### %s, on %s\n\n", c.Title, machine)
	rows := [][]string{{"", "median", "best", "beside " + c.Reference, "95%"}, {"-", "-:", "-:", "-:", "-"}}
	if c.Goal > 0 {
		rows[0], rows[1] = append(rows[0], fmt.Sprintf("at least %.2f", c.Goal)), append(rows[1], "-")
	}
	for _, one := range c.Contenders {
		rows = append(rows, c.row(one))
	}
	WriteRows(w, rows)
	fmt.Fprintf(w, "\n%s %d rounds, in changing order; above 1 is better. The interval comes from drawing whole rounds again (bootstrap).\n", c.Turn, c.rounds())
	if notes := append(c.pairs(), c.Notes...); len(notes) > 0 {
		fmt.Fprintf(w, "\n- %s\n", strings.Join(notes, "\n- "))
	}
	fmt.Fprintln(w)
}

func (c *Comparison) pairs() (lines []string) {
	for _, names := range c.Pairs {
		if a, b := c.contender(names[0]), c.contender(names[1]); a != nil && b != nil {
			r := c.compare(a, b)
			lines = append(lines, fmt.Sprintf("%s beside %s: %.2f (%.2f to %.2f)", a.Name, b.Name, r.Median, r.Low, r.High))
		}
	}
	return lines
}

func (c *Comparison) rounds() int {
	if len(c.Contenders) == 0 {
		return 0
	}
	return len(c.Contenders[0].Samples)
}

func (c *Comparison) row(one *Contender) []string {
	cells := []string{one.Name, c.value(one.Median), c.value(one.Best), "", ""}
	switch {
	case one.Ratio != nil:
		cells[3], cells[4] = fmt.Sprintf("%.2f", one.Ratio.Median), fmt.Sprintf("%.2f to %.2f", one.Ratio.Low, one.Ratio.High)
	case one.Name == c.Reference:
		cells[3] = "1"
	}
	if c.Goal > 0 {
		cells = append(cells, c.verdict(one))
	}
	return cells
}

// value has three digits or more, which is what a median of some rounds can bear.
func (c *Comparison) value(v float64) string {
	digits := 0
	for limit := 100.0; digits < 2 && v < limit; limit /= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %s", digits, v, c.Unit)
}

// verdict says whether the goal is met: it is certain only where the whole interval
// lies on one side.
func (c *Comparison) verdict(one *Contender) string {
	switch {
	case one.Ratio == nil:
		return ""
	case one.Ratio.Low >= c.Goal:
		return "met"
	case one.Ratio.High < c.Goal:
		return "not met"
	case one.Ratio.Median >= c.Goal:
		return "met by the median only"
	}
	return "not met by the median"
}
