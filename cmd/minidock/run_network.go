package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func flagsOfNetworks() []cli.Flag {
	return []cli.Flag{
		list("add-host", "", "Add a custom host-to-IP mapping (host:ip)"),
		list("dns", "", "Set custom DNS servers"),
		list("dns-option", "", "Set DNS options"),
		list("dns-search", "", "Set custom DNS search domains"),
		&cli.StringFlag{Name: "domainname", Usage: "Container NIS domain name"},
		list("expose", "", "Expose a port or a range of ports"),
		&cli.StringFlag{Name: "ip", Usage: "IPv4 address (e.g., 172.30.100.104)"},
		&cli.StringFlag{Name: "mac-address", Usage: "Container MAC address (e.g., 92:d0:c6:0a:29:33)"},
		list("network", "", "Connect a container to a network"),
		list("network-alias", "", "Add network-scoped alias for the container"),
		list("publish", "p", "Publish a container's port(s) to the host"),
		&cli.BoolFlag{Name: "publish-all", Aliases: []string{"P"}, Usage: "Publish all exposed ports to random ports"},
	}
}

// networkConfig reads the flags on networks.
func networkConfig(c *cli.Context) (runtime.NetworkConfig, error) {
	n := runtime.NetworkConfig{
		Domainname: c.String("domainname"), PublishAll: c.Bool("publish-all"),
		DNSOptions: c.StringSlice("dns-option"),
	}
	var errs [6]error
	flags := networkFlags{networks: c.StringSlice("network"), aliases: c.StringSlice("network-alias"), ip: c.String("ip"), mac: c.String("mac-address")}
	n.Endpoints, errs[0] = flags.read()
	n.Ports, errs[1] = publishedPorts(c.StringSlice("publish"))
	n.Exposed, errs[2] = exposed(c.StringSlice("expose"))
	n.DNS, errs[3] = nameServers(c.StringSlice("dns"))
	n.DNSSearch, errs[5] = searchDomains(c.StringSlice("dns-search"))
	n.ExtraHosts, errs[4] = extraHosts(c.StringSlice("add-host"))
	if len(n.Endpoints) > 0 {
		n.Mode = n.Endpoints[0].Network
	}
	if n.Mode == netns.Host && (len(n.Ports) > 0 || n.PublishAll) {
		fmt.Fprintln(os.Stderr, "WARNING: Published ports are discarded when using host network mode")
		n.Ports, n.PublishAll = nil, false
	}
	return n, firstError(errs[:])
}

// exposed writes ports as images do: 80/tcp.
func exposed(values []string) ([]string, error) {
	ports, err := exposedPorts(values)
	var all []string
	for _, p := range ports {
		all = append(all, fmt.Sprintf("%d/%s", p.Container, p.Proto))
	}
	return all, err
}

func nameServers(values []string) ([]netip.Addr, error) {
	var servers []netip.Addr
	for _, v := range values {
		address, err := netip.ParseAddr(strings.TrimSpace(v))
		if err != nil {
			return nil, invalidArgument("--dns", v, fmt.Errorf("%s is not an ip address", v), "Give the address of a name server, as 192.0.2.53.")
		}
		servers = append(servers, address)
	}
	return servers, nil
}

// searchDomains takes "." for none, as resolv.conf(5) is to have it.
func searchDomains(values []string) (all []string, err error) {
	for _, v := range values {
		domain := strings.TrimSpace(v)
		if domain != "." && !isDomain(strings.TrimSuffix(domain, ".")) {
			return nil, invalidArgument("--dns-search", v, fmt.Errorf("%s is not a valid domain", v), "As in --dns-search example.org; a dot alone is for none.")
		}
		all = append(all, domain)
	}
	return all, nil
}

// isDomain is about names of hosts (RFC 1123, 2.1): letters, digits, and hyphens inside.
func isDomain(name string) bool {
	letters := false
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
			letters = letters || letter
			if !letter && r != '-' && (r < '0' || r > '9') {
				return false
			}
		}
	}
	return letters && len(name) < 255
}

func extraHosts(values []string) ([]netns.ExtraHost, error) {
	var all []netns.ExtraHost
	for _, v := range values {
		extra, err := netns.ParseExtraHost(v)
		if err != nil {
			return nil, invalidArgument("--add-host", v, err, steps.HintOf(err))
		}
		all = append(all, extra)
	}
	return all, nil
}
