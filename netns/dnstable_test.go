package netns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryNameOfAContainerLeadsToIt(t *testing.T) {
	table := twoNetworks()
	for name, want := range map[string][]string{
		"web":                  {"172.18.0.2"},
		"web.":                 {"172.18.0.2"},
		"WEB":                  {"172.18.0.2"},
		"upper":                {"172.18.0.2"},
		"host-web":             {"172.18.0.2"},
		"web012345678":         {"172.18.0.2"},
		"site":                 {"172.18.0.2"},
		"web_2":                {"172.18.0.3"},
		"web.front":            {"172.18.0.2"},
		"Site.Front":           {"172.18.0.2"},
		"host-web.front":       {"172.18.0.2"},
		"web012345678.front.":  {"172.18.0.2"},
		"pool":                 {"172.18.0.2", "172.18.0.3"}, // the first network's, as in Docker
		"pool.front":           {"172.18.0.2", "172.18.0.3"},
		"pool.back":            {"172.19.0.2"},
		"both":                 {"172.18.0.4"},
		"both.back":            {"172.19.0.4"},
		"db":                   {"172.19.0.2"},
		"db.front":             nil,
		"web.back":             nil,
		"nobody":               nil,
		"web.front.example":    nil,
		"web0123456789":        nil,
		"web0123456789.front":  nil,
		"":                     nil,
		"front":                nil,
		"_":                    nil,
		"web01234567":          nil,
		strings.Repeat("x", 9): nil,
	} {
		var got []string
		addresses, known := table.Lookup(name)
		for _, a := range addresses {
			got = append(got, a.String())
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" || known != (want != nil) {
			t.Errorf("%q: known %v (-want +got):\n%s", name, known, diff)
		}
	}
}

func TestAnAddressLeadsBackToItsContainersName(t *testing.T) {
	for address, want := range map[string]string{"172.18.0.3": "web_2.front.", "172.19.0.4": "both.back.", "172.18.0.9": ""} {
		got, known := twoNetworks().Pointer(netip.MustParseAddr(address))
		if got != want || known != (want != "") {
			t.Errorf("%s: %q, %v", address, got, known)
		}
	}
}

func TestOnlyANetworkWithAWayOutForwards(t *testing.T) {
	for name, test := range map[string]struct {
		views []View
		want  bool
	}{
		"no network": {nil, false}, "internal": {[]View{{Internal: true}}, false},
		"both": {[]View{{Internal: true}, {}}, true}, "one with a way out": {[]View{{}}, true},
	} {
		if got := NewTable(test.views...).Forwards(); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAResidentOutsideOfTheSubnetHasNoName(t *testing.T) {
	table := NewTable(View{Network: "n", Subnet: netip.MustParsePrefix("10.0.0.0/24"), Residents: []Resident{
		resident("astray", "10.0.1.1"), {ID: "x", Name: "homeless"}, {ID: "y", Name: "six", Address: netip.MustParseAddr("fd00::1")}, resident("home", "10.0.0.2"),
	}})
	for name, want := range map[string]bool{"astray": false, "homeless": false, "six": false, "home": true} {
		if _, known := table.Lookup(name); known != want {
			t.Errorf("%s: known %v", name, known)
		}
	}
	if _, known := table.Pointer(netip.MustParseAddr("10.0.1.1")); known {
		t.Error("a stray address has a name")
	}
}

// Of all ways to read a dotted name, Docker's order counts: as a name, then with as
// long a name and as short a network as there is.
func TestDottedNamesAreReadAsDockerReadsThem(t *testing.T) {
	web := func(address, name string) []Resident {
		return []Resident{{ID: "id", Name: name, Address: netip.MustParseAddr(address)}}
	}
	table := NewTable(
		View{Network: "b.c", Residents: web("10.0.0.1", "a")},
		View{Network: "c", Residents: web("10.0.1.1", "a.b")},
	)
	if got, _ := table.Lookup("a.b.c"); len(got) != 1 || got[0].String() != "10.0.1.1" {
		t.Errorf("a.b on c comes before a on b.c: %v", got)
	}
	table = NewTable(View{Network: "c", Residents: web("10.0.0.1", "a.b")}, View{Network: "d", Residents: web("10.0.1.1", "a.b.c")})
	if got, _ := table.Lookup("a.b.c"); len(got) != 1 || got[0].String() != "10.0.1.1" {
		t.Errorf("a whole name comes before one with a network: %v", got)
	}
}
