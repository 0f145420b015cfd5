package netns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// resolvedHost is what systemd-resolved leaves on a host.
const resolvedHost = "# resolved\n\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.test b.test\n"

func parsed(texts ...string) (list []netip.Addr) {
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func TestResolvConfOfABridgedContainerIsDockers(t *testing.T) {
	for name, test := range map[string]struct {
		names Names
		want  string
	}{
		"the host's, on its loopback": {Names{HostResolvConf: resolvedHost}, `nameserver 127.0.0.11
search a.test b.test
options edns0 trust-ad ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(127.0.0.53)]
# Overrides: []
# Option ndots from: internal
`},
		"all given": {Names{HostResolvConf: resolvedHost, Servers: parsed("192.0.2.1", "2001:db8::1"), Search: []string{"c.test"}, Options: []string{"ndots:2", "attempts:3"}}, `nameserver 127.0.0.11
search c.test
options ndots:2 attempts:3

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [192.0.2.1 2001:db8::1]
# Overrides: [nameservers search options]
# Option ndots from: override
`},
		"the host has nothing": {Names{}, `nameserver 127.0.0.11
options ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# NO EXTERNAL NAMESERVERS DEFINED
# Overrides: []
# Option ndots from: internal
`},
		"odd lines": {Names{HostResolvConf: "domain old.test\nsortlist 192.0.2.0/24\nnameserver nowhere\nnameserver\n;nameserver 192.0.2.7\noptions ndots:x ndots:1\n"}, `nameserver 127.0.0.11
search old.test
options ndots:x ndots:1
sortlist 192.0.2.0/24

# Based on host file: '/etc/resolv.conf' (internal resolver)
# NO EXTERNAL NAMESERVERS DEFINED
# Invalid nameservers: [nowhere]
# Overrides: []
# Option ndots from: host
`},
		"a number of dots that is none": {Names{HostResolvConf: "options ndots:many rotate\nnameserver 192.0.2.1"}, `nameserver 127.0.0.11
options rotate ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(192.0.2.1)]
# Overrides: []
# Option ndots from: internal
`},
		"a search for nothing": {Names{HostResolvConf: resolvedHost, Search: []string{"."}}, `nameserver 127.0.0.11
options edns0 trust-ad ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(127.0.0.53)]
# Overrides: [search]
# Option ndots from: internal
`},
	} {
		files, err := test.names.Bridged()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(heading+test.want, files.ResolvConf); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestResolvConfInTheHostsNetworkIsTheHosts(t *testing.T) {
	files, err := Names{HostResolvConf: resolvedHost, HostHosts: "192.0.2.9\tprinter\n", Options: []string{"rotate"}}.Host()
	if err != nil {
		t.Fatal(err)
	}
	want := heading + "nameserver 127.0.0.53\nsearch a.test b.test\noptions rotate\n\n# Based on host file: '/etc/resolv.conf'\n# Overrides: [options]\n"
	if diff := cmp.Diff(want, files.ResolvConf); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if files.Hosts != "192.0.2.9\tprinter\n" {
		t.Errorf("hosts: %q", files.Hosts)
	}
}

func TestHostsNamesTheContainerAndWhatWasAdded(t *testing.T) {
	for name, test := range map[string]struct {
		names Names
		want  string
	}{
		"one address":    {Names{Hostname: "web", Addresses: parsed("172.17.0.2")}, "172.17.0.2\tweb\n"},
		"two networks":   {Names{Hostname: "web", Addresses: parsed("172.17.0.2", "172.18.0.3")}, "172.17.0.2\tweb\n172.18.0.3\tweb\n"},
		"a domain":       {Names{Hostname: "web", Domainname: "a.test", Addresses: parsed("172.17.0.2")}, "172.17.0.2\tweb.a.test web\n"},
		"a dotted name":  {Names{Hostname: "web.a.test", Addresses: parsed("172.17.0.2")}, "172.17.0.2\tweb.a.test web\n"},
		"added before":   {Names{Hostname: "web", Addresses: parsed("172.17.0.2"), Extra: []ExtraHost{{"db", netip.MustParseAddr("192.0.2.5")}}}, "192.0.2.5\tdb\n172.17.0.2\tweb\n"},
		"added the host": {Names{Hostname: "web", Gateway: netip.MustParseAddr("172.17.0.1"), Extra: []ExtraHost{{Name: "host.docker.internal"}}}, "172.17.0.1\thost.docker.internal\n"},
	} {
		files, err := test.names.Bridged()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(Hosts()+test.want, files.Hosts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if files.Hostname != test.names.Hostname+"\n" {
			t.Errorf("%s: hostname %q", name, files.Hostname)
		}
	}
}

func TestAddedHostsReplaceTheHostsOwn(t *testing.T) {
	files, err := Names{HostHosts: "192.0.2.9\tprinter\n", Extra: []ExtraHost{{"db", netip.MustParseAddr("192.0.2.5")}}}.Host()
	if err != nil || files.Hosts != Hosts()+"192.0.2.5\tdb\n" {
		t.Errorf("%v, hosts: %q", err, files.Hosts)
	}
}

func TestHostIsItsOwnHost(t *testing.T) {
	files, err := Names{Extra: []ExtraHost{{Name: "host.docker.internal"}}}.Host()
	if want := Hosts() + "127.0.0.1\thost.docker.internal\n"; err != nil || files.Hosts != want {
		t.Errorf("%v, hosts: %q", err, files.Hosts)
	}
}

func TestAloneHasTheSettingsThatItIsGiven(t *testing.T) {
	files, err := Names{HostResolvConf: "nameserver 127.0.0.53\n", Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Search: []string{"a.test"}}.Alone()
	if err != nil || !strings.Contains(files.ResolvConf, "\nnameserver 192.0.2.53\nsearch a.test\n") || !strings.Contains(files.ResolvConf, "# Overrides: [nameservers search]\n") {
		t.Errorf("%v: %s", err, files.ResolvConf)
	}
}

func TestAHostThatCannotBeReachedIsNoAddress(t *testing.T) {
	n := Names{Extra: []ExtraHost{{Name: "host.docker.internal"}}}
	for _, make := range []func() (NameFiles, error){n.Bridged, n.Alone} {
		if _, err := make(); err == nil || !strings.Contains(err.Error(), "unable to derive the IP value for host-gateway") {
			t.Errorf("got %v", err)
		}
	}
}

func TestExtraHostsAreReadAsDockerReadsThem(t *testing.T) {
	for text, want := range map[string]ExtraHost{
		"db:192.0.2.5":        {"db", netip.MustParseAddr("192.0.2.5")},
		"db=192.0.2.5":        {"db", netip.MustParseAddr("192.0.2.5")},
		"db:2001:db8::1":      {"db", netip.MustParseAddr("2001:db8::1")},
		"db=[2001:db8::1]":    {"db", netip.MustParseAddr("2001:db8::1")},
		"h.d.i:host-gateway":  {Name: "h.d.i"},
		"under_score=1.2.3.4": {"under_score", netip.MustParseAddr("1.2.3.4")},
	} {
		got, err := ParseExtraHost(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"db": `bad format for add-host: "db"`, ":1.2.3.4": `bad format for add-host: ":1.2.3.4"`, "db:": `bad format for add-host: "db:"`,
		"db:1.2.3": `invalid IP address in add-host: "1.2.3"`, "db=[]": `invalid IP address in add-host: "[]"`,
	} {
		if _, err := ParseExtraHost(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestUpstreamsAreTheFirstThreeAndNeverTheResolverItself(t *testing.T) {
	const four = "nameserver 192.0.2.1\nnameserver 127.0.0.53\nnameserver 127.0.0.11\nnameserver 192.0.2.4\n"
	for name, test := range map[string]struct {
		names Names
		want  []string
	}{
		"the host's":  {Names{HostResolvConf: four}, []string{"192.0.2.1:53", "127.0.0.53:53", "127.0.0.11:53"}},
		"given":       {Names{HostResolvConf: four, Servers: parsed("127.0.0.11", "192.0.2.7", "2001:db8::1")}, []string{"192.0.2.7:53", "[2001:db8::1]:53"}},
		"none at all": {Names{}, nil},
	} {
		var got []string
		for _, u := range test.names.Upstreams() {
			got = append(got, u.String())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSingleNamesStayWhereNdotsAsksForMore(t *testing.T) {
	for text, want := range map[string]bool{"": false, "options ndots:0": false, "options ndots:2": true, "options ndots:2 ndots:0": false, "options ndots": false, "options ndots:-1": false} {
		if got := (Names{HostResolvConf: text}).KeepsSingle(); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// What is written is read back the same: nothing of a line gets lost or added.
func FuzzResolverConf(f *testing.F) {
	f.Add(resolvedHost)
	f.Add("search \x00\noptions ndots:\nnameserver fe80::1%eth0\nsortlist\n#\n;\n\r\n")
	f.Fuzz(func(t *testing.T, host string) {
		files, err := Names{HostResolvConf: host}.Bridged()
		if err != nil {
			t.Fatal(err)
		}
		before, after := readResolvConf(host), readResolvConf(files.ResolvConf)
		if len(after.servers) != 1 || after.servers[0].String() != ResolverAddress {
			t.Errorf("servers: %v", after.servers)
		}
		if diff := cmp.Diff([][]string{before.search, before.other}, [][]string{after.search, after.other}); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		if after.option("ndots") == "" {
			t.Errorf("no ndots: %v", after.options)
		}
	})
}
