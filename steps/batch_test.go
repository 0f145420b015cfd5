package steps

import (
	"os"
	"strings"
	"testing"
)

func TestAnnouncedStepsAreInTheFilesOfTheirLifetimesBeforeTheyAreDone(t *testing.T) {
	p := paths(t)
	var heard []string
	l := open(t, p, func(r Record) { heard = append(heard, string(r.State)+" "+r.Target) })
	batch, err := l.Announce([]Step{{Kind: "mount", Target: "/a"}, {Kind: "file", Target: "/b", Lifetime: Kept}, {Kind: "mount", Target: "/c"}})
	if err != nil {
		t.Fatal(err)
	}
	for path, lines := range map[string]int{p.Boot: 2, p.Kept: 1} {
		if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), "\n") != lines {
			t.Errorf("%s holds %q, %v; want %d lines", path, text, err, lines)
		}
	}
	if err := batch.End(nil); err != nil {
		t.Fatal(err)
	}
	records, err := Load(p)
	if err != nil || len(records) != 3 {
		t.Fatalf("loaded %v, %v", records, err)
	}
	for i, r := range records {
		if r.State != Done || r.N != i+1 || !r.Together {
			t.Errorf("step %d came back as %+v", i+1, r)
		}
	}
	if got := strings.Join(heard, ", "); got != "begun /a, begun /b, begun /c, done /a, done /b, done /c" {
		t.Errorf("heard %s", got)
	}
}

func TestAnnouncingNothingWritesNothing(t *testing.T) {
	p := paths(t)
	batch, err := open(t, p, nil).Announce(nil)
	if err == nil {
		err = batch.End(nil)
	}
	if _, statErr := os.Stat(p.Boot); err != nil || !os.IsNotExist(statErr) {
		t.Errorf("error %v, and the file: %v", err, statErr)
	}
}
