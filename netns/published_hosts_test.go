package netns

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPublishedTellsWhereAPortLeads(t *testing.T) {
	w := newWorld(t)
	look := func(host, proto string, port uint16) (all []Publication) {
		w.host.Must(func() (err error) {
			all, err = w.store.Published(netip.MustParseAddr(host), proto, port)
			return err
		})
		return all
	}
	if led := look("0.0.0.0", "tcp", 80); len(led) > 0 {
		t.Errorf("without a table a port leads to %+v", led)
	}
	w.up(netA())
	w.publish("tcp 80 172.18.0.2 8080")
	w.publish("tcp " + hostAddress + ":81 172.18.0.3 8080")
	everywhere, there := publication("tcp 0.0.0.0:80 172.18.0.2 8080"), publication("tcp "+hostAddress+":81 172.18.0.3 8080")
	for _, c := range []struct {
		host, proto string
		port        uint16
		want        []Publication
	}{
		{"0.0.0.0", "tcp", 80, []Publication{everywhere}},
		{"127.0.0.1", "tcp", 80, []Publication{everywhere}},
		{"0.0.0.0", "tcp", 81, []Publication{there}},
		{hostAddress, "tcp", 81, []Publication{there}},
		{"127.0.0.1", "tcp", 81, nil},
		{"0.0.0.0", "udp", 80, nil},
		{"0.0.0.0", "tcp", 8080, nil},
	} {
		if led := look(c.host, c.proto, c.port); !slices.Equal(led, c.want) {
			t.Errorf("%s:%d/%s leads to %+v, want %+v", c.host, c.port, c.proto, led, c.want)
		}
	}
}

// Who has a port takes over every entry that overlaps with it: it was left by somebody
// who is dead. What leads from another address of the host stays.
func TestAnOverlappingEntryThatWasLeftIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.up(netA())
	w.container("alive", 3, netA())
	const dead = " 172.18.0.2 80"
	for _, c := range []struct {
		left, taken string
		answers     []string
	}{
		{"tcp 127.0.0.1:8080" + dead, "tcp 8080", []string{"127.0.0.1", hostAddress}},
		{"tcp " + hostAddress + ":8080" + dead, "tcp 8080", []string{"127.0.0.1", hostAddress}},
		{"udp 8080" + dead, "udp 8080", []string{"127.0.0.1", hostAddress}},
		{"tcp 8080" + dead, "tcp 127.0.0.1:8080", []string{"127.0.0.1"}},
	} {
		w.publish(c.left)
		w.publish(c.taken + " 172.18.0.3 80")
		for _, address := range c.answers {
			reaches(t, w.host, c.taken[:3], address+":8080", "alive")
		}
		w.host.Must(func() error {
			led, err := w.store.Published(netip.IPv4Unspecified(), c.taken[:3], 8080)
			if len(led) != 1 || led[0].Address != netip.MustParseAddr("172.18.0.3") {
				t.Errorf("after %s the port of %s leads to %+v", c.taken, c.left, led)
			}
			return err
		})
	}
	w.publish("tcp " + hostAddress + ":81 172.18.0.3 80")
	w.publish("tcp 127.0.0.1:81" + " 172.18.0.3 80")
	reaches(t, w.host, "tcp", hostAddress+":81", "alive")
	reaches(t, w.host, "tcp", "127.0.0.1:81", "alive")
}
