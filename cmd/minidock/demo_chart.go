package main

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"
)

// chart is a list of bars over one axis, with numbers at their right:
//
//	period  0 ms                      100 ms       ran   stopped
//	    12  ██████░░░░░░░░░░░░░░░░░░░░░░░░░░   20.0 ms   80.0 ms
type chart struct {
	label       string // what the bars' labels are
	left, right string // the ends of the axis
	notes       []string
	bars        []bar
	legend      line
}

// bar is one measurement.
type bar struct {
	label string
	parts []part
	notes []string
	alarm bool
}

// part fills a share of the bar's length, 0 to 1, with one sign.
type part struct {
	share float64
	sign  rune
	style style
}

// The signs are in the font of every terminal, the Linux console's too.
const fullCell, lightCell, freeCell = '█', '░', '·'

const (
	labelWidth, noteWidth = 7, 10
	// Beyond the longest bar a chart is harder to read, not easier.
	shortestBar, longestBar = 10, 100
)

// barWidth is what is left of a line for the bar.
func (c chart) barWidth(width int) int {
	return min(max(width-labelWidth-3-noteWidth*len(c.notes), shortestBar), longestBar)
}

// lines renders the chart; it has always as many rows of bars, so that nothing
// below it jumps. The newest bars are kept.
func (c chart) lines(width, rows int) []line {
	all := []line{c.head(width)}
	for _, b := range c.bars[max(len(c.bars)-rows, 0):] {
		all = append(all, c.row(b, width))
	}
	for len(all) <= rows {
		all = append(all, nil)
	}
	return append(all, nil, c.legend)
}

func (c chart) head(width int) line {
	room := c.barWidth(width) - utf8.RuneCountInString(c.left)
	return text(faint, " %*s  %s%*s%s", labelWidth, c.label, c.left, max(room, 0), c.right, columns(c.notes))
}

func (c chart) row(b bar, width int) line {
	l := line{{normal, fmt.Sprintf(" %*s  ", labelWidth, b.label)}}
	if b.alarm {
		l[0].style = bad
	}
	l = append(l, fill(b.parts, c.barWidth(width))...)
	return append(l, span{l[0].style, columns(b.notes)})
}

func columns(notes []string) string {
	var b strings.Builder
	for _, n := range notes {
		fmt.Fprintf(&b, "%*s", noteWidth, n)
	}
	return b.String()
}

// fill turns shares into cells. Each part ends where the sum of the shares so
// far does, so that errors of rounding don't add up; what is not nothing gets at
// least one cell.
func fill(parts []part, width int) line {
	var l line
	sum, used := 0.0, 0
	for _, p := range parts {
		sum += p.share
		cells := min(int(math.Round(sum*float64(width))), width) - used
		if cells <= 0 && p.share > 0 && used < width {
			cells = 1
		}
		cells = max(cells, 0)
		used += cells
		l = append(l, span{p.style, strings.Repeat(string(p.sign), cells)})
	}
	return append(l, span{normal, strings.Repeat(" ", width-used)})
}

// rest is the part that fills a bar up to its end.
func rest(share float64, sign rune, s style) part { return part{max(1-share, 0), sign, s} }
