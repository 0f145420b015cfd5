package main

import (
	"strings"
	"testing"

	"github.com/minidock/minidock/steps"
)

// shaped is an object whose fields have other names in JSON.
type shaped struct {
	ID     string `json:"Id"`
	Nested struct{ Count int64 }
	List   []string
	Hidden string `json:"-"`
}

func TestTemplatesReadFieldsByEitherName(t *testing.T) {
	v := shaped{ID: "abc def", List: []string{"x", "<y>"}}
	v.Nested.Count = 12_345_678
	for text, want := range map[string]string{
		`{{.ID}}`:                              "abc def",
		`{{.Id}}`:                              "abc def",
		`{{.Id}} {{.Nested.Count}}`:            "abc def 12345678",
		`{{json .List}}`:                       `["x","<y>"]`,
		`{{json .}}`:                           `{"Id":"abc def","Nested":{"Count":12345678},"List":["x","<y>"]}`,
		`{{join .List "|"}}`:                   "x|<y>",
		`{{.Id}} {{join .List "|"}}`:           "abc def x|<y>",
		`{{upper .ID}} {{title .ID}}`:          "ABC DEF Abc Def",
		`{{lower "ABC"}}`:                      "abc",
		`{{index (split .ID " ") 1}}`:          "def",
		`{{truncate .ID 2}}{{truncate "ä" 5}}`: "abä",
		`[{{pad .ID 1 2}}{{pad "" 1 2}}]`:      "[ abc def  ]",
		`{{range .List}}{{println .}}{{end}}`:  "x\n<y>\n",
	} {
		var out strings.Builder
		if err := renderTemplate(&out, text, v); err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, out.String(), err, want)
		}
	}
}

func TestBadTemplatesPrintNothing(t *testing.T) {
	for text, code := range map[string]int{
		`{{`:                         badTemplate,
		`{{nosuch .ID}}`:             badTemplate,
		`before {{.Missing}}`:        1,
		`before {{.Hidden}} {{.Id}}`: 1,
		`{{join .ID "x"}}`:           1,
	} {
		var out strings.Builder
		err := renderTemplate(&out, text, shaped{})
		if err == nil || steps.CodeOf(err, 1) != code || !strings.HasPrefix(err.Error(), "template parsing error: ") || steps.HintOf(err) == "" {
			t.Errorf("%s: error %v, status %d; want %d", text, err, steps.CodeOf(err, 1), code)
		}
		if out.Len() > 0 {
			t.Errorf("%s: printed %q", text, out.String())
		}
	}
}
