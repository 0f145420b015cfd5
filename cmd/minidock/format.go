package main

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"
	"time"

	"github.com/docker/go-units"

	"github.com/minidock/minidock/steps"
)

// Every verb that lists something prints it through printRows, which reads
// --format as Docker does:
//
//	(nothing), table     the verb's own columns, with headings
//	table TEMPLATE       those columns, with headings; \t stands between two
//	json                 a JSON object a line
//	TEMPLATE             a line each
//
// A row is a map of strings, or a struct of them whose methods may take
// arguments, as {{.Label "x"}} does. What prints while things happen reads its
// format once (readFormat) and then writes a line at a time (listFormat.line).

// headings are the titles of a list's fields.
type headings map[string]string

// Label is the title of a column that shows one label: the last part of its name.
func (headings) Label(name string) string {
	return strings.NewReplacer("-", " ", "_", " ").Replace(name[strings.LastIndexByte(name, '.')+1:])
}

// listColumns are a list's fields with their headings, and the template that is
// used where none is given.
type listColumns struct {
	headings headings
	standard string
}

// listFormat is a --format that was read.
type listFormat struct {
	template *template.Template
	table    bool
}

// readFormat reads a --format; standard is the template of its table.
func readFormat(format, standard string) (listFormat, error) {
	f := listFormat{}
	text, isTable := strings.CutPrefix(format, "table")
	f.table = isTable || format == ""
	switch text = strings.TrimSpace(text); {
	case format == "json":
		text = "{{json .}}"
	case text == "":
		text = standard
	}
	// Docker reads these two escapes, which a shell leaves as they are.
	text = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(text) + "\n"
	var err error
	f.template, err = template.New("").Funcs(templateFunctions()).Option("missingkey=error").Parse(text)
	return f, templateFault(err)
}

// line writes one row.
func (f listFormat) line(w io.Writer, row any) error {
	return templateFault(f.template.Execute(w, row))
}

func templateFault(err error) error {
	if err == nil {
		return nil
	}
	return &steps.Fault{
		Msg:  "template parsing error: " + err.Error(),
		Hint: "`--format json` shows which fields there are; Go's text/template has the whole syntax.",
		Err:  err,
	}
}

// printRows prints a list. With a template that fails it prints nothing.
func printRows[T any](w io.Writer, format string, c listColumns, rows []T) error {
	f, err := readFormat(format, c.standard)
	if err != nil {
		return err
	}
	lines := &bytes.Buffer{}
	for _, row := range rows {
		if err := f.line(lines, row); err != nil {
			return err
		}
	}
	if f.table {
		lines, err = f.align(c.headings, lines)
	}
	if err == nil {
		_, err = lines.WriteTo(w)
	}
	return err
}

// align puts headings above lines, in Docker's own layout: columns at least 10
// wide and 3 spaces apart.
func (f listFormat) align(h headings, lines *bytes.Buffer) (aligned *bytes.Buffer, err error) {
	aligned = &bytes.Buffer{}
	table := tabwriter.NewWriter(aligned, 10, 1, 3, ' ', 0)
	f.template.Funcs(headingFunctions())
	if err := f.line(table, h); err != nil {
		return aligned, err
	}
	if _, err := lines.WriteTo(table); err != nil {
		return aligned, err
	}
	return aligned, table.Flush()
}

// headingFunctions leave a heading as it is where they change a field: nobody
// wants `join` to be tried on the word LABELS.
func headingFunctions() template.FuncMap {
	functions := template.FuncMap{}
	for _, name := range []string{"json", "title", "lower", "upper"} {
		functions[name] = func(heading string) string { return heading }
	}
	for _, name := range []string{"split", "join"} {
		functions[name] = func(heading, _ string) string { return heading }
	}
	functions["truncate"] = func(heading string, _ int) string { return heading }
	return functions
}

// printInspected prints a JSON array, or each object through a template.
func printInspected(w io.Writer, found []any, format string) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	switch format {
	case "":
		out.SetIndent("", "    ")
		return out.Encode(found)
	case "json":
		return out.Encode(found)
	}
	var lines bytes.Buffer
	for _, one := range found {
		if err := renderTemplate(&lines, format, one); err != nil {
			return err
		}
		lines.WriteByte('\n')
	}
	if len(found) == 0 { // As in Docker.
		lines.WriteByte('\n')
	}
	_, err := lines.WriteTo(w)
	return err
}

// shortID is how lists show an ID: 12 digits, without the name of the hash.
func shortID(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(len(id), 12)]
}

func ago(t time.Time) string { return agoAt(t, time.Now()) }

func agoAt(t, now time.Time) string { return units.HumanDuration(now.Sub(t)) + " ago" }

// localTime is how lists show a moment.
func localTime(t time.Time) string { return t.Truncate(time.Second).Local().String() }

// labelList is how lists show labels: name=value, in the order of the names.
func labelList(labels map[string]string) string {
	var all []string
	for name, value := range labels {
		all = append(all, name+"="+value)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

// humanSize is how lists show a size in bytes: three digits.
func humanSize(bytes int64) string { return units.HumanSizeWithPrecision(float64(bytes), 3) }
