package netns

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/internal/hosts"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// world is a host with networks, and what is around it:
//
//	outside 203.0.113.9 ── router ── 198.51.100.2 host ─┬─ a 172.18.0.0/24
//	                                                    ├─ b 172.19.0.0/24
//	                                                    └─ secret 172.20.0.0/24, internal
//
// Outside and router know the way to the networks behind the host, as an attacker
// on the next cable would.
type world struct {
	t                     *testing.T
	host, router, outside *hosts.Host
	store                 *Store
	ledger                *steps.Ledger
	dir                   string
	containers            int
}

const hostAddress = "198.51.100.2"

func networkOf(name, subnet string) Network {
	prefix := netip.MustParsePrefix(subnet)
	id := fmt.Sprintf("%x", name) + strings.Repeat("0", 64)
	return Network{Name: name, ID: id[:64], Driver: "bridge", Subnet: prefix, Gateway: prefix.Masked().Addr().Next()}
}

func netA() Network { return networkOf("a", "172.18.0.0/24") }
func netB() Network { return networkOf("b", "172.19.0.0/24") }
func secret() Network {
	n := networkOf("secret", "172.20.0.0/24")
	n.Internal = true
	return n
}

func needsHosts(t testing.TB) {
	t.Helper()
	require.Needs(t, require.Root, require.Namespaces)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	needsHosts(t)
	w := &world{t: t, host: hosts.New(t, "host"), router: hosts.New(t, "router"), outside: hosts.New(t, "outside"), dir: t.TempDir()}
	w.store = Open(Place{Root: filepath.Join(w.dir, "root"), Run: filepath.Join(w.dir, "run"), Instance: "minidock"})
	hosts.Cable(t, w.router, "198.51.100.1/24", w.host, hostAddress+"/24")
	hosts.Cable(t, w.router, "203.0.113.1/24", w.outside, "203.0.113.9/24")
	w.router.Run("sysctl -qw net.ipv4.ip_forward=1; ip route add 172.16.0.0/12 via " + hostAddress)
	w.outside.Run("ip route add default via 203.0.113.1")
	w.host.Run("ip route add default via 198.51.100.1")
	w.ledger = openLedger(t, w.dir)
	return w
}

func openLedger(t *testing.T, dir string) *steps.Ledger {
	t.Helper()
	ledger, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot.jsonl"), Kept: filepath.Join(dir, "kept.jsonl")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	return ledger
}

// up makes networks on the host, as `network create` does.
func (w *world) up(networks ...Network) {
	w.t.Helper()
	w.host.Must(func() error {
		for _, n := range networks {
			if err := w.store.Up(w.ledger, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// container makes a container on networks, at the given last bytes of their
// addresses, and a server in it at port 80, TCP and UDP.
func (w *world) container(name string, last byte, networks ...Network) *hosts.Host {
	w.t.Helper()
	c := w.bare(name, last, networks...)
	c.Serve("tcp", "0.0.0.0:80")
	c.Serve("udp", "0.0.0.0:80")
	return c
}

// bare is a container without servers.
func (w *world) bare(name string, last byte, networks ...Network) *hosts.Host {
	w.t.Helper()
	file := filepath.Join(w.dir, "netns", name)
	w.t.Cleanup(func() {
		if err := undoNamespace(file); err != nil {
			w.t.Error(err)
		}
	})
	w.host.Must(func() error {
		if err := MakeNamespace(w.ledger, file); err != nil {
			return err
		}
		w.containers++
		for i, n := range networks {
			plug := w.plug(file, w.containers, n, i, last)
			if err := w.store.Attach(w.ledger, n, plug); err != nil {
				return err
			}
			if err := w.store.Announce(w.ledger, n, plug); err != nil {
				return err
			}
		}
		return nil
	})
	return hosts.Open(w.t, name, file)
}

func (w *world) plug(file string, container int, n Network, index int, last byte) Plug {
	address := n.Subnet.Masked().Addr().As4()
	address[3] = last
	return Plug{
		Namespace: file, Container: fmt.Sprintf("%012x", container) + strings.Repeat("0", 52), Default: index == 0,
		Endpoint: Endpoint{Network: n.Name, Address: netip.AddrFrom4(address), MAC: RandomMAC().String(), Index: index},
	}
}

func (w *world) publish(text string) {
	w.t.Helper()
	w.host.Must(func() error { return w.store.Publish(w.ledger, publication(text)) })
}

// publication reads "tcp 8080 172.18.0.2 80", with an address of the host before
// the first port where it is published at that one only; nonsense panics.
func publication(text string) Publication {
	fields := strings.Fields(text)
	p := Publication{Proto: fields[0]}
	if host, port, ok := strings.Cut(fields[1], ":"); ok {
		p.HostIP, fields[1] = netip.MustParseAddr(host), port
	}
	p.Address = netip.MustParseAddr(fields[2])
	if _, err := fmt.Sscan(fields[1]+" "+fields[3], &p.Host, &p.Container); err != nil {
		panic(err)
	}
	return p
}

// patience is for answers that come: an emulated machine may take its time.
// silence is for those that must not: the rules that drop them are counted too.
const (
	patience = 20 * time.Second
	silence  = 300 * time.Millisecond
)

// reaches demands an answer, whose end it returns: the address that was seen.
func reaches(t *testing.T, from *hosts.Host, proto, address, who string) (saw string) {
	t.Helper()
	answer, err := from.Call(proto, address, patience)
	name, saw, _ := strings.Cut(answer, " saw ")
	if err != nil || name != who {
		t.Errorf("%s calls %s %s: got %q, %v; want an answer of %s", from.Name, proto, address, answer, err, who)
	}
	return saw
}

// blocked demands silence or a refusal.
func blocked(t *testing.T, from *hosts.Host, proto, address string) {
	t.Helper()
	if answer, err := from.Call(proto, address, silence); err == nil {
		t.Errorf("%s calls %s %s: %q; it must not get there", from.Name, proto, address, answer)
	}
}

// dropped demands that a call is stopped by the rule with that comment.
func (w *world) dropped(from *hosts.Host, proto, address, comment string) {
	w.t.Helper()
	before := w.packets(comment)
	blocked(w.t, from, proto, address)
	if w.packets(comment) == before {
		w.t.Errorf("%s calls %s %s: the rule %q did not count it", from.Name, proto, address, comment)
	}
}

// packets reads the counters of all rules with that comment.
func (w *world) packets(comment string) (packets uint64) {
	w.t.Helper()
	w.host.Must(func() error {
		all, err := w.store.Counters()
		for _, c := range all {
			if c.Comment == comment {
				packets += c.Packets
			}
		}
		return err
	})
	return packets
}

// state is all that could be left behind on the host.
func (w *world) state() string {
	w.t.Helper()
	return w.host.Run(`nft -s list ruleset; ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'; ip -o -4 address; ip route;
		cd /proc/sys/net/ipv4; grep . ip_forward conf/all/accept_redirects conf/all/route_localnet conf/default/forwarding`)
}

// takeBack undoes all that the ledger holds.
func (w *world) takeBack() {
	w.t.Helper()
	w.host.Must(func() error { return w.ledger.Undo(Undos(), steps.Boot, steps.Kept) })
}
