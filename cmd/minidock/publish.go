package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

const publishHint = "As in -p 8080:80, -p 127.0.0.1:8080:80/udp, -p 8000-8005:80-85, -p 8080-8090:80 (any free one of these), or -p 80 (any free one)."

// publishedPorts reads --publish values: [[HOSTIP:][HOSTPORT]:]PORT[/PROTOCOL], of
// which both ports may be ranges, or target=PORT,published=HOSTPORT,protocol=PROTOCOL.
func publishedPorts(values []string) ([]netns.Port, error) {
	var all []netns.Port
	for _, v := range values {
		short, err := shortPublish(v)
		if err != nil {
			return nil, publishFault(err)
		}
		mappings, err := nat.ParsePortSpec(short)
		if err != nil {
			return nil, publishFault(err)
		}
		for _, m := range mappings {
			p, err := publishedPort(m)
			if err != nil {
				return nil, publishFault(err)
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// publishFault is an error of Docker's words with a hint, if it has none yet.
func publishFault(err error) error {
	hint := steps.HintOf(err)
	if hint == "" {
		hint = publishHint
	}
	return &steps.Fault{Msg: err.Error(), Hint: hint, Code: 125, Err: err}
}

// shortPublish writes Docker's long form in the short one.
func shortPublish(value string) (string, error) {
	if !strings.Contains(value, "=") {
		return value, nil
	}
	given := map[string]string{"protocol": "tcp"}
	for field := range strings.SplitSeq(value, ",") {
		name, text, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return "", fmt.Errorf("invalid publish opts format (should be name=value but got '%s')", field)
		case !slices.Contains([]string{"target", "published", "protocol", "mode"}, name):
			return "", fmt.Errorf("invalid field key %s", name)
		case name == "mode" && text != "host":
			return "", fmt.Errorf("invalid publish mode %s: only swarm has others than host", text)
		}
		given[name] = text
	}
	return fmt.Sprintf("%s:%s/%s", given["published"], given["target"], given["protocol"]), nil
}

// publishedPort takes what is there to be taken of Docker's notation: IPv4, and
// protocols that have ports and that nftables maps.
func publishedPort(m nat.PortMapping) (p netns.Port, err error) {
	p = netns.Port{Proto: m.Port.Proto(), Container: uint16(m.Port.Int()), HostIP: netip.IPv4Unspecified()}
	if p.Proto != "tcp" && p.Proto != "udp" {
		return p, &steps.Fault{Msg: "invalid proto: " + p.Proto, Hint: "minidock publishes ports of tcp and udp."}
	}
	if p.Container == 0 {
		return p, fmt.Errorf("invalid containerPort: %s", m.Port.Port())
	}
	if m.Binding.HostIP != "" {
		if p.HostIP, err = netip.ParseAddr(m.Binding.HostIP); err != nil {
			return p, fmt.Errorf("invalid IP address: %s", m.Binding.HostIP)
		}
		p.HostIP = p.HostIP.Unmap()
	}
	if !p.HostIP.Is4() {
		return p, &steps.Fault{
			Msg:  fmt.Sprintf("%s: minidock publishes ports on IPv4 addresses only", p.HostIP),
			Hint: "Give an IPv4 address of the host, such as 127.0.0.1, or none for all of them.",
		}
	}
	first, last, err := nat.ParsePortRangeToInt(m.Binding.HostPort)
	if err != nil || first == 0 && last != 0 {
		return p, fmt.Errorf("invalid hostPort: %s", m.Binding.HostPort)
	}
	if p.Host = uint16(first); last != first {
		p.HostLast = uint16(last)
	}
	return p, nil
}

// exposedPorts reads --expose values and an image's own, PORT[-PORT][/PROTOCOL], into
// ports that have no host's side. A port that is named twice is there once.
func exposedPorts(values []string) ([]netns.Port, error) {
	var all []netns.Port
	known := map[netns.Port]bool{}
	for _, v := range values {
		if strings.Contains(v, ":") {
			return nil, exposeFault("invalid port format for --expose: "+v, nil)
		}
		proto, ports := nat.SplitProtoPort(v)
		first, last, err := nat.ParsePortRangeToInt(ports)
		if err == nil && first == 0 {
			err = errors.New("no port is 0")
		}
		if err != nil {
			return nil, exposeFault(fmt.Sprintf("invalid range format for --expose: %s, error: %v", v, err), err)
		}
		proto = strings.ToLower(proto)
		if proto != "tcp" && proto != "udp" && proto != "sctp" {
			return nil, exposeFault("invalid proto: "+proto, nil)
		}
		for number := first; number <= last; number++ {
			if p := (netns.Port{Proto: proto, Container: uint16(number)}); !known[p] {
				known[p], all = true, append(all, p)
			}
		}
	}
	return all, nil
}

func exposeFault(msg string, err error) error {
	return &steps.Fault{Msg: msg, Hint: "As in --expose 80, --expose 53/udp or --expose 8000-8010.", Code: 125, Err: err}
}

func isPublished(published []netns.Port, e netns.Port) bool {
	return slices.ContainsFunc(published, func(p netns.Port) bool { return p.Proto == e.Proto && p.Container == e.Container })
}

// portRun is a run of ports that PORTS shows as one: of one protocol, either exposed
// or each published at the same number of one address.
type portRun struct {
	key         string
	proto       string
	at          netip.Addr
	first, last uint16
}

func (r portRun) String() string {
	ports := strconv.Itoa(int(r.first))
	if r.first != r.last {
		ports += "-" + strconv.Itoa(int(r.last))
	}
	if r.at.IsValid() {
		ports = net.JoinHostPort(r.at.String(), ports) + "->" + ports
	}
	return ports + "/" + r.proto
}

// portsColumn is what ps says of a running container's ports, as Docker does. First
// come the runs, then each port that is published at another number. Of the runs,
// the last of each kind stand behind all that are not the last of theirs.
func portsColumn(published, exposed []netns.Port) string {
	ports := slices.Clone(published)
	for _, e := range exposed {
		if !isPublished(published, e) {
			ports = append(ports, netns.Port{Proto: e.Proto, Container: e.Container})
		}
	}
	slices.SortFunc(ports, comparePorts)
	var ended, others []string
	var open []portRun
	for _, p := range ports {
		if p.HostIP.IsValid() && p.Host != p.Container {
			others = append(others, fmt.Sprintf("%s->%d/%s", net.JoinHostPort(p.HostIP.String(), strconv.Itoa(int(p.Host))), p.Container, p.Proto))
			continue
		}
		run := portRun{key: p.HostIP.String() + "/" + p.Proto, proto: p.Proto, at: p.HostIP, first: p.Container, last: p.Container}
		switch i := slices.IndexFunc(open, func(r portRun) bool { return r.key == run.key }); {
		case i < 0:
			open = append(open, run)
		case open[i].last+1 == run.first:
			open[i].last = run.last
		default:
			ended = append(ended, open[i].String())
			open[i] = run
		}
	}
	for _, run := range open {
		ended = append(ended, run.String())
	}
	return strings.Join(append(ended, others...), ", ")
}

func comparePorts(a, b netns.Port) int {
	for _, order := range []int{int(a.Container) - int(b.Container), a.HostIP.Compare(b.HostIP), int(a.Host) - int(b.Host)} {
		if order != 0 {
			return order
		}
	}
	return strings.Compare(a.Proto, b.Proto)
}
