package netns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/steps"
)

func TestResidentIsReplacedWholeAndTakenBack(t *testing.T) {
	place := Place{Run: t.TempDir()}
	ledger := newLedger(t)
	publish(t, ledger, place, "n", resident("web", "10.0.0.3"))
	publish(t, ledger, place, "n", resident("web", "10.0.0.3", "alias"))
	got, err := residentsOf(place)
	if err != nil || len(got) != 1 || len(got[0].Aliases) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	path := ledger.Records()[0].Target
	// What a killed writer left goes as well.
	if err := os.WriteFile(partial(path), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := newLedger(t)
	publish(t, other, place, "n", resident("db", "10.0.0.4"))
	for range 2 {
		if err := undoResident(path); err != nil {
			t.Fatal(err)
		}
	}
	if got, _ := residentsOf(place); len(got) != 1 || got[0].Name != "db" {
		t.Errorf("another's was taken: %v", got)
	}
	for _, l := range []*steps.Ledger{ledger, other} {
		if err := l.Undo(DNSUndos(), steps.Boot); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(residentsDir(place, "n")); !os.IsNotExist(err) {
		t.Errorf("the directory stays: %v", err)
	}
	if err := undoResident(path); err != nil {
		t.Errorf("undo of what is not there: %v", err)
	}
	if err := undoResident("/etc/passwd"); err == nil {
		t.Error("another file would have been removed")
	}
	if got, err := residentsOf(place); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// Many publish while many others leave: nobody is lost with another's directory.
func TestPublishingAndLeavingAtTheSameTime(t *testing.T) {
	place := Place{Run: t.TempDir()}
	errs := make(chan error)
	for i := range 8 {
		go func() {
			r := resident(fmt.Sprintf("c%d", i), "10.0.0.3")
			for range 50 {
				path := residentFile(place, "n", r.ID)
				if err := replaceResident(path, []byte("{}")); err != nil {
					errs <- err
					return
				}
				if _, err := os.Stat(path); err != nil {
					errs <- err
					return
				}
				if err := undoResident(path); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestShellPublishesTheSameResident(t *testing.T) {
	place := Place{Run: filepath.Join(t.TempDir(), "it's a 100% run")}
	ledger := newLedger(t)
	publish(t, ledger, place, "n", resident("web", "10.0.0.3", "a"))
	step := ledger.Records()[0]
	want, err := os.ReadFile(step.Target)
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range append([]string{step.Undo}, step.Shell...) {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	got, err := os.ReadFile(step.Target)
	if err != nil || string(got) != string(want) {
		t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(string(want), string(got)))
	}
}
