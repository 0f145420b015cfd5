package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

func writtenPlaces(all []netns.Endpoint) string {
	var words []string
	for _, e := range all {
		word := e.Network
		if len(e.Aliases) > 0 {
			word += fmt.Sprint(e.Aliases)
		}
		if e.Address.IsValid() {
			word += "@" + e.Address.String()
		}
		if e.MAC != "" {
			word += "=" + e.MAC
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestNetworkFlagTakesDockersForms(t *testing.T) {
	for _, c := range []struct {
		flags networkFlags
		want  string
	}{
		{networkFlags{}, "bridge"},
		{networkFlags{networks: []string{"default"}}, "bridge"},
		{networkFlags{networks: []string{"web"}}, "web"},
		{networkFlags{networks: []string{"host"}}, "host"},
		{networkFlags{networks: []string{"none"}}, "none"},
		{networkFlags{networks: []string{"container:db"}}, "container:db"},
		{networkFlags{networks: []string{"web", "back"}}, "web back"},
		{networkFlags{networks: []string{"bridge", "back"}}, "bridge back"},
		{networkFlags{networks: []string{"name=web"}}, "web"},
		{networkFlags{networks: []string{"name=web,alias=a,alias=b,ip=10.1.2.3,mac-address=02:0A:00:00:00:01", "back"}}, "web[a b]@10.1.2.3=02:0a:00:00:00:01 back"},
		{networkFlags{networks: []string{"web", "back"}, aliases: []string{"a"}, ip: "10.1.2.3", mac: "02:00:00:00:00:01"}, "web[a]@10.1.2.3=02:00:00:00:00:01 back"},
		{networkFlags{aliases: []string{"a"}}, "bridge[a]"},
	} {
		got, err := c.flags.read()
		if err != nil || writtenPlaces(got) != c.want {
			t.Errorf("%+v: %s, %v; want %s", c.flags, writtenPlaces(got), err, c.want)
		}
	}
}

func TestNetworkFlagIsRefusedInDockersWords(t *testing.T) {
	one := func(value string) networkFlags { return networkFlags{networks: []string{value}} }
	for _, c := range []struct {
		flags networkFlags
		want  string
	}{
		{one(""), `invalid argument "" for "--network" flag: network name/id is not specified`},
		{one("name="), `invalid argument "name=" for "--network" flag: network name/id is not specified`},
		{one("alias=a"), `invalid argument "alias=a" for "--network" flag: network name/id is not specified`},
		{one("name=web,foo=bar"), `invalid argument "name=web,foo=bar" for "--network" flag: invalid field key foo`},
		{one("web,x=y"), `invalid argument "web,x=y" for "--network" flag: invalid field web`},
		{one("name=web,ip=x"), "invalid IPv4 address: x"},
		{one("name=web,ip=::1"), "invalid IPv4 address: ::1"},
		{one("name=web,ip=0.0.0.0"), "invalid IPv4 address: 0.0.0.0"},
		{one("name=web,mac-address=x"), "x is not a valid mac address"},
		{one("name=web,mac-address=01:00:00:00:00:01"), "01:00:00:00:00:01 is not a valid mac address"},
		{one("container:"), "invalid network mode: invalid container format container:<name|id>"},
		{networkFlags{networks: []string{"web", "name=web"}}, `network "web" is specified multiple times`},
		{networkFlags{networks: []string{"default", "bridge"}}, `network "bridge" is specified multiple times`},
		{networkFlags{networks: []string{"web", "host"}}, "conflicting options: cannot attach both user-defined and non-user-defined network-modes"},
		{networkFlags{networks: []string{"container:x", "web"}}, "conflicting options: cannot attach both user-defined and non-user-defined network-modes"},
		{networkFlags{networks: []string{"host"}, aliases: []string{"a"}}, "network-scoped aliases are only supported for user-defined networks"},
		{networkFlags{networks: []string{"none"}, ip: "10.1.2.3"}, "user specified IP address is supported on user defined networks only"},
		{networkFlags{networks: []string{"host"}, mac: "02:00:00:00:00:01"}, "conflicting options: mac-address and the network mode"},
		{networkFlags{networks: []string{"name=web,alias=a"}, aliases: []string{"b"}}, "conflicting options: cannot specify both --network-alias and per-network alias"},
		{networkFlags{networks: []string{"name=web,ip=10.1.2.3"}, ip: "10.1.2.3"}, "conflicting options: cannot specify both --ip and per-network IPv4 address"},
		{networkFlags{networks: []string{"name=web,mac-address=02:00:00:00:00:01"}, mac: "02:00:00:00:00:01"}, "conflicting options: cannot specify both --mac-address and per-network MAC address"},
		{networkFlags{ip: "x"}, "invalid IPv4 address: x"},
		{networkFlags{mac: "x"}, "x is not a valid mac address"},
	} {
		got, err := c.flags.read()
		if err == nil || !strings.HasSuffix(err.Error(), c.want) || steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "" {
			t.Errorf("%+v: %s, %v, code %d; want %q", c.flags, writtenPlaces(got), err, steps.CodeOf(err, 0), c.want)
		}
	}
}

func FuzzNetworkFlag(f *testing.F) {
	for _, seed := range []string{"web", "name=web,alias=a,ip=10.1.2.3,mac-address=02:00:00:00:00:01", "container:x", ",=", "name==a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		places, err := networkFlags{networks: []string{value}}.read()
		switch {
		case err != nil && steps.CodeOf(err, 0) != 125:
			t.Errorf("%q: %v", value, err)
		case err == nil && (len(places) != 1 || places[0].Network == ""):
			t.Errorf("%q: %+v", value, places)
		}
	})
}
