package main

import (
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/steps"
)

// listed is a row whose label is asked for by name.
type listed struct {
	ID, Size string
	labels   map[string]string
}

func (l listed) Label(name string) string { return l.labels[name] }

func TestListsReadFormatsAsDockerDoes(t *testing.T) {
	columns := listColumns{headings: headings{"ID": "CONTAINER ID", "Size": "SIZE"}, standard: `{{.ID}}\t{{.Size}}`}
	rows := []listed{
		{"abc", "1kB", map[string]string{"org.example.build-host": "moon"}},
		{"defghijklmnopq", "", nil},
	}
	table := "CONTAINER ID     SIZE\nabc              1kB\ndefghijklmnopq   \n"
	for format, want := range map[string]string{
		"":                                     table,
		"table":                                table,
		`table {{.Size}}\t{{upper .ID}}`:       "SIZE      CONTAINER ID\n1kB       ABC\n          DEFGHIJKLMNOPQ\n",
		`table {{truncate .ID 2}}`:             "CONTAINER ID\nab\nde\n",
		`table {{.Label "org.a.b-c_d"}}`:       "b c d\n\n\n",
		`{{.Label "org.example.build-host"}}|`: "moon|\n|\n",
		`{{.ID}}\t{{.Size}}`:                   "abc\t1kB\ndefghijklmnopq\t\n",
		"json":                                 `{"ID":"abc","Size":"1kB"}` + "\n" + `{"ID":"defghijklmnopq","Size":""}` + "\n",
		"{{json .ID}}":                         "\"abc\"\n\"defghijklmnopq\"\n",
	} {
		var out strings.Builder
		if err := printRows(&out, format, columns, rows); err != nil || out.String() != want {
			t.Errorf("format %q, %v:\n%s\nwant:\n%s", format, err, out.String(), want)
		}
	}
}

func TestListsWithBadFormatsPrintNothing(t *testing.T) {
	columns := listColumns{headings: headings{"ID": "ID"}, standard: `{{.ID}}`}
	for _, format := range []string{"{{", "{{.Nope}}", "table {{.Nope}}", "{{nope .ID}}", `{{if eq .ID "b"}}{{.Nope}}{{else}}{{.ID}}{{end}}`} {
		for _, rows := range [][]listed{{{ID: "a"}, {ID: "b"}}, nil} {
			var out strings.Builder
			err := printRows(&out, format, columns, rows)
			// Without rows and headings nothing reads the fields.
			if len(rows) == 0 && !strings.HasPrefix(format, "table") && err == nil {
				continue
			}
			if err == nil || !strings.HasPrefix(err.Error(), "template parsing error: ") || steps.HintOf(err) == "" || out.Len() > 0 {
				t.Errorf("format %q: %v, printed %q", format, err, out.String())
			}
		}
	}
}

func TestInspectedObjectsArePrintedOneByOne(t *testing.T) {
	found := []any{listed{ID: "a<b", Size: "1"}, listed{ID: "c", Size: "2"}}
	for _, c := range []struct {
		found        []any
		format, want string
	}{
		{found, "{{.ID}}", "a<b\nc\n"},
		{found, "json", `[{"ID":"a<b","Size":"1"},{"ID":"c","Size":"2"}]` + "\n"},
		{found[1:], "", "[\n    {\n        \"ID\": \"c\",\n        \"Size\": \"2\"\n    }\n]\n"},
		{[]any{}, "", "[]\n"},
		{nil, "{{.ID}}", "\n"},
	} {
		var out strings.Builder
		if err := printInspected(&out, c.found, c.format); err != nil || out.String() != c.want {
			t.Errorf("format %q, %v:\n%s\nwant:\n%s", c.format, err, out.String(), c.want)
		}
	}
}

func TestListsShowIDsTimesAndSizesShort(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for got, want := range map[string]string{
		shortID("sha256:0123456789abcdef"):                 "0123456789ab",
		shortID("0123"):                                    "0123",
		agoAt(now.Add(-90*time.Second), now):               "About a minute ago",
		agoAt(now, now):                                    "Less than a second ago",
		localTime(now):                                     now.Local().Format("2006-01-02 15:04:05 -0700 MST"),
		labelList(map[string]string{"b": "2", "a": "x=y"}): "a=x=y,b=2",
		humanSize(1_982_256):                               "1.98MB",
	} {
		if got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
