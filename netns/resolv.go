package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/steps"
)

// The host's own files, of resolv.conf(5) and hosts(5).
const (
	HostResolvConf = "/etc/resolv.conf"
	HostHosts      = "/etc/hosts"
)

// Names are the settings from which a container's three name files are made.
type Names struct {
	// Hostname and Domainname are --hostname and --domainname.
	Hostname, Domainname string
	// Addresses are the container's own, in the order of its interfaces.
	Addresses []netip.Addr
	// Gateway is what host-gateway stands for in --add-host; it may be missing.
	Gateway netip.Addr
	// Extra is --add-host.
	Extra []ExtraHost
	// Servers, Search and Options are --dns, --dns-search and --dns-option. Each that
	// is not empty replaces what the host has.
	Servers         []netip.Addr
	Search, Options []string
	// HostResolvConf and HostHosts are the texts of the host's files.
	HostResolvConf, HostHosts string
}

// ReadHost fills in the texts of the host's files; a missing file is empty.
func (n *Names) ReadHost() (err error) {
	if n.HostResolvConf, err = readHostFile(HostResolvConf); err != nil {
		return err
	}
	n.HostHosts, err = readHostFile(HostHosts)
	return err
}

func readHostFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read host's file: %w", err)
	}
	return string(text), nil
}

// ExtraHost is one more line of /etc/hosts.
type ExtraHost struct {
	Name string
	// Address is the zero Addr for host-gateway.
	Address netip.Addr
}

// String is as [ParseExtraHost] reads it.
func (e ExtraHost) String() string {
	if !e.Address.IsValid() {
		return e.Name + ":" + hostGateway
	}
	return e.Name + ":" + e.Address.String()
}

// hostGateway is the word for the host's address on the container's network.
const hostGateway = "host-gateway"

// ParseExtraHost reads NAME:ADDRESS or NAME=ADDRESS, as --add-host takes it.
func ParseExtraHost(text string) (ExtraHost, error) {
	name, address, found := strings.Cut(text, "=")
	if !found {
		name, address, found = strings.Cut(text, ":")
	}
	if !found || name == "" || address == "" {
		return ExtraHost{}, &steps.Fault{Msg: fmt.Sprintf("bad format for add-host: %q", text), Hint: "Write NAME:ADDRESS.", Code: 125}
	}
	if address == hostGateway {
		return ExtraHost{Name: name}, nil
	}
	if len(address) > 2 && address[0] == '[' && address[len(address)-1] == ']' {
		address = address[1 : len(address)-1]
	}
	parsed, err := netip.ParseAddr(address)
	if err != nil {
		return ExtraHost{}, &steps.Fault{Msg: fmt.Sprintf("invalid IP address in add-host: %q", address), Hint: "Write NAME:ADDRESS, or NAME:host-gateway for the host.", Code: 125, Err: err}
	}
	return ExtraHost{Name: name, Address: parsed}, nil
}

// Bridged is the files of a container with the resolver at [ResolverAddress].
func (n Names) Bridged() (NameFiles, error) {
	extra, err := n.extraLines()
	if err != nil {
		return NameFiles{}, err
	}
	return NameFiles{
		Hostname:   n.Hostname + "\n",
		Hosts:      Hosts() + extra + n.ownLines(),
		ResolvConf: n.settings().resolverText(),
		hostsWhy:   "Write the static names: localhost, those given by --add-host, and the container's own.",
		resolvWhy:  "Write the resolver's settings: questions go to minidock's resolver in the container's own namespace, which knows the other containers and asks the host's servers for the rest.",
	}, nil
}

// Alone is the files of a container without a network.
func (n Names) Alone() (NameFiles, error) {
	extra, err := n.extraLines()
	s := n.settings()
	if s.fromHost("nameservers") {
		s.servers = slices.DeleteFunc(s.servers, netip.Addr.IsLoopback)
	}
	return NameFiles{
		Hostname:   n.Hostname + "\n",
		Hosts:      Hosts() + extra,
		ResolvConf: s.text(""),
		hostsWhy:   "Write the static names; a container on the loopback link only knows itself as localhost.",
		resolvWhy:  "Write the resolver's settings: the host's, without servers on the host's loopback, which the container can't reach, and what --dns and the like say instead.",
	}, err
}

// Host is the files of a container in the host's network namespace: the host's. With
// --add-host the host's names are left out, as in Docker, so that a given one counts.
func (n Names) Host() (NameFiles, error) {
	n.Gateway = hostItself
	extra, err := n.extraLines()
	hosts := n.HostHosts
	if len(n.Extra) > 0 {
		hosts = Hosts() + extra
	}
	return NameFiles{
		Hostname:   n.Hostname + "\n",
		Hosts:      hosts,
		ResolvConf: n.settings().text(""),
		hostsWhy:   "Write the static names: in the host's network they are the host's, unless --add-host gives others.",
		resolvWhy:  "Write the resolver's settings: in the host's network they are the host's.",
	}, err
}

// hostItself is where who shares the host's network finds the host.
var hostItself = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// extraLines are the lines of --add-host.
func (n Names) extraLines() (string, error) {
	var b strings.Builder
	for _, e := range n.Extra {
		address := e.Address
		if !address.IsValid() {
			address = n.Gateway
		}
		if !address.IsValid() {
			return "", &steps.Fault{Msg: "unable to derive the IP value for host-gateway", Hint: "This container has no network with a way to the host.", Code: 125}
		}
		fmt.Fprintf(&b, "%s\t%s\n", address, e.Name)
	}
	return b.String(), nil
}

// ownLines give the container's name at each of its addresses: first the full one,
// as hosts(5) wants it, then the part before the first dot.
func (n Names) ownLines() string {
	names := n.Hostname
	if n.Domainname != "" {
		names += "." + n.Domainname
	}
	if first, _, dotted := strings.Cut(names, "."); dotted {
		names += " " + first
	}
	var b strings.Builder
	for _, address := range n.Addresses {
		fmt.Fprintf(&b, "%s\t%s\n", address, names)
	}
	return b.String()
}

// Upstreams are the servers that the container's resolver forwards to, all called
// from the host's namespace: those of --dns, or else the host's.
func (n Names) Upstreams() []netip.AddrPort {
	var list []netip.AddrPort
	s := n.settings()
	for _, server := range s.servers {
		// The container's resolver must not be told to ask itself.
		if !s.fromHost("nameservers") && server.String() == ResolverAddress {
			continue
		}
		list = append(list, netip.AddrPortFrom(server, dnsPort))
	}
	return list[:min(len(list), maxUpstreams)]
}

// KeepsSingle says that names without a dot are not to be forwarded: the host's or
// --dns-option's ndots has them completed first (resolv.conf(5)).
func (n Names) KeepsSingle() bool {
	dots, err := strconv.Atoi(n.settings().option("ndots"))
	return err == nil && dots > 0
}

// resolvSettings is what a resolv.conf(5) says, and where it comes from.
type resolvSettings struct {
	servers []netip.Addr
	search  []string
	options []string
	other   []string // lines as they are
	invalid []string // servers that are no addresses
	// overrides says which of nameservers, search, options are not the host's.
	overrides []string
}

func (n Names) settings() resolvSettings {
	s := readResolvConf(n.HostResolvConf)
	if len(n.Servers) > 0 {
		s.servers, s.overrides = n.Servers, append(s.overrides, "nameservers")
	}
	if len(n.Search) > 0 {
		// A dot alone asks for no search at all, as in Docker.
		s.search = slices.DeleteFunc(slices.Clone(n.Search), func(domain string) bool { return domain == "." })
		s.overrides = append(s.overrides, "search")
	}
	if len(n.Options) > 0 {
		s.options, s.overrides = slices.Clone(n.Options), append(s.overrides, "options")
	}
	return s
}

// readResolvConf never fails: what it doesn't know is kept, as resolvers do with it.
func readResolvConf(text string) (s resolvSettings) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#' || words[0][0] == ';':
		case !slices.Contains([]string{"nameserver", "domain", "search", "options"}, words[0]):
			s.other = append(s.other, strings.TrimSpace(line))
		case len(words) > 1:
			s.take(words[0], words[1:])
		}
	}
	return s
}

func (s *resolvSettings) take(keyword string, values []string) {
	switch keyword {
	case "nameserver":
		address, err := netip.ParseAddr(values[0])
		if err != nil {
			s.invalid = append(s.invalid, values[0])
			return
		}
		s.servers = append(s.servers, address)
	case "options":
		s.options = append(s.options, values...)
	default: // domain is search's older name, and the last of both counts.
		s.search = values
	}
}

func (s resolvSettings) fromHost(part string) bool { return !slices.Contains(s.overrides, part) }

// option is the value of the last option of that name, "" without one.
func (s resolvSettings) option(name string) string {
	value := ""
	for _, option := range s.options {
		if key, v, _ := strings.Cut(option, ":"); key == name {
			value = v
		}
	}
	return value
}

// resolverText has the container ask our resolver, and names in a comment whom that
// one asks. ndots:0 makes every name, also one without a dot, be asked for as it is
// first: a container's name usually has none.
func (s resolvSettings) resolverText() string {
	servers := "NO EXTERNAL NAMESERVERS DEFINED"
	if len(s.servers) > 0 {
		servers = fmt.Sprintf("ExtServers: %v", s.servedBy())
	}
	inner := s
	inner.servers = []netip.Addr{netip.MustParseAddr(ResolverAddress)}
	dots := "host"
	if !s.fromHost("options") {
		dots = "override"
	}
	if n, err := strconv.Atoi(s.option("ndots")); err != nil || n < 0 {
		dots = "internal"
		inner.options = slices.DeleteFunc(slices.Clone(s.options), func(o string) bool { return o == "ndots" || strings.HasPrefix(o, "ndots:") })
		inner.options = append(inner.options, "ndots:0")
	}
	return inner.text(" (internal resolver)", servers) + "# Option ndots from: " + dots + "\n"
}

// servedBy lists the servers; host(ADDRESS) is one that the host's file names.
func (s resolvSettings) servedBy() (list []string) {
	for _, server := range s.servers {
		name := server.String()
		if s.fromHost("nameservers") {
			name = "host(" + name + ")"
		}
		list = append(list, name)
	}
	return list
}

// heading begins each resolv.conf that we write.
const heading = "# Generated by minidock.\n# This file can be edited; minidock will not make further changes once it\n# has been modified.\n\n"

// text writes a resolv.conf with Docker's comments; origin and comments say more
// about where it comes from.
func (s resolvSettings) text(origin string, comments ...string) string {
	var b strings.Builder
	b.WriteString(heading)
	for _, server := range s.servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(s.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(s.search, " "))
	}
	if len(s.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(s.options, " "))
	}
	for _, line := range s.other {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "\n# Based on host file: '%s'%s\n", HostResolvConf, origin)
	for _, comment := range comments {
		b.WriteString("# " + comment + "\n")
	}
	if len(s.invalid) > 0 {
		fmt.Fprintf(&b, "# Invalid nameservers: %v\n", s.invalid)
	}
	fmt.Fprintf(&b, "# Overrides: %v\n", s.overrides)
	return b.String()
}
