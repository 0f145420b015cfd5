package netns

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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

// namesOf lists names by network.
func namesOf(all map[string][]Resident) map[string][]string {
	names := map[string][]string{}
	for network, residents := range all {
		names[network] = []string{}
		for _, r := range residents {
			names[network] = append(names[network], r.Name)
		}
	}
	return names
}

// watching collects what a watcher tells.
func watching(t *testing.T, place Place, networks ...string) (told chan map[string][]string) {
	t.Helper()
	told = make(chan map[string][]string, 1000)
	w, err := WatchResidents(place, networks, func(all map[string][]Resident) { told <- namesOf(all) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return told
}

// wantTold waits until the watcher has told what is wanted.
func wantTold(t *testing.T, told chan map[string][]string, want map[string][]string) {
	t.Helper()
	late := time.After(patient)
	var last map[string][]string
	for {
		select {
		case last = <-told:
			if cmp.Equal(want, last, cmpopts.EquateEmpty()) {
				return
			}
		case <-late:
			t.Fatalf("last told (-want +got):\n%s", cmp.Diff(want, last))
		}
	}
}

// seen is how soon a change has to be seen; an emulated machine gets more.
func seen() time.Duration {
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		return 3 * time.Second
	}
	return 100 * time.Millisecond
}

func TestComingAndGoingIsSeenAtOnce(t *testing.T) {
	place := Place{Run: t.TempDir()}
	ledger := newLedger(t)
	publish(t, ledger, place, "front", resident("own", "10.0.0.2"))
	publish(t, ledger, place, "back", resident("own", "10.1.0.2"))
	told := watching(t, place, "front", "back")
	wantTold(t, told, map[string][]string{"front": {"own"}, "back": {"own"}})
	// The best of some: what else the machine does is not ours.
	came, went := time.Hour, time.Hour
	for range 20 {
		other := newLedger(t)
		start := time.Now()
		publish(t, other, place, "front", resident("web", "10.0.0.3"))
		wantTold(t, told, map[string][]string{"front": {"own", "web"}, "back": {"own"}})
		came, start = min(came, time.Since(start)), time.Now()
		if err := undoResident(other.Records()[0].Target); err != nil {
			t.Fatal(err)
		}
		wantTold(t, told, map[string][]string{"front": {"own"}, "back": {"own"}})
		went = min(went, time.Since(start))
	}
	t.Logf("came %v, went %v", came, went)
	if came > seen() || went > seen() {
		t.Errorf("seen after %v, and gone after %v", came, went)
	}
}

// A whole crowd may come while the watcher is busy, and more than the kernel's queue
// holds (fs.inotify.max_queued_events, 16384 by default).
func TestWatcherKeepsUpWithACrowd(t *testing.T) {
	place := Place{Run: t.TempDir()}
	dir := residentsDir(place, "n")
	publish(t, newLedger(t), place, "n", resident("own", "10.0.0.2"))
	hold := make(chan struct{})
	told := make(chan map[string][]string, 10000)
	first := true
	w, err := WatchResidents(place, []string{"n"}, func(all map[string][]Resident) {
		if !first {
			<-hold
		}
		first = false
		told <- namesOf(all)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	text, err := json.Marshal(resident("web", "10.0.0.3"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, resident("web", "10.0.0.3").ID+residentSuffix)
	for range 9000 { // Two events for each: moved from another name, moved to this one.
		if err := os.WriteFile(filepath.Join(dir, "x.part"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "x.part"), path); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, newLedger(t), place, "n", resident("last", "10.0.0.4"))
	close(hold)
	wantTold(t, told, map[string][]string{"n": {"last", "own", "web"}})
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
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	spoil()
	if err := os.Mkdir(filepath.Join(dir, "directory.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	told := watching(t, place, "n")
	wantTold(t, told, map[string][]string{"n": {"own"}})
	spoil()
	if err := os.WriteFile(filepath.Join(dir, id+".json"), whole, 0o600); err != nil { // by hand
		t.Fatal(err)
	}
	wantTold(t, told, map[string][]string{"n": {"own", "web"}})
	spoil()
	wantTold(t, told, map[string][]string{"n": {"own"}})
	got, err := residentsOf(place)
	if err != nil || len(got) != 1 || !cmp.Equal(got[0], resident("own", "10.0.0.2"), cmpopts.EquateComparable(netip.Addr{})) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWatchingWhatIsNotThereIsAnError(t *testing.T) {
	if _, err := WatchResidents(Place{Run: t.TempDir()}, []string{"n"}, func(map[string][]Resident) {}); err == nil {
		t.Error("no error")
	}
}
