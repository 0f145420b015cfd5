package program

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOnlyKnownVerbsAreObeyed(t *testing.T) {
	var got []string
	verbs := map[string]Verb{"note": func(_ context.Context, args []string, _ io.Writer) error {
		got = args
		return nil
	}}
	for _, args := range [][]string{nil, {"other"}} {
		if err := Run(t.Context(), verbs, args, io.Discard); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := Run(t.Context(), verbs, []string{"note", "a", "b"}, io.Discard); err != nil || strings.Join(got, " ") != "a b" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTablesAreWrittenOfEachFile(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.json"), filepath.Join(dir, "bad.json")
	for file, text := range map[string]string{good: `"one"`, bad: `{`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	write := func(w io.Writer, s string) { _, _ = io.WriteString(w, s+".") }
	if err := Tables([]string{good, good}, &out, write); err != nil || out.String() != "one.one." {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := Tables(nil, &out, write); !errors.Is(err, ErrUsage) {
		t.Errorf("without files: %v", err)
	}
	if err := Tables([]string{bad}, &out, write); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("of a damaged file: %v", err)
	}
}
