package netns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/minidock/minidock/steps"
)

// reserve takes a port on the host until the test's end.
func (w *world) reserve(host, proto string, port uint16) (r *Reservation, err error) {
	err = w.host.Do(func() (err error) {
		r, err = w.store.ReservePort(w.ledger, netip.MustParseAddr(host), proto, port)
		return err
	})
	if err == nil {
		w.t.Cleanup(func() { _ = r.Close() })
	}
	return r, err
}

func TestPortIsTakenOnce(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	for _, proto := range []string{"tcp", "udp"} {
		held, err := w.reserve("0.0.0.0", proto, 80)
		if err != nil || held.Port != 80 {
			t.Fatalf("%+v, %v", held, err)
		}
		_, err = w.reserve("127.0.0.1", proto, 80)
		w.wantFault(err, "failed to bind host port 127.0.0.1:80/"+proto+": address already in use")
		w.publish(proto + " 80 172.18.0.2 80")
		for _, host := range []string{"0.0.0.0", "127.0.0.1"} {
			_, err = w.reserve(host, proto, 80)
			w.wantFault(err, "Bind for "+host+":80 failed: port is already allocated")
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.reserve("127.0.0.1", proto, 80); err != nil {
			t.Errorf("a port that was given back is not free: %v", err)
		}

		if _, err := w.reserve(hostAddress, proto, 81); err != nil {
			t.Fatal(err)
		}
		w.publish(proto + " " + hostAddress + ":81 172.18.0.2 80")
		_, err = w.reserve("0.0.0.0", proto, 81)
		w.wantFault(err, "Bind for 0.0.0.0:81 failed: port is already allocated")
		if _, err := w.reserve("127.0.0.1", proto, 81); err != nil {
			t.Errorf("another address of the host has the port free: %v", err)
		}
	}
	w.host.Serve("tcp", "127.0.0.1:90")
	_, err := w.reserve("0.0.0.0", "tcp", 90)
	w.wantFault(err, "failed to bind host port 0.0.0.0:90/tcp: address already in use")
	_, err = w.reserve("192.0.2.1", "tcp", 91)
	w.wantFault(err, "failed to bind host port 192.0.2.1:91/tcp: cannot assign requested address")
}

func (w *world) wantFault(err error, message string) {
	w.t.Helper()
	if err == nil || err.Error() != message || steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "" {
		w.t.Errorf("got %v (exit status %d, hint %q), want %q and 125", err, steps.CodeOf(err, 0), steps.HintOf(err), message)
	}
}

func TestFreePortIsOfTheKernelsRange(t *testing.T) {
	w := newWorld(t)
	w.host.Run("sysctl -qw 'net.ipv4.ip_local_port_range=40000 40003'")
	seen := map[uint16]bool{}
	for range 4 {
		r, err := w.reserve("0.0.0.0", "tcp", 0)
		if err != nil {
			t.Fatal(err)
		}
		if seen[r.Port] || r.Port < 40000 || r.Port > 40003 {
			t.Errorf("port %d", r.Port)
		}
		seen[r.Port] = true
	}
	_, err := w.reserve("0.0.0.0", "tcp", 0)
	if err == nil || !strings.Contains(err.Error(), "failed to bind host port 0.0.0.0:0/tcp") {
		t.Errorf("a range that is used up: %v", err)
	}
}

func TestReservationIsForIPv4(t *testing.T) {
	w := newWorld(t)
	if _, err := w.reserve("0.0.0.0", "sctp", 80); err == nil {
		t.Error("sctp was reserved")
	}
	if _, err := w.reserve("::1", "tcp", 80); err == nil {
		t.Error("an IPv6 address was reserved")
	}
}
