package main

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// network makes a network in a directory of the test's own.
func network(t *testing.T, o netns.CreateOptions) (runtime.Layout, netns.Network) {
	t.Helper()
	require.Needs(t, require.Root, require.Namespaces)
	dir := t.TempDir()
	layout := runtime.Layout{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Instance: "minidock-test"}
	n, err := layout.Networks().Create(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := layout.Networks().Remove(n.Name, nil); err != nil {
			t.Error(err)
		}
	})
	return layout, n
}

func TestInspectedNetworkHasDockersFieldsInItsOrder(t *testing.T) {
	layout, n := network(t, netns.CreateOptions{Name: "web", Subnet: netip.MustParsePrefix("10.77.0.0/29"), Labels: map[string]string{"a": ""}})
	ledger, err := steps.Open(steps.Paths{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("07bbe069", 8)
	resident := netns.Resident{ID: id, Name: "s1", Hostname: "h", Address: netip.MustParseAddr("10.77.0.2"), MAC: "02:42:0a:4d:00:02"}
	if err := netns.PublishResident(ledger, netns.Place{Root: layout.Root, Run: layout.Run}, "web", resident); err != nil {
		t.Fatal(err)
	}
	shown, err := networkObject(layout, "web", false)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(shown, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	created, _ := n.Created.MarshalText()
	want := `{
 "Name": "web",
 "Id": "` + n.ID + `",
 "Created": "` + string(created) + `",
 "Scope": "local",
 "Driver": "bridge",
 "EnableIPv4": true,
 "EnableIPv6": false,
 "IPAM": {
  "Driver": "default",
  "Options": {},
  "Config": [
   {
    "Subnet": "10.77.0.0/29",
    "Gateway": "10.77.0.1"
   }
  ]
 },
 "Internal": false,
 "Attachable": false,
 "Ingress": false,
 "ConfigFrom": {
  "Network": ""
 },
 "ConfigOnly": false,
 "Containers": {
  "` + id + `": {
   "Name": "s1",
   "EndpointID": "` + runtime.EndpointID(id, n.ID) + `",
   "MacAddress": "02:42:0a:4d:00:02",
   "IPv4Address": "10.77.0.2/29",
   "IPv6Address": ""
  }
 },
 "Options": {},
 "Labels": {
  "a": ""
 }
}`
	if string(text) != want {
		t.Errorf("%s; want %s", text, want)
	}
}

func TestCompletionKnowsNetworks(t *testing.T) {
	layout, _ := network(t, netns.CreateOptions{Name: "web"})
	t.Setenv("MINIDOCK_ROOT", layout.Root)
	for line, want := range map[string]string{
		"network ":                    "connect create disconnect explain inspect ls prune rm trace",
		"network inspect ":            "bridge host none web",
		"network inspect web h":       "host",
		"network rm ":                 "web",
		"network create --driver ":    "bridge",
		"network create -o ":          "com.docker.network.bridge.name=",
		"network ls -f type=":         "type=builtin type=custom",
		"network create --sub":        "--subnet",
		"network prune --filter type": "",
	} {
		if got := suggested(line); got != want {
			t.Errorf("minidock %s: %q; want %q", line, got, want)
		}
	}
}
