package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"
	"unicode"

	"github.com/minidock/minidock/steps"
)

// badTemplate is Docker's exit status for a --format that is no template (EX_USAGE
// in sysexits.h).
const badTemplate = 64

// renderTemplate writes v through a Go template with Docker's functions. A field
// may be called as it is in Go or, like Docker's own raw mode, as it is in JSON.
func renderTemplate(w io.Writer, text string, v any) error {
	t, err := template.New("").Funcs(templateFunctions()).Parse(text)
	if err != nil {
		return &steps.Fault{
			Msg:  "template parsing error: " + err.Error(),
			Hint: "A template looks like '{{.ID}} {{json .Config}}'; Go's text/template has the whole syntax.",
			Code: badTemplate, Err: err,
		}
	}
	var out bytes.Buffer
	err = t.Execute(&out, v)
	if err != nil {
		out.Reset()
		err = executeRaw(&out, t, v)
	}
	if err != nil {
		return &steps.Fault{
			Msg:  "template parsing error: " + err.Error(),
			Hint: "`--format json` shows which fields there are.",
			Err:  err,
		}
	}
	_, err = w.Write(out.Bytes())
	return err
}

// executeRaw offers the fields under their names in JSON.
func executeRaw(w io.Writer, t *template.Template, v any) error {
	raw, err := rawOf(v)
	if err != nil {
		return err
	}
	return t.Option("missingkey=error").Execute(w, raw)
}

// rawOf is v as JSON has it; numbers keep their digits.
func rawOf(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var raw any
	return raw, decoder.Decode(&raw)
}

// templateFunctions are Docker's (docker/cli, templates).
func templateFunctions() template.FuncMap {
	return template.FuncMap{
		"json":     templateJSON,
		"split":    strings.Split,
		"join":     templateJoin,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

func templateJSON(v any) (string, error) {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return strings.TrimSpace(b.String()), err
}

// templateJoin also takes lists that came by way of JSON.
func templateJoin(list any, separator string) (string, error) {
	switch list := list.(type) {
	case []string:
		return strings.Join(list, separator), nil
	case []any:
		words := make([]string, len(list))
		for i, v := range list {
			words[i] = fmt.Sprint(v)
		}
		return strings.Join(words, separator), nil
	case nil:
		return "", nil
	}
	return "", fmt.Errorf("join needs a list, not %T", list)
}

// title writes every word with a capital.
func title(s string) string {
	before := ' '
	return strings.Map(func(r rune) rune {
		first := unicode.IsSpace(before)
		before = r
		if first {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

// pad puts spaces around what is not empty.
func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", max(before, 0)) + s + strings.Repeat(" ", max(after, 0))
}

func truncate(s string, length int) string {
	if runes := []rune(s); len(runes) > max(length, 0) {
		return string(runes[:max(length, 0)])
	}
	return s
}
