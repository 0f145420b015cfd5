package steps

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func paths(t *testing.T) Paths {
	t.Helper()
	dir := t.TempDir()
	return Paths{Boot: filepath.Join(dir, "run", "x.jsonl"), Kept: filepath.Join(dir, "lib", "x.jsonl")}
}

func open(t *testing.T, p Paths, tell func(Record)) *Ledger {
	t.Helper()
	l, err := Open(p, tell)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestStepIsOnDiskBeforeItsActIsDone(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	err := l.Do(Step{Kind: "mount", Target: "/m"}, func() error {
		records, err := Load(p)
		if err != nil || len(records) != 1 || records[0].State != Begun {
			t.Errorf("while the act runs the file holds %v, %v", records, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	records, _ := Load(p)
	if len(records) != 1 || records[0].State != Done {
		t.Errorf("after the act the file holds %v", records)
	}
}

func TestRecordsSurviveReopening(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	boom := errors.New("boom")
	_ = l.Do(Step{Kind: "directory", Target: "/d", Lifetime: Kept, Why: "why"}, func() error { return nil })
	if err := l.Do(Step{Kind: "mount", Target: "/m"}, func() error { return boom }); !errors.Is(err, boom) || err.Error() != "mount /m: boom" {
		t.Errorf("the act's error comes back as %v", err)
	}
	l.Close()
	again := open(t, p, nil)
	if diff := cmp.Diff(l.Records(), again.Records(), cmpopts.IgnoreFields(Record{}, "Took")); diff != "" {
		t.Errorf("reopened ledger differs (-before +after):\n%s", diff)
	}
	_ = again.Do(Step{Kind: "fifo", Target: "/f"}, func() error { return nil })
	if n := again.Records()[2].N; n != 3 {
		t.Errorf("numbers go on with %d, want 3", n)
	}
}

func TestFaultIsNotPrefixedWithTheStep(t *testing.T) {
	l := open(t, paths(t), nil)
	fault := &Fault{Msg: "name taken", Hint: "choose another", Code: 125}
	err := l.Do(Step{Kind: "name", Target: "/n"}, func() error { return fault })
	if err.Error() != "name taken" || HintOf(err) != "choose another" || CodeOf(err, 1) != 125 {
		t.Errorf("fault came back as %q, hint %q, code %d", err, HintOf(err), CodeOf(err, 1))
	}
}

func TestUndoGoesBackwardsSkipsFailuresAndMarks(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	for _, target := range []string{"/a", "/b", "/stubborn", "/c"} {
		_ = l.Do(Step{Kind: "mount", Target: target}, func() error { return nil })
	}
	_ = l.Do(Step{Kind: "mount", Target: "/never"}, func() error { return errors.New("no") })
	_ = l.Do(Step{Kind: "mount", Target: "/inside", Inside: true}, func() error { return nil })
	_ = l.Do(Step{Kind: "told only", Target: "/t"}, func() error { return nil })
	_ = l.Do(Step{Kind: "mount", Target: "/kept", Lifetime: Kept}, func() error { return nil })
	var undone []string
	stubborn := true
	undos := Undos{"mount": func(target string) error {
		if target == "/stubborn" && stubborn {
			return errors.New("busy")
		}
		undone = append(undone, target)
		return nil
	}}
	if err := l.Undo(undos, Boot); err == nil || !strings.Contains(err.Error(), "undo mount /stubborn: busy") {
		t.Errorf("undo returned %v", err)
	}
	stubborn = false
	again := open(t, p, nil)
	if err := again.Undo(undos, Boot); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"/c", "/b", "/a", "/stubborn"}, undone); diff != "" {
		t.Errorf("undone (-want +got):\n%s", diff)
	}
}

func TestWhatOthersStillUseIsNotSaidToBeTakenBack(t *testing.T) {
	l := open(t, paths(t), nil)
	_ = l.Do(Step{Kind: "shared", Target: "/s"}, func() error { return nil })
	if err := l.Undo(Undos{"shared": func(string) error { return ErrStays }}, Boot); err != nil {
		t.Error(err)
	}
	if state := l.Records()[0].State; state != Done {
		t.Errorf("recorded as %s", state)
	}
}

func TestAnnouncedStepsThatFailTogetherAreAllUndone(t *testing.T) {
	l := open(t, paths(t), nil)
	batch, err := l.Announce([]Step{{Kind: "cgroup", Target: "/1"}, {Kind: "cgroup", Target: "/2"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := batch.End(errors.New("some of it failed")); err != nil {
		t.Fatal(err)
	}
	pending := l.Pending(Undos{"cgroup": func(string) error { return nil }}, Boot)
	if len(pending) != 2 || pending[0].Target != "/2" {
		t.Errorf("pending: %v", pending)
	}
}

func TestTellHearsEveryStepInOrder(t *testing.T) {
	var heard []string
	l := open(t, paths(t), func(r Record) { heard = append(heard, string(r.State)+" "+r.Target) })
	_ = l.Do(Step{Kind: "mount", Target: "/a"}, func() error { return nil })
	_ = l.Undo(Undos{"mount": func(string) error { return nil }}, Boot)
	if diff := cmp.Diff([]string{"begun /a", "done /a", "undone /a"}, heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
}

func TestLedgerCutAtEveryByteNeverPanicsAndIsRepaired(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	for _, target := range []string{"/a", "/b"} {
		_ = l.Do(Step{Kind: "mount", Target: target, Why: "because"}, func() error { return nil })
	}
	whole, err := os.ReadFile(p.Boot)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if err := os.WriteFile(p.Boot, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(p, nil)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := again.Do(Step{Kind: "fifo", Target: "/f"}, func() error { return nil }); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		records, err := Load(p)
		if err != nil || len(records) == 0 || records[len(records)-1].Target != "/f" {
			t.Fatalf("cut at %d: then %v, %v", cut, records, err)
		}
		again.Close()
	}
}

func TestEditedLedgerGivesFileAndLine(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	_ = l.Do(Step{Kind: "mount", Target: "/a"}, func() error { return nil })
	for _, bad := range []string{"{not json\n", `{"n":9,"done":true}` + "\n"} {
		text, _ := os.ReadFile(p.Boot)
		if err := os.WriteFile(p.Boot, append(text, bad...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(p)
		if err == nil || !strings.Contains(err.Error(), p.Boot) || !strings.Contains(err.Error(), "line 3") {
			t.Errorf("%q gives %v", bad, err)
		}
		if err := os.WriteFile(p.Boot, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLedgerIsSafeForSeveralGoroutines(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				if err := l.Do(Step{Kind: "mount", Target: "/x"}, func() error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	records, err := Load(p)
	if err != nil || len(records) != 160 || records[159].N != 160 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

func TestRemoveTakesBothFilesAndIsHarmlessTwice(t *testing.T) {
	p := paths(t)
	l := open(t, p, nil)
	_ = l.Do(Step{Kind: "mount", Target: "/a"}, func() error { return nil })
	_ = l.Do(Step{Kind: "directory", Target: "/b", Lifetime: Kept}, func() error { return nil })
	for range 2 {
		if err := l.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{p.Boot, p.Kept} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestMergeKeepsEveryKind(t *testing.T) {
	one := func(string) error { return nil }
	merged := Merge(Undos{"a": one}, Undos{"b": one}, nil)
	if len(merged) != 2 || merged["a"] == nil || merged["b"] == nil {
		t.Errorf("merged: %v", merged)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "/a/b-c.d_e": "/a/b-c.d_e", "two words": "'two words'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a\nb": "'a\nb'", "lowerdir=/a:/b,x": "lowerdir=/a:/b,x",
	} {
		if got := ShellQuote(in); got != want {
			t.Errorf("ShellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestFaultChain(t *testing.T) {
	inner := &Fault{Msg: "inner", Hint: "hint", Code: 127}
	outer := &Fault{Msg: "outer", Err: inner}
	if HintOf(outer) != "hint" || CodeOf(outer, 1) != 127 || !errors.Is(outer, inner) {
		t.Errorf("hint %q code %d", HintOf(outer), CodeOf(outer, 1))
	}
	if HintOf(errors.New("x")) != "" || CodeOf(errors.New("x"), 7) != 7 || CodeOf(nil, 3) != 3 {
		t.Error("an error without a fault has no hint and the fallback code")
	}
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte(`{"n":1,"begun":"2026-01-02T03:04:05Z","step":{"kind":"mount","target":"/a"}}` + "\n" + `{"n":1,"done":true}` + "\n"))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, err := parse(text)
		seen := map[int]bool{}
		for _, r := range records {
			if err == nil && seen[r.N] {
				t.Errorf("step %d is there twice", r.N)
			}
			seen[r.N] = true
		}
	})
}

func TestLedgerWithoutFilesTellsAndKeepsNothing(t *testing.T) {
	t.Chdir(t.TempDir()) // A file without a name would be here.
	var heard []string
	l := open(t, Paths{}, func(r Record) { heard = append(heard, string(r.State)+" "+r.Target) })
	if err := l.Do(Step{Kind: "mount", Target: "/a"}, func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := l.Do(Step{Kind: "file", Target: "/b", Lifetime: Kept}, func() error { return errors.New("no") }); err == nil {
		t.Error("an error is lost")
	}
	batch, err := l.Announce([]Step{{Kind: "mount", Target: "/c"}})
	if err == nil {
		err = batch.End(nil)
	}
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"begun /a", "done /a", "begun /b", "failed /b", "begun /c", "done /c"}, heard); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	if records, err := Load(Paths{}); err != nil || len(records) != 0 {
		t.Errorf("kept %v, %v", records, err)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) != 0 {
		t.Errorf("left %v, %v", files, err)
	}
	if len(l.Records()) != 3 {
		t.Errorf("it remembers %v", l.Records())
	}
}

func TestTakeBackUndoesOneObjectBeforeItsTurn(t *testing.T) {
	p := paths(t)
	var heard []string
	l := open(t, p, func(r Record) {
		if r.State == Undone {
			heard = append(heard, r.Target)
		}
	})
	for _, s := range []Step{{Kind: "name", Target: "/old", Lifetime: Kept}, {Kind: "mount", Target: "/old"}, {Kind: "name", Target: "/new", Lifetime: Kept}} {
		if err := l.Do(s, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	var undone []string
	busy := true
	undo := func(kind string) Undo {
		return func(target string) error {
			if busy {
				return errors.New("busy")
			}
			undone = append(undone, kind+" "+target)
			return nil
		}
	}
	undos := Undos{"name": undo("name"), "mount": undo("mount")}
	if err := l.TakeBack(undos, "name", "/old"); err == nil || err.Error() != "undo name /old: busy" {
		t.Errorf("%v", err)
	}
	busy = false
	// The second time, and where there is no such step, there is nothing to do.
	for _, target := range []string{"/old", "/old", "/other"} {
		if err := l.TakeBack(undos, "name", target); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{"name /old"}, undone); diff != "" {
		t.Errorf("undone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/old"}, heard); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	again := open(t, p, nil)
	if err := again.Undo(undos, Boot, Kept); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"name /old", "name /new", "mount /old"}, undone); diff != "" {
		t.Errorf("undone in the end (-want +got):\n%s", diff)
	}
}

func TestTakeBackMarksEachStepThatMadeTheObject(t *testing.T) {
	l := open(t, paths(t), nil)
	for range 2 {
		if err := l.Do(Step{Kind: "file", Target: "/x"}, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	times := 0
	undos := Undos{"file": func(string) error { times++; return nil }}
	if err := l.TakeBack(undos, "file", "/x"); err != nil || times != 1 || len(l.Pending(undos, Boot)) != 0 {
		t.Errorf("undone %d times, %v; pending: %v", times, err, l.Pending(undos, Boot))
	}
}
