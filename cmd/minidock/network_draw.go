package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/minidock/minidock/netns"
)

// sheet is what a network is drawn on: the widths of the host's box and of a
// container's, in columns.
type sheet struct{ host, box int }

// cableGap is what lies between the two.
const cableGap = 8

// The widths of sheets: with and without room for hardware addresses.
const wideSheet, narrowSheet = 99, 80

// sheetFor chooses a sheet for a terminal's width.
func sheetFor(width int) sheet {
	if width < wideSheet {
		return sheet{host: 40, box: narrowSheet - cableGap - 40}
	}
	return sheet{host: 46, box: wideSheet - cableGap - 46}
}

func (s sheet) width() int { return s.host + cableGap + s.box }

// narrow says that there is no room for hardware addresses.
func (s sheet) narrow() bool { return s.width() < wideSheet }

// drawNetwork draws what there is of a network.
func drawNetwork(p netns.Picture, s sheet) []line {
	lines := titleOf(p)
	if !p.Network.Subnet.IsValid() {
		return append(lines, nil, text(normal, "%s", withoutBridge(p.Network)))
	}
	lines = append(lines, nil)
	lines = append(lines, s.drawHost(p)...)
	lines = append(lines, drawPublished(p)...)
	lines = append(lines, s.drawNames(p)...)
	lines = append(lines, s.drawRules(p.Table)...)
	return append(lines, s.drawDifferences(p.Differences())...)
}

func titleOf(p netns.Picture) []line {
	n := p.Network
	title := line{{strong, "Network " + n.Name}, {normal, "  driver " + n.Driver}}
	if n.Subnet.IsValid() {
		title = append(title, span{normal, "  " + n.Subnet.String()}, span{faint, "  id " + shortID(n.ID)})
	}
	return []line{title}
}

// withoutBridge says why there is nothing to draw.
func withoutBridge(n netns.Network) string {
	switch n.Name {
	case netns.Host:
		return "The host's own links, addresses and ports: no bridge, no veth pair, no rules, no walls."
	case netns.None:
		return "A namespace with the loopback link alone: nobody is reached, and nobody gets in."
	}
	return "It is made when the first container needs it; nothing of it is on the host yet."
}

// row is one row of the picture: what is in the host's box, between, and beside.
type row struct {
	host  line
	cross string // the host's right border
	gap   string
	right line
}

func (s sheet) drawHost(p netns.Picture) []line {
	lines := []line{text(normal, "┌─ host %s┐", strings.Repeat("─", s.host-9))}
	var rows []row
	for _, l := range bridgeLines(p) {
		rows = append(rows, row{host: l})
	}
	for i, c := range p.Cables {
		rows = append(rows, s.cableRows(p, c, i == len(p.Cables)-1)...)
	}
	for _, r := range p.Residents {
		if !slices.ContainsFunc(p.Cables, func(c netns.Cable) bool { return c.Container == r.ID }) {
			rows = append(rows, s.boxed(r.Name, text(bad, "no cable"), row{}, row{}, row{})...)
		}
	}
	for _, r := range rows {
		lines = append(lines, s.line(r))
	}
	lines = append(lines, text(normal, "└%s┘", strings.Repeat("─", s.host-2)))
	return append(lines, wayOutLine(p))
}

func (s sheet) line(r row) line {
	all := line{{normal, "│ "}}
	all = append(all, stretch(r.host, s.host-4, " ")...)
	all = append(all, span{normal, cmp.Or(r.cross, " │")})
	return append(append(all, span{normal, cmp.Or(r.gap, strings.Repeat(" ", cableGap))}), r.right...)
}

// stretch makes a line so wide, and no wider.
func stretch(l line, width int, with string) line {
	used := 0
	var cut line
	for _, part := range l {
		text := shorten(part.text, width-used)
		used += utf8.RuneCountInString(text)
		cut = append(cut, span{part.style, text})
	}
	return append(cut, span{normal, strings.Repeat(with, width-used)})
}

// shorten cuts a text to a width, and says that it did.
func shorten(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	if width < 1 {
		return ""
	}
	return string(runes[:width-1]) + "…"
}

func bridgeLines(p netns.Picture) []line {
	b := p.Bridge
	if !b.There {
		return []line{{{strong, "bridge " + b.Name}}, text(faint, "not there at this moment")}
	}
	state := span{busy, b.State}
	if b.State == "down" {
		state.style = bad
	}
	lines := []line{{{strong, "bridge " + b.Name}, {normal, "  "}, state, {faint, fmt.Sprintf("  mtu %d", b.MTU)}}}
	return append(lines, line{{normal, prefixes(b.Addresses)}, {faint, "  " + b.MAC}})
}

func prefixes(all []netip.Prefix) string {
	if len(all) == 0 {
		return "no address"
	}
	var texts []string
	for _, a := range all {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, " ")
}

// cableRows draws one port of the bridge, and at its other end the container.
func (s sheet) cableRows(p netns.Picture, c netns.Cable, last bool) []row {
	corner, below := "├─ ", text(normal, "│")
	if last {
		corner, below = "└─ ", nil
	}
	state := span{busy, c.Passing}
	if c.Passing != "forwarding" {
		state.style = bad
	}
	port := line{{normal, corner + c.Name + "  "}, state, {normal, " "}}
	middle := row{host: stretch(port, s.host-4, "─"), cross: "─┼", gap: "─ veth ─"}
	if c.Container == "" {
		middle.gap, middle.right = "─── ?", text(bad, " not minidock's")
		return []row{middle}
	}
	content := text(bad, "the other end is not there")
	if in := c.Inside; in != nil {
		content = text(normal, "%s  %s", in.Link, prefixes(in.Addresses))
		if !s.narrow() {
			content = append(content, span{faint, "  " + in.MAC})
		}
	}
	return s.boxed(nameOf(p, c.Container), content, row{host: text(normal, "│")}, middle, row{host: below})
}

// boxed puts a container's box beside three rows.
func (s sheet) boxed(name string, content line, above, beside, below row) []row {
	name = shorten(name, s.box-8)
	above.right = line{{normal, "┌─ "}, {strong, name}, {normal, " " + strings.Repeat("─", s.box-5-utf8.RuneCountInString(name)) + "┐"}}
	border := "┤ "
	if beside.gap == "" {
		border = "│ "
	}
	beside.right = append(line{{normal, border}}, stretch(content, s.box-4, " ")...)
	beside.right = append(beside.right, span{normal, " │"})
	below.right = text(normal, "└%s┘", strings.Repeat("─", s.box-2))
	return []row{above, beside, below}
}

// nameOf is a container's name, or the beginning of its ID where no file tells it.
func nameOf(p netns.Picture, id string) string {
	for _, r := range p.Residents {
		if r.ID == id {
			return r.Name
		}
	}
	return shortID(id)
}

func wayOutLine(p netns.Picture) line {
	_, masquerades := p.Table.Entries["subnets"]
	_, internal := p.Table.Entries["internal"]
	switch {
	case internal:
		return line{{held, "  no way out and none in"}, {normal, ": the network is internal"}}
	case !p.Forwarding:
		return line{{bad, "  no way out"}, {normal, ": the host does not pass packets on (net.ipv4.ip_forward is 0)"}}
	case len(p.Obstacles) > 0:
		return line{{held, "  way out in doubt"}, {normal, ": chain " + p.Obstacles[0].Chain + " drops what none of its rules lets through (minidock doctor)"}}
	case p.WayOut.None != "":
		return line{{held, "  no way out"}, {normal, ": the host itself has none (" + p.WayOut.None + ")"}}
	case !masquerades:
		return text(normal, "  way out: by %s, with the containers' own addresses (no masquerade)", p.WayOut.Link)
	}
	return text(normal, "  way out: by %s, with the host's address %s (masquerade)", p.WayOut.Link, p.WayOut.Source)
}

func drawPublished(p netns.Picture) []line {
	if len(p.Table.Published) == 0 {
		return nil
	}
	lines := []line{nil, text(strong, "Ports of the host that lead in")}
	for _, c := range p.Table.Published {
		to, _ := c.Publication()
		name := "nobody"
		for _, r := range p.Residents {
			if r.Address == to.Address {
				name = r.Name
			}
		}
		from := fmt.Sprintf("%s:%d/%s", to.HostIP, to.Host, to.Proto)
		lines = append(lines, text(normal, "  %-24s → %s:%d, which is %s%s", from, to.Address, to.Container, name, counted(c.Packets, "connection")))
	}
	return lines
}

func counted(n uint64, what string) string {
	switch n {
	case 0:
		return "; not called yet"
	case 1:
		return fmt.Sprintf("; 1 %s", what)
	}
	return fmt.Sprintf("; %d %ss", n, what)
}

// drawNames tells who resolves what. Names that the same containers get the same
// answer for are one line.
func (s sheet) drawNames(p netns.Picture) []line {
	type heard struct{ name, answer string }
	askers := map[heard][]string{}
	for _, c := range p.Cables {
		if c.Inside == nil {
			continue
		}
		for name, answer := range c.Inside.Heard {
			key := heard{name, answer.Words()}
			askers[key] = append(askers[key], nameOf(p, c.Container))
		}
	}
	if len(askers) == 0 {
		return nil
	}
	type told struct{ answer, askers string }
	namesOf := map[told][]string{}
	for key, who := range askers {
		slices.Sort(who)
		t := told{key.answer, strings.Join(who, ", ")}
		namesOf[t] = append(namesOf[t], key.name)
	}
	names := s.width() - 59 // A short name, an alias and a short ID take 40 at most, mostly.
	order := slices.SortedFunc(maps.Keys(namesOf), func(a, b told) int {
		return cmp.Or(cmp.Compare(a.answer, b.answer), cmp.Compare(a.askers, b.askers))
	})
	lines := []line{nil, {{strong, "Names"}, {normal, ", asked just now of each container's own resolver at " + netns.ResolverAddress}}}
	for _, t := range order {
		all := namesOf[t]
		slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		lines = append(lines, line{
			{normal, fmt.Sprintf("  %-*s → %-18s", names, shorten(strings.Join(all, ", "), names), shorten(t.answer, 18))},
			{faint, " so hear " + shorten(t.askers, s.width()-names-32)},
		})
	}
	return lines
}

func (s sheet) drawRules(r netns.Rules) []line {
	if !r.There {
		return nil
	}
	rule := s.width() - 37
	lines := []line{
		nil,
		{{strong, "Firewall"}, {normal, ": table ip " + r.Name + ", with counters of all networks together"}},
		text(faint, "  %-12s %-*s %-11s %8s", "chain", rule, "rule", "verdict", "packets"),
	}
	for _, c := range r.Counters {
		style := normal
		if c.Packets == 0 {
			style = faint
		}
		lines = append(lines, text(style, "  %-12s %-*s %-11s %8d", c.Chain, rule, shorten(c.Comment, rule), c.Verdict, c.Packets))
	}
	var known []string
	for _, set := range []string{"bridges", "same", "internal", "subnets"} {
		if entry, there := r.Entries[set]; there {
			known = append(known, set+" { "+entry+" }")
		}
	}
	lines = append(lines, text(normal, "  What makes them apply to this network is in the table's sets:"))
	for _, entry := range known {
		lines = append(lines, text(normal, "    %s", entry))
	}
	return lines
}

func (s sheet) drawDifferences(all []string) []line {
	if len(all) == 0 {
		return []line{nil, text(normal, "What the kernel has and what minidock's files say is the same.")}
	}
	lines := []line{nil, text(bad, "The kernel and minidock's files differ (or a container is just coming or going):")}
	for _, d := range all {
		for i, l := range wrapText(d, s.width()-4) {
			mark := "  - "
			if i > 0 {
				mark = "    "
			}
			lines = append(lines, text(normal, "%s%s", mark, l))
		}
	}
	return lines
}
