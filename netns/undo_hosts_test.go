package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/minidock/minidock/internal/hosts"
	"github.com/minidock/minidock/steps"
)

// everything makes at least one step of each kind: two containers, three networks,
// ports. It returns the first error.
func (w *world) everything() error {
	lab := netA()
	if err := errors.Join(w.store.Up(w.ledger, lab), w.store.Up(w.ledger, secret())); err != nil {
		return err
	}
	for i, networks := range [][]Network{{lab, secret()}, {defaultNetwork()}} {
		file := filepath.Join(w.dir, "netns", fmt.Sprint(i))
		if err := MakeNamespace(w.ledger, file); err != nil {
			return err
		}
		for index, n := range networks {
			plug := w.plug(file, i+1, n, index, 2)
			if err := w.store.Attach(w.ledger, n, plug); err != nil {
				return err
			}
			if err := w.store.Announce(w.ledger, n, plug); err != nil {
				return err
			}
		}
	}
	if err := w.store.Publish(w.ledger, publication("tcp 8080 172.18.0.2 80")); err != nil {
		return err
	}
	return w.store.Publish(w.ledger, publication("udp 127.0.0.1:8080 172.18.0.2 80"))
}

// A process can be killed before and after each act: what the next one reads in
// the ledger is enough to take everything back.
func TestKilledAnywhereNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	every := 1
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		every = 9 // An emulated machine is slow, and does the same.
	}
	for moment := 1; ; moment += every {
		w.dir = t.TempDir()
		finished := w.killedAt(moment)
		w.ledger = openLedger(t, w.dir)
		w.takeBack()
		w.takeBack()
		if after := w.state(); after != before {
			t.Fatalf("killed at moment %d, after %s, there is left:\n%s\nbefore:\n%s", moment, lastOf(w.ledger), after, before)
		}
		if left, _ := filepath.Glob(w.dir + "/netns/*"); len(left) > 0 {
			t.Fatalf("killed at moment %d there is left: %s", moment, left)
		}
		if finished {
			if moment < 60 {
				t.Errorf("only %d moments", moment)
			}
			return
		}
	}
}

func lastOf(l *steps.Ledger) string {
	all := l.Records()
	return string(all[len(all)-1].Kind) + " " + all[len(all)-1].Target
}

// killedAt does everything with a ledger that ends its goroutine when it is told
// something for the nth time, and says whether the end came before.
func (w *world) killedAt(moment int) (finished bool) {
	told := 0
	ledger, err := steps.Open(steps.Paths{Boot: filepath.Join(w.dir, "boot.jsonl"), Kept: filepath.Join(w.dir, "kept.jsonl")}, func(steps.Record) {
		if told++; told >= moment {
			goruntime.Goexit()
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer ledger.Close()
	w.ledger = ledger
	err = w.host.Do(w.everything)
	if err != nil && told < moment {
		w.t.Fatal(err)
	}
	return told < moment
}

func TestUndoOfWhatNeverHappened(t *testing.T) {
	w := newWorld(t)
	w.host.Must(w.everything)
	fresh := hosts.New(t, "fresh")
	seen := map[steps.Kind]bool{}
	for _, r := range w.ledger.Records() {
		undo := Undos()[r.Kind]
		if undo == nil {
			continue
		}
		seen[r.Kind] = true
		target := strings.ReplaceAll(r.Target, w.dir, t.TempDir())
		fresh.Must(func() error { return errors.Join(undo(target), undo(target)) })
	}
	for kind := range kernelUndos() {
		if !seen[kind] {
			t.Errorf("no step of kind %s was made", kind)
		}
	}
	if left := fresh.Run("nft list ruleset; ip -o link | sed '/ lo:/d'"); left != "" {
		t.Errorf("undo made something:\n%s", left)
	}
	w.takeBack()
}

// The default network's bridge goes with the last container, whoever made it.
func TestSharedBridgeGoesWithTheLast(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	ledgers := make([]*steps.Ledger, 3)
	for i := range ledgers {
		ledgers[i] = openLedger(t, t.TempDir())
		w.ledger = ledgers[i]
		w.bare(fmt.Sprint("c", i), byte(2+i), defaultNetwork())
	}
	bridge := "ip -br link | sed -n '/^minidock0 /p'"
	for i, l := range ledgers {
		if w.host.Run(bridge) == "" {
			t.Fatalf("the bridge went before container %d", i)
		}
		w.ledger = l
		w.takeBack()
	}
	if after := w.state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// A network that a user has made stays when its containers go; made again at a
// container's start (after a reboot), it stays, too.
func TestUsersNetworkStays(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	w.bare("c1", 2, netA())
	w.takeBack()
	if got := w.host.Run("nft list set ip minidock bridges; ip -br link"); strings.Count(got, "md-610000000000") != 2 {
		t.Errorf("the network went with its container:\n%s", got)
	}
	w.host.Must(func() error { return errors.Join(w.store.Down(netA()), w.store.Down(netA())) })
	if after := w.state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

func TestForwardingIsTurnedBackByTheLast(t *testing.T) {
	w := newWorld(t)
	w.host.Run("sysctl -qw net.ipv4.conf.all.accept_redirects=0")
	before := w.state()
	second := Open(Place{Instance: "minidock-00000000"})
	other := netB()
	w.host.Must(func() error { return errors.Join(w.store.Up(w.ledger, netA()), second.Up(w.ledger, other)) })
	forwards := func() string { return w.host.Run("cat /proc/sys/net/ipv4/ip_forward") }
	w.host.Must(func() error { return w.store.Down(netA()) })
	if forwards() != "1" {
		t.Error("forwarding was turned off under another installation")
	}
	w.host.Must(func() error { return second.Down(other) })
	if after := w.state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}

	w.host.Run("sysctl -qw net.ipv4.ip_forward=1")
	w.host.Must(func() error { return errors.Join(w.store.Up(w.ledger, netA()), w.store.Down(netA())) })
	if forwards() != "1" {
		t.Error("forwarding was turned off that was on before")
	}
}

// A foreign table, link and setting stay as they are.
func TestForeignObjectsStay(t *testing.T) {
	w := newWorld(t)
	w.host.Run(`nft 'table ip minidocker { chain x { type filter hook forward priority 0; policy accept; }; }; table inet mine { set s { type ifname; elements = { "md-610000000000" }; }; }'
		ip link add md-someone type bridge; ip link add v000000000009.0 type bridge`)
	before := w.state()
	w.host.Must(w.everything)
	w.takeBack()
	if after := w.state(); after != before {
		t.Errorf("changed:\n%s\nbefore:\n%s", after, before)
	}
}

// An entry of a container that is gone gives way; one that somebody else has put
// in its place is not taken with it.
func TestPublishedEntriesChangeHands(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	w.publish("tcp 80 172.18.0.2 80")
	w.publish("tcp 80 172.18.0.3 80")
	entries := func() []string {
		var all []string
		w.host.Must(func() error {
			f, err := openFirewall("minidock")
			if err != nil {
				return err
			}
			defer f.close()
			known, err := f.elements(published)
			for text := range known {
				all = append(all, text)
			}
			return err
		})
		return all
	}
	if got := entries(); !slices.Equal(got, []string{"tcp . 80 : 172.18.0.3 . 80"}) {
		t.Errorf("the map holds %q", got)
	}
	w.host.Must(func() error { return w.store.Unpublish(w.ledger, publication("tcp 80 172.18.0.2 80")) })
	if got := entries(); len(got) != 1 {
		t.Errorf("somebody else's entry was taken; left: %q", got)
	}
	w.host.Must(func() error { return w.store.Unpublish(w.ledger, publication("tcp 80 172.18.0.3 80")) })
	if got := entries(); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// Containers come and go at the same time, each with a ledger of its own, as their
// monitors have.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	const many, rounds = 8, 3
	var all sync.WaitGroup
	for i := range many {
		ledger := openLedger(t, t.TempDir())
		all.Go(func() {
			for range rounds {
				err := w.host.Do(func() error { return w.comeAndGo(ledger, i) })
				if err != nil {
					t.Errorf("container %d: %v", i, err)
				}
			}
		})
	}
	all.Wait()
	if after := w.state(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// comeAndGo is the network's part of a container's run.
func (w *world) comeAndGo(ledger *steps.Ledger, number int) error {
	file := filepath.Join(w.dir, "netns", fmt.Sprint(number))
	err := MakeNamespace(ledger, file)
	if err == nil {
		err = w.store.Attach(ledger, defaultNetwork(), w.plug(file, number+1, defaultNetwork(), 0, byte(number+2)))
	}
	if err == nil {
		err = w.store.Publish(ledger, publication(fmt.Sprintf("tcp %d 172.17.0.%d 80", 8000+number, number+2)))
	}
	return errors.Join(err, ledger.Undo(Undos(), steps.Boot))
}

// A link that an earlier run has left gives way.
func TestLeftoverLinkGivesWay(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	w.host.Run("ip link add v000000000001.0 type veth peer name leftover")
	c := w.container("c", 2, netA())
	reaches(t, w.host, "tcp", "172.18.0.2:80", c.Name)
	w.takeBack()
}
