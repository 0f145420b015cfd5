package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// A shell sees no variables in single quotes: what stands there is told in full.
func TestToldShellIsShortenedWhereAShellMakesItLong(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	var out bytes.Buffer
	newTeller(&out, runtime.Layout{Root: "/r", Run: "/s"}).story([]steps.Record{{N: 1, Step: steps.Step{
		Kind: "file", Target: "/n/" + id,
		Shell: []string{"printf '{\"ID\":\"" + id + "\"}' > /n/" + id, `echo it\'s ` + id, "nft 'table {\n  }'"},
	}}})
	for _, want := range []string{"printf '{\"ID\":\"" + id + "\"}' > /n/$I\n", `echo it\'s $I` + "\n", "      $    nft 'table {\n             }'\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, &out)
		}
	}
}
