package main

import (
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/minidock/minidock/steps"
)

// checkShell has a shell read every command of a story, one by one: a quotation
// mark that is open in one would else close in the next.
func checkShell(t *testing.T, story []steps.Record) {
	t.Helper()
	for _, r := range story {
		for _, line := range append([]string{r.Undo}, r.Shell...) {
			cmd := exec.Command("sh", "-n")
			cmd.Stdin = strings.NewReader(line + "\n")
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("step %d (%s): a shell can't read %q: %s", r.N, r.Kind, line, said)
			}
		}
	}
}

// readStory reads back what `run --explain` said.
func readStory(t *testing.T, said string) []steps.Record {
	t.Helper()
	var story []steps.Record
	var names []string
	head := regexp.MustCompile(`^ *(\d+)\. (\S+) (.*?)(  \(in the container\))?$`)
	undone := regexp.MustCompile(`^<- (\d+)\. take back`)
	long := strings.NewReplacer()
	for line := range strings.Lines(said) {
		line = strings.TrimSuffix(line, "\n")
		if name, value, ok := strings.Cut(strings.TrimPrefix(line, "    "), "="); ok && len(name) == 1 {
			names = append(names, "$"+name, value)
			long = strings.NewReplacer(names...)
			continue
		}
		line = long.Replace(line)
		last := len(story) - 1
		if m := head.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			story = append(story, steps.Record{N: n, State: steps.Done, Step: steps.Step{Kind: steps.Kind(m[2]), Target: m[3], Inside: m[4] != ""}})
		} else if m := undone.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			story[n-1].State = steps.Undone
		} else if call, ok := strings.CutPrefix(line, "      call "); ok {
			story[last].Call = append(story[last].Call, call)
		} else if shell, ok := strings.CutPrefix(line, "      $    "); ok {
			story[last].Shell = append(story[last].Shell, shell)
		}
	}
	if len(story) == 0 {
		t.Fatalf("no story in:\n%s", said)
	}
	return story
}
