package netns

import (
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestElementsKeepTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := map[string]func() string{
			"ifname": func() string { return `"` + rapid.StringMatching(`[a-z][a-z0-9.-]{0,14}`).Draw(t, "link") + `"` },
			"ipv4_addr": func() string {
				return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "address"))).String()
			},
			"inet_proto":   func() string { return rapid.SampledFrom([]string{"tcp", "udp", "sctp"}).Draw(t, "protocol") },
			"inet_service": func() string { return rapid.StringMatching(`[1-9][0-9]{0,3}`).Draw(t, "port") },
		}
		s := rapid.SampledFrom(sets()).Draw(t, "set")
		text := drawParts(draw, s.keys)
		if len(s.values) > 0 {
			text += mapsTo + drawParts(draw, s.values)
		}
		encoded, err := element{s.name, text}.encode()
		if err != nil || len(encoded) != 1 {
			t.Fatalf("encode %s: %v, %v", text, encoded, err)
		}
		if got := s.decode(encoded[0]); got != text {
			t.Errorf("%s became %s", text, got)
		}
	})
}

func drawParts(draw map[string]func() string, types []string) string {
	var parts []string
	for _, one := range types {
		parts = append(parts, draw[one]())
	}
	return strings.Join(parts, partOf)
}

func TestNonsenseIsNoElement(t *testing.T) {
	for _, text := range []string{"", "icmp . 80 : 1.2.3.4 . 80", "tcp . 65536 : 1.2.3.4 . 80", "tcp . 80 : ::1 . 80", `"0123456789abcdef"`} {
		if encoded, err := (element{published, text}).encode(); err == nil && text != "" {
			t.Errorf("%q became %v", text, encoded)
		}
	}
}

func TestNamesSayWhoseTheyAre(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	if got := HostLink(id, 0) + " " + HostLink(id, 35); got != "v0123456789ab.0 v0123456789ab.z" {
		t.Error(got)
	}
	if n := len(HostLink(id, 35)); n > maxLinkName {
		t.Errorf("a link's name of %d bytes", n)
	}
	named := Network{Name: "web", ID: id, Options: map[string]string{BridgeNameOption: "br-web"}}
	for want, got := range map[string]string{
		"minidock0":       BridgeName("minidock", Network{Name: Default, ID: id}),
		"md-0123456789ab": BridgeName("minidock-1a2b3c4d", Network{Name: Default, ID: id}),
		"br-web":          BridgeName("minidock", named),
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := BridgeName("minidock", Network{Name: "web", ID: id}); got != "md-0123456789ab" {
		t.Error(got)
	}
}

func TestRandomMACIsLocalAndOneCards(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		mac := RandomMAC()
		if mac[0]&2 == 0 || mac[0]&1 != 0 || len(mac) != 6 {
			t.Errorf("%s is no locally administered address of one card", mac)
		}
		seen[mac.String()] = true
	}
	if len(seen) < 100 {
		t.Errorf("%d different addresses of 100", len(seen))
	}
}

func TestPublicationsKeepTheirText(t *testing.T) {
	for _, text := range []string{"tcp 8080 172.18.0.2 80", "udp 127.0.0.1:53 172.18.0.2 5353"} {
		e := publication(text).element()
		back, err := e.publication()
		if err != nil || back.element() != e {
			t.Errorf("%q became %q, %v", e.text, back.element().text, err)
		}
	}
	for _, text := range []string{"", "tcp . x : 172.18.0.2 . 80", "tcp . 80 : nowhere . 80"} {
		if back, err := (element{published, text}).publication(); err == nil {
			t.Errorf("%q became %+v", text, back)
		}
	}
}
