package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/minidock/minidock/steps"
)

func newLedger(t *testing.T) *steps.Ledger {
	t.Helper()
	dir := t.TempDir()
	ledger, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "b"), Kept: filepath.Join(dir, "k")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ledger.Close() })
	return ledger
}

func publish(t *testing.T, ledger *steps.Ledger, place Place, network string, r Resident) {
	t.Helper()
	if err := PublishResident(ledger, place, network, r); err != nil {
		t.Fatal(err)
	}
}

func residentsOf(place Place) ([]Resident, error) {
	files, err := readResidents(residentsDir(place, "n"))
	return sortResidents(files), err
}

// neighbours asks for some names again and again, until those that are known are the
// wanted ones.
func neighbours(t *testing.T, n *Neighbours, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(seen()); time.Now().Before(deadline); {
		got = nil
		for name := range n.Table().names {
			if !strings.Contains(name, ".") && !strings.HasPrefix(name, "host-") && len(name) != shortID {
				got = append(got, name)
			}
		}
		if slices.Sort(got); slices.Equal(got, want) {
			return
		}
	}
	t.Fatalf("after %s the names are %q, not %q", seen(), got, want)
}

// seen is how soon a change has to be seen; an emulated machine gets more.
func seen() time.Duration {
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		return 3 * time.Second
	}
	return 100 * time.Millisecond
}

// Each change is there with the next question, however fast they follow: also those
// that leave a directory with the same time as before.
func TestComingAndGoingIsSeenAtOnce(t *testing.T) {
	place := Place{Run: t.TempDir()}
	own := newLedger(t)
	publish(t, own, place, "front", resident("own", "10.0.0.2"))
	publish(t, own, place, "back", resident("own", "10.1.0.2"))
	n := FollowResidents(place, View{Network: "front"}, View{Network: "back"})
	web := resident("web", "10.0.0.3")
	path := residentFile(place, "front", web.ID)
	for range 500 {
		if _, known := n.Table().Lookup("own"); !known {
			t.Fatal("own is not known")
		}
		if err := replaceResident(path, []byte(`{"ID":"`+web.ID+`","Name":"web","Address":"10.0.0.3"}`)); err != nil {
			t.Fatal(err)
		}
		if all, _ := n.Table().Lookup("web"); len(all) != 1 || all[0] != web.Address {
			t.Fatalf("who came has %v", all)
		}
		if err := replaceResident(path, []byte(`{"ID":"`+web.ID+`","Name":"web","Address":"10.0.0.4"}`)); err != nil {
			t.Fatal(err)
		}
		if all, _ := n.Table().Lookup("web.front"); len(all) != 1 || all[0] != netip.MustParseAddr("10.0.0.4") {
			t.Fatalf("who changed has %v", all)
		}
		if err := undoResident(path); err != nil {
			t.Fatal(err)
		}
		if all, known := n.Table().Lookup("web"); known {
			t.Fatalf("who went has %v", all)
		}
	}
}

// As long as nothing changes nothing is read: the table is the same one.
func TestWhatHasNotChangedIsNotReadAgain(t *testing.T) {
	place := Place{Run: t.TempDir()}
	publish(t, newLedger(t), place, "n", resident("own", "10.0.0.2"))
	n := FollowResidents(place, View{Network: "n"})
	for deadline := time.Now().Add(patient); !n.last.Load().settled; n.Table() {
		if time.Now().After(deadline) {
			t.Fatal("it never settles")
		}
	}
	settled := n.Table()
	for range 100 {
		if n.Table() != settled {
			t.Fatal("another table")
		}
	}
}

// Questions come from several goroutines, and each sees what was there before it.
func TestManyAskWhileACrowdComes(t *testing.T) {
	place := Place{Run: t.TempDir()}
	n := FollowResidents(place, View{Network: "n"})
	ledger, done := newLedger(t), make(chan struct{})
	var came atomic.Int64
	var askers sync.WaitGroup
	for range 4 {
		askers.Go(func() {
			for {
				least := came.Load()
				if known := int64(len(n.Table().pointers)); known < least {
					t.Errorf("%d are known after %d have come", known, least)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 250 {
		publish(t, ledger, place, "n", resident(fmt.Sprintf("web%d", i), fmt.Sprintf("10.0.0.%d", i+2)))
		came.Add(1)
	}
	close(done)
	askers.Wait()
	if known := len(n.Table().pointers); known != 250 {
		t.Errorf("%d are known", known)
	}
}

func TestForeignAndHalfWrittenFilesAreLeftOut(t *testing.T) {
	place := Place{Run: t.TempDir()}
	ledger := newLedger(t)
	publish(t, ledger, place, "n", resident("own", "10.0.0.2"))
	dir := residentsDir(place, "n")
	whole, err := json.Marshal(resident("web", "10.0.0.3"))
	if err != nil {
		t.Fatal(err)
	}
	id := resident("web", "10.0.0.3").ID
	put := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "x"), []byte(text), 0o600), os.Rename(filepath.Join(dir, "x"), filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	spoil := func() {
		for name, text := range map[string]string{
			id + ".json":      string(whole[:len(whole)/2]),
			id + ".json.part": string(whole),
			"other.json":      string(whole), // not its ID
			"notes.txt":       "x",
			"empty.json":      "",
			"list.json":       "[]",
			"nameless.json":   `{"ID":"nameless","Address":"10.0.0.9"}`,
			"astray.json":     `{"ID":"astray","Name":"astray"}`,
			"huge.json":       `{"ID":"huge","Name":"huge","Address":"10.0.0.8"}` + strings.Repeat(" ", maxResident),
		} {
			put(name, text)
		}
	}
	spoil()
	if err := os.Mkdir(filepath.Join(dir, "directory.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	n := FollowResidents(place, View{Network: "n"})
	neighbours(t, n, "own")
	put(id+".json", string(whole)) // by hand
	neighbours(t, n, "own", "web")
	spoil()
	neighbours(t, n, "own")
	got, err := residentsOf(place)
	if err != nil || len(got) != 1 || !cmp.Equal(got[0], resident("own", "10.0.0.2"), cmpopts.EquateComparable(netip.Addr{})) {
		t.Errorf("%v, %v", got, err)
	}
}

// A network may be without a directory until somebody comes, and be without it again
// when the last one has gone.
func TestADirectoryThatComesAndGoes(t *testing.T) {
	place := Place{Run: t.TempDir()}
	n := FollowResidents(place, View{Network: "n", Internal: true})
	for range 3 {
		neighbours(t, n)
		if n.Table().Forwards() {
			t.Error("an internal network has a way out")
		}
		ledger := newLedger(t)
		publish(t, ledger, place, "n", resident("web", "10.0.0.3"))
		neighbours(t, n, "web")
		if err := undoResident(ledger.Records()[0].Target); err != nil {
			t.Fatal(err)
		}
	}
}

// What can't be read for a moment takes nobody's name away.
func TestNamesStayWhileADirectoryCantBeRead(t *testing.T) {
	place := Place{Run: t.TempDir()}
	publish(t, newLedger(t), place, "n", resident("web", "10.0.0.3"))
	n := FollowResidents(place, View{Network: "n"})
	neighbours(t, n, "web")
	dir := residentsDir(place, "n")
	if err := errors.Join(os.Rename(dir, dir+"-aside"), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	neighbours(t, n, "web")
	if err := errors.Join(os.Remove(dir), os.Rename(dir+"-aside", dir)); err != nil {
		t.Fatal(err)
	}
	publish(t, newLedger(t), place, "n", resident("next", "10.0.0.4"))
	neighbours(t, n, "next", "web")
}
