package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/netns"
)

// dweller is a running container of a crowd, all of which are on one network.
type dweller struct {
	name, id string
	address  netip.Addr
}

// crowd starts so many containers on the network, several at a time, and returns
// them by their addresses, the lowest first. Each answers at port 80 with its name.
func (w *world) crowd(network string, size, atOnce int) (all []dweller) {
	w.t.Helper()
	inParallel(size, atOnce, func(i int) {
		name := fmt.Sprintf("c%d", i)
		if said, code := w.inTime("run", "-d", "--name", name, "-h", name, "--network", network, "probe", "/probe", "serve", "80"); code != 0 {
			w.t.Errorf("run %s: exit status %d\n%s", name, code, said)
		}
	})
	for line := range strings.Lines(w.must("network", "inspect", "-f", "{{range $id, $c := .Containers}}{{$id}} {{$c.Name}} {{$c.IPv4Address}}\n{{end}}", network)) {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue // The line that ends the output.
		}
		all = append(all, dweller{words[1], words[0], netip.MustParsePrefix(words[2]).Addr()})
	}
	slices.SortFunc(all, func(a, b dweller) int { return a.address.Compare(b.address) })
	if len(all) != size {
		w.t.Fatalf("%d of %d containers are on the network", len(all), size)
	}
	return all
}

// calls has one container call another's port 80 at its address, which the other
// answers with its name.
func (w *world) calls(from, to dweller) {
	w.t.Helper()
	answer := ""
	err := netns.Inside(w.layout.NetworkNamespace(from.id), func() error {
		dialer := net.Dialer{Timeout: patience}
		conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(to.address, 80).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			return err
		}
		buffer := make([]byte, 1024)
		n, err := conn.Read(buffer)
		answer = string(buffer[:n])
		return err
	})
	if want := to.name + " answers " + from.address.String(); err != nil || !strings.Contains(answer, want) {
		w.t.Errorf("%s calls %s at %s: %v, %q", from.name, to.name, to.address, err, answer)
	}
}

// hears has one container's resolver asked for another's name.
func (w *world) hears(asker, of dweller) {
	w.t.Helper()
	server := netip.AddrPortFrom(netip.MustParseAddr(netns.ResolverAddress), 53)
	answer, err := netns.Ask(w.layout.NetworkNamespace(asker.id), server, of.name, patience)
	if err != nil || !slices.Equal(answer.Addresses, []netip.Addr{of.address}) {
		w.t.Errorf("%s asks for %s: %v, %s, not %s", asker.name, of.name, err, answer.Words(), of.address)
	}
}

// listening waits until each of them has said that it can be called.
func (w *world) listening(all []dweller) {
	w.t.Helper()
	for _, d := range all {
		log := filepath.Join(w.layout.Containers(), d.id, d.id+"-json.log")
		w.eventually(func() bool {
			text, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(text), "listening")
		}, d.name+" listens")
	}
}

// removeAll removes every container with one command.
func (w *world) removeAll() {
	w.t.Helper()
	w.must(append([]string{"rm", "-f"}, strings.Fields(w.must("ps", "-aq"))...)...)
}

// addressesOf are the addresses that a network of this range can give: all but its
// own, the gateway's, which is the first, and the one that means everybody.
func addressesOf(subnet netip.Prefix) (all []netip.Addr) {
	for a := subnet.Addr(); subnet.Contains(a); a = a.Next() {
		all = append(all, a)
	}
	return all[2 : len(all)-1]
}

func TestStartsAtOnceOnOneNetwork(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	subnet, size := netip.MustParsePrefix("10.87.0.0/24"), ofEither(50, 5)
	w.must("network", "create", "--subnet", subnet.String(), "crowd")
	begin := time.Now()
	all := w.crowd("crowd", size, size)
	t.Logf("%d runs at once in %s", size, time.Since(begin).Round(time.Millisecond))
	for i, want := range addressesOf(subnet)[:size] {
		if all[i].address != want {
			t.Fatalf("the %d. address is %s, not %s", i+1, all[i].address, want)
		}
	}
	w.listening(all)
	for i, d := range all {
		w.calls(all[(i+1)%size], d)
		for _, other := range all {
			w.hears(d, other)
		}
	}
	w.removeAll()
	w.must("network", "rm", "crowd")
}

// A network is used to its last address, and one container more is told so. Those that
// run are more than a user has of the kernel's things that are counted by the user, 128
// of inotify among them (fs.inotify.max_user_instances); to take an address the others
// need not run.
func TestAFullNetwork(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	w := newWorld(t)
	w.importProbe()
	subnet := netip.PrefixFrom(netip.MustParseAddr("10.88.0.0"), ofEither(24, 29))
	addresses, running := addressesOf(subnet), ofEither(135, 5)
	id := strings.TrimSpace(w.must("network", "create", "--subnet", subnet.String(), "full"))
	begin := time.Now()
	inParallel(len(addresses)-running, 4, func(int) {
		if said, code := w.inTime("create", "--network", "full", "probe", "/probe", "sleep", "600"); code != 0 {
			t.Errorf("create: exit status %d\n%s", code, said)
		}
	})
	all := w.crowd("full", running, 4)
	t.Logf("%d containers are there after %s", len(addresses), time.Since(begin).Round(time.Millisecond))
	for i, want := range addresses[len(addresses)-running:] {
		if all[i].address != want {
			t.Fatalf("a container has %s, not %s", all[i].address, want)
		}
	}
	first, last := all[0], all[len(all)-1]
	w.listening([]dweller{first, last})
	w.calls(first, last)
	w.calls(last, first)
	w.hears(first, last)
	w.hears(last, first)

	before := w.files()
	out, said, code := w.run("run", "-d", "--name", "more", "--network", "full", "probe", "/probe", "sleep", "600")
	want := "minidock: no available IPv4 addresses on this network's address pools: full (" + id + ")\n  hint: "
	if code != 125 || out != "" || !strings.HasPrefix(said, want) {
		t.Errorf("one more: exit status %d, %q\n%s", code, out, said)
	}
	if after := w.files(); !slices.Equal(after, before) {
		t.Errorf("it left something:\n%v\nbefore:\n%v", after, before)
	}

	// The address of whoever goes is the next one's.
	w.must("rm", "-f", last.name)
	w.must("run", "-d", "--name", "heir", "--network", "full", "probe", "/probe", "sleep", "600")
	if got := w.inspect("heir").NetworkSettings.Networks["full"].IPAddress; got != last.address.String() {
		t.Errorf("the next one has %s, not %s", got, last.address)
	}
	w.removeAll()
	w.must("network", "rm", "full")
}

// files lists what there is of containers and networks.
func (w *world) files() (all []string) {
	w.t.Helper()
	for _, pattern := range []string{
		w.layout.Containers() + "/*", w.layout.Names() + "/*", w.layout.RunContainer("*"), w.layout.NetworkNamespace("*"),
		w.layout.Root + "/ledgers/*", w.layout.Run + "/ledgers/*", w.layout.Root + "/networks/*/leases/*", w.layout.Run + "/networks/*/*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}
