package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// written is a port in one line: the host's side, the container's.
func written(ports []netns.Port) string {
	var all []string
	for _, p := range ports {
		host := fmt.Sprintf("%s:%d", p.HostIP, p.Host)
		if p.HostLast != 0 {
			host += fmt.Sprintf("-%d", p.HostLast)
		}
		if !p.HostIP.IsValid() {
			host = ""
		}
		all = append(all, fmt.Sprintf("%s>%d/%s", host, p.Container, p.Proto))
	}
	return strings.Join(all, " ")
}

func TestPublishTakesAllOfDockersForms(t *testing.T) {
	for value, want := range map[string]string{
		"80":                         "0.0.0.0:0>80/tcp",
		":80":                        "0.0.0.0:0>80/tcp",
		"0:80":                       "0.0.0.0:0>80/tcp",
		"53/udp":                     "0.0.0.0:0>53/udp",
		"80/UDP":                     "0.0.0.0:0>80/udp",
		"80/":                        "0.0.0.0:0>80/tcp",
		"8080:80":                    "0.0.0.0:8080>80/tcp",
		"127.0.0.1:8080:80/udp":      "127.0.0.1:8080>80/udp",
		"127.0.0.1::80":              "127.0.0.1:0>80/tcp",
		"0.0.0.0:8080:80":            "0.0.0.0:8080>80/tcp",
		"[::ffff:127.0.0.1]:8080:80": "127.0.0.1:8080>80/tcp",
		"8000-8002:80-82":            "0.0.0.0:8000>80/tcp 0.0.0.0:8001>81/tcp 0.0.0.0:8002>82/tcp",
		"80-82":                      "0.0.0.0:0>80/tcp 0.0.0.0:0>81/tcp 0.0.0.0:0>82/tcp",
		"127.0.0.1:80-81:80-81/udp":  "127.0.0.1:80>80/udp 127.0.0.1:81>81/udp",
		"8080-8090:80":               "0.0.0.0:8080-8090>80/tcp",
		"8080-8080:80":               "0.0.0.0:8080>80/tcp",
		"65535:65535":                "0.0.0.0:65535>65535/tcp",
		"target=80":                  "0.0.0.0:0>80/tcp",
		"target=80,published=8080":   "0.0.0.0:8080>80/tcp",
		"published=53,target=53,protocol=udp,mode=host": "0.0.0.0:53>53/udp",
	} {
		got, err := publishedPorts([]string{value})
		if err != nil || written(got) != want {
			t.Errorf("-p %s: %s, %v; want %s", value, written(got), err, want)
		}
	}
	if got, err := publishedPorts([]string{"8080:80", "53:53/udp"}); err != nil || written(got) != "0.0.0.0:8080>80/tcp 0.0.0.0:53>53/udp" {
		t.Errorf("%s, %v", written(got), err)
	}
}

func TestPublishIsRefusedInDockersWords(t *testing.T) {
	for value, want := range map[string]string{
		"":                       "no port specified: <empty>",
		"80:":                    "no port specified: 80:<empty>",
		"/tcp":                   "no port specified: /tcp<empty>",
		"x":                      "invalid containerPort: x",
		"80:x":                   "invalid containerPort: x",
		"0":                      "invalid containerPort: 0",
		"80-70":                  "invalid containerPort: 80-70",
		"1-2-3":                  "invalid containerPort: 1-2-3",
		"65536":                  "invalid containerPort: 65536",
		"x:80":                   "invalid hostPort: x",
		"127.0.0.1:80":           "invalid hostPort: 127.0.0.1",
		"0-10:80":                "invalid hostPort: 0-10",
		"8000-8005:80-84":        "invalid ranges specified for container and host Ports: 80-84 and 8000-8005",
		"80:8000-8001":           "invalid ranges specified for container and host Ports: 8000-8001 and 80",
		"80/foo":                 "invalid proto: foo",
		"80/sctp":                "invalid proto: sctp",
		"1.2.3:80:80":            "invalid IP address: 1.2.3",
		"localhost:80:80":        "invalid IP address: localhost",
		"[::1]:80:80":            "::1: minidock publishes ports on IPv4 addresses only",
		"::1:80:80":              "::1: minidock publishes ports on IPv4 addresses only",
		"target=80,published":    "invalid publish opts format (should be name=value but got 'published')",
		"target=80,foo=1":        "invalid field key foo",
		"published=80":           "no port specified: 80:/tcp<empty>",
		"target=80,mode=ingress": "invalid publish mode ingress: only swarm has others than host",
	} {
		got, err := publishedPorts([]string{value})
		if err == nil || err.Error() != want || steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "" {
			t.Errorf("-p %s: %v, %v, hint %q; want %q", value, written(got), err, steps.HintOf(err), want)
		}
	}
}

func TestExposeTakesAndRefusesWhatDockerDoes(t *testing.T) {
	got, err := exposedPorts([]string{"80", "80/tcp", "53/UDP", "8000-8002", "8001", "36412/sctp"})
	if want := ">80/tcp >53/udp >8000/tcp >8001/tcp >8002/tcp >36412/sctp"; err != nil || written(got) != want {
		t.Errorf("%s, %v; want %s", written(got), err, want)
	}
	for value, want := range map[string]string{
		"80:80":  "invalid port format for --expose: 80:80",
		"":       "invalid range format for --expose: , error: ",
		"x":      "invalid range format for --expose: x, error: ",
		"82-80":  "invalid range format for --expose: 82-80, error: ",
		"65536":  "invalid range format for --expose: 65536, error: ",
		"0":      "invalid range format for --expose: 0, error: no port is 0",
		"80/foo": "invalid proto: foo",
	} {
		got, err := exposedPorts([]string{value})
		if err == nil || !strings.HasPrefix(err.Error(), want) || steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "" {
			t.Errorf("--expose %s: %s, %v; want %q", value, written(got), err, want)
		}
	}
}

// What Docker's engine 20.10 said of these containers.
func TestPortsColumnIsDockers(t *testing.T) {
	for _, c := range []struct{ published, exposed, want string }{
		{"", "", ""},
		{"", "80 443 444 53/udp", "80/tcp, 53/udp, 443-444/tcp"},
		{"8080:80", "80", "0.0.0.0:8080->80/tcp"},
		{"7010-7013:7010-7013 7000:70", "99", "99/tcp, 0.0.0.0:7010-7013->7010-7013/tcp, 0.0.0.0:7000->70/tcp"},
		{
			"8000-8005:80-85 8080:8081 9000:9000 9001:9001/udp 127.0.0.1:9100:9100 127.0.0.1:9101:9101 9103:9103 9200-9201:9200-9201 9203:9203",
			"70 71/udp 72 73",
			"70/tcp, 0.0.0.0:9000->9000/tcp, 0.0.0.0:9103->9103/tcp, 0.0.0.0:9200-9201->9200-9201/tcp, 72-73/tcp, 71/udp, 0.0.0.0:9203->9203/tcp, " +
				"0.0.0.0:9001->9001/udp, 127.0.0.1:9100-9101->9100-9101/tcp, 0.0.0.0:8000->80/tcp, 0.0.0.0:8001->81/tcp, 0.0.0.0:8002->82/tcp, " +
				"0.0.0.0:8003->83/tcp, 0.0.0.0:8004->84/tcp, 0.0.0.0:8005->85/tcp, 0.0.0.0:8080->8081/tcp",
		},
	} {
		published, err1 := publishedPorts(strings.Fields(c.published))
		exposed, err2 := exposedPorts(strings.Fields(c.exposed))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := portsColumn(published, exposed); got != c.want {
			t.Errorf("-p %s --expose %s:\n%s; want\n%s", c.published, c.exposed, got, c.want)
		}
	}
}

// Every port is in the column, once, whichever way runs are put together.
func TestPortsColumnHoldsEveryPort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var published []netns.Port
		seen := map[string]bool{}
		for range rapid.IntRange(0, 12).Draw(t, "ports") {
			p := netns.Port{
				Proto:     rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "proto"),
				Container: rapid.Uint16Range(1, 9).Draw(t, "container"),
				HostIP:    netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{0, 127}).Draw(t, "ip"), 0, 0, 0}),
			}
			p.Host = p.Container + rapid.SampledFrom([]uint16{0, 0, 0, 100}).Draw(t, "host")
			if key := written([]netns.Port{p}); !seen[key] {
				seen[key] = true
				published = append(published, p)
			}
		}
		shown := map[string]int{}
		for _, words := range strings.Split(portsColumn(published, nil), ", ") {
			for _, p := range portSpread(t, words) {
				shown[p]++
			}
		}
		for _, p := range published {
			if key := written([]netns.Port{p}); shown[key] != 1 {
				t.Errorf("%s is shown %d times in %s", key, shown[key], portsColumn(published, nil))
			}
		}
		if len(shown) != len(published) {
			t.Errorf("%d of %d: %s", len(shown), len(published), portsColumn(published, nil))
		}
	})
}

// spread reads one entry of the column back.
func portSpread(t *rapid.T, words string) (all []string) {
	if words == "" {
		return nil
	}
	host, rest, _ := strings.Cut(words, "->")
	ports, err := publishedPorts([]string{host + ":" + rest})
	if err != nil {
		t.Fatalf("%s: %v", words, err)
	}
	for _, p := range ports {
		all = append(all, written([]netns.Port{p}))
	}
	return all
}

func FuzzPublish(f *testing.F) {
	for _, seed := range []string{"8080:80", "127.0.0.1:8080-8090:80/udp", "[::1]:1:1", "target=80,published=8080", "1-2:3-4/tcp", "::"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		ports, err := publishedPorts([]string{value})
		if err != nil && (steps.CodeOf(err, 0) != 125 || steps.HintOf(err) == "") {
			t.Errorf("%q: %v has no hint or another code", value, err)
		}
		for _, p := range ports {
			if p.Container == 0 || !p.HostIP.Is4() || p.Proto != "tcp" && p.Proto != "udp" || p.HostLast != 0 && p.HostLast <= p.Host || p.HostLast != 0 && p.Host == 0 {
				t.Errorf("%q: %+v", value, p)
			}
		}
	})
}
