package main

import (
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/minidock/minidock/steps"
)

// unreadable has a shell read every command of the stories, and returns what it
// minds. Each is made the body of a function, which is read and not run, in a
// shell of its own: what is wrong in one must not be set right by the next.
func unreadable(stories ...[]steps.Record) error {
	const reader = `for command; do
	(eval "f() { :
$command
}") || { echo "can't read: $command"; status=1; }
done
exit ${status-0}`
	cmd := exec.Command("sh", slices.Concat([]string{"-c", reader, "sh"}, toldCommands(stories))...)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

// toldCommands lists what the stories tell to type, each once, with the same name for
// every container.
func toldCommands(stories [][]steps.Record) []string {
	id := regexp.MustCompile(`[0-9a-f]{64}`)
	seen := map[string]bool{}
	for _, story := range stories {
		for _, r := range story {
			for _, line := range append([]string{r.Undo}, r.Shell...) {
				seen[id.ReplaceAllLiteralString(line, "ID")] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func TestShellThatIsWrongIsSeen(t *testing.T) {
	for _, line := range []string{`echo "open`, `echo it's`, `mount -o a;b) /x`, `if true`, "nft 'table ip x {\n}"} {
		if unreadable([]steps.Record{{Step: steps.Step{Shell: []string{"true", line, `echo "open`}}}}) == nil {
			t.Errorf("a shell takes %q", line)
		}
	}
	if err := unreadable([]steps.Record{{Step: steps.Step{Undo: "rm x", Shell: []string{"# nothing", "echo 'a\"b' > /x", "", "nft 'table ip x {\n}'"}}}}); err != nil {
		t.Error(err)
	}
}

// readStory reads back what `run --explain` said.
func readStory(t *testing.T, said string) []steps.Record {
	t.Helper()
	var story []steps.Record
	var names []string
	head := regexp.MustCompile(`^ *(\d+)\. (\S+) (.*?)(  \(in the container\))?$`)
	undone := regexp.MustCompile(`^<- (\d+)\. take back (\S+) (.*)$`)
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
			story = append(story, steps.Record{N: n, State: steps.Done, Together: true, Step: steps.Step{Kind: steps.Kind(m[2]), Target: m[3], Inside: m[4] != ""}})
		} else if strings.HasPrefix(line, "      done in ") {
			story[last].Together = false // Of those told together, the times are not known.
		} else if m := undone.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			story = takeBack(story, steps.Record{N: n, State: steps.Undone, Step: steps.Step{Kind: steps.Kind(m[2]), Target: m[3]}})
		} else if strings.HasPrefix(line, "      failed: ") {
			story[last].State, story[last].Together = steps.Failed, false
		} else if call, ok := strings.CutPrefix(line, "      call "); ok {
			story[last].Call = append(story[last].Call, call)
		} else if shell, ok := strings.CutPrefix(line, "      $    "); ok {
			story[last].Shell = append(story[last].Shell, shell)
		} else if more, ok := strings.CutPrefix(line, "           "); ok {
			story[last].Shell[len(story[last].Shell)-1] += "\n" + more
		}
	}
	if len(story) == 0 {
		t.Fatalf("no story in:\n%s", said)
	}
	return story
}

// takeBack marks a step as undone; one of an earlier story is added without its
// calls.
func takeBack(story []steps.Record, undone steps.Record) []steps.Record {
	for i, r := range slices.Backward(story) {
		if r.N == undone.N && r.Kind == undone.Kind && r.Target == undone.Target {
			story[i].State = steps.Undone
			return story
		}
	}
	return append(story, undone)
}
