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
