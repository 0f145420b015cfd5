package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/minidock/minidock/netns"
)

// NetworkSettings is Docker's NetworkSettings object.
type NetworkSettings struct {
	// SandboxKey is the file that names the network namespace.
	SandboxID, SandboxKey string
	// Ports has nil for a port that is exposed and not published.
	Ports    map[string][]PortBinding
	Networks map[string]EndpointSettings
}

// PortBinding is where a published port answers on the host.
type PortBinding struct{ HostIP, HostPort string }

// MarshalJSON spells the fields as Docker does.
func (b PortBinding) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"HostIp":%q,"HostPort":%q}`, b.HostIP, b.HostPort), nil
}

// EndpointSettings is Docker's object of that name: a container's place on a
// network. Its addresses are empty while the container does not run.
type EndpointSettings struct {
	IPAMConfig            *IPAMConfig
	Aliases               []string
	MacAddress            string
	NetworkID, EndpointID string
	Gateway, IPAddress    string
	IPPrefixLen           int
	DNSNames              []string
}

// IPAMConfig is what the user asked for of an address.
type IPAMConfig struct{ IPv4Address string }

// EndpointID names a container's place on a network, 64 hex digits; it is the same
// for the same two.
func EndpointID(containerID, networkID string) string {
	sum := sha256.Sum256([]byte(containerID + networkID))
	return hex.EncodeToString(sum[:])
}

func (c *Container) networkSettings() (NetworkSettings, error) {
	n := c.Config.Network
	s := NetworkSettings{Ports: map[string][]PortBinding{}, Networks: map[string]EndpointSettings{}}
	if c.Running() {
		s.Ports = n.bindings(c.Live.Ports)
		if n.bridged() {
			s.SandboxID, s.SandboxKey = c.Config.ID, c.layout.NetworkNamespace(c.Config.ID)
		}
	}
	for _, e := range n.Endpoints {
		settings, err := c.endpointSettings(e)
		if err != nil {
			return s, err
		}
		s.Networks[e.Network] = settings
	}
	if n.bridged() {
		return s, nil
	}
	network, err := c.layout.Networks().Find(n.Mode)
	if err == nil { // Not that of another container.
		s.Networks[network.Name] = EndpointSettings{NetworkID: network.ID}
	}
	if errors.Is(err, netns.ErrNoNetwork) {
		err = nil
	}
	return s, err
}

func (c *Container) endpointSettings(e netns.Endpoint) (EndpointSettings, error) {
	settings := EndpointSettings{Aliases: e.Aliases}
	network, err := c.layout.Networks().Find(e.Network)
	if err != nil {
		return settings, err
	}
	settings.NetworkID = network.ID
	if e.Asked.IsValid() {
		settings.IPAMConfig = &IPAMConfig{e.Asked.String()}
	}
	if c.Running() {
		settings.EndpointID, settings.MacAddress = EndpointID(c.Config.ID, network.ID), e.MAC
		settings.Gateway, settings.IPAddress, settings.IPPrefixLen = gatewayText(network), e.Address.String(), network.Subnet.Bits()
	}
	settings.DNSNames = append([]string{c.Config.Name}, e.Aliases...)
	settings.DNSNames = append(settings.DNSNames, short(c.Config.ID))
	if c.Config.Hostname != short(c.Config.ID) {
		settings.DNSNames = append(settings.DNSNames, c.Config.Hostname)
	}
	return settings, nil
}

func gatewayText(n netns.Network) string {
	if n.Internal || !n.Gateway.IsValid() {
		return ""
	}
	return n.Gateway.String()
}

// bindings are the ports that lead to the container, and those that could.
func (n NetworkConfig) bindings(published []netns.Publication) map[string][]PortBinding {
	all := map[string][]PortBinding{}
	for _, port := range n.Exposed {
		all[port] = nil
	}
	for _, p := range published {
		port := strconv.Itoa(int(p.Container)) + "/" + p.Proto
		all[port] = append(all[port], bindingOf(p.HostIP, p.Host))
	}
	return all
}

func bindingOf(address netip.Addr, port uint16) PortBinding {
	if !address.IsValid() {
		address = netip.IPv4Unspecified()
	}
	return PortBinding{HostIP: address.String(), HostPort: strconv.Itoa(int(port))}
}

func (n NetworkConfig) exposed() map[string]struct{} {
	all := map[string]struct{}{}
	for _, port := range n.Exposed {
		all[port] = struct{}{}
	}
	return all
}

// showNetwork fills in what the user asked of the network.
func (h *HostConfig) showNetwork(n NetworkConfig) {
	h.PublishAllPorts = n.PublishAll
	// As in Docker these are lists, also empty ones.
	h.DNS, h.DNSOptions, h.DNSSearch = []string{}, append([]string{}, n.DNSOptions...), append([]string{}, n.DNSSearch...)
	h.PortBindings = map[string][]PortBinding{}
	for _, p := range n.Ports {
		port := strconv.Itoa(int(p.Container)) + "/" + p.Proto
		binding := PortBinding{HostPort: hostPortText(p)}
		if !p.HostIP.IsUnspecified() {
			binding.HostIP = p.HostIP.String()
		}
		h.PortBindings[port] = append(h.PortBindings[port], binding)
	}
	for _, server := range n.DNS {
		h.DNS = append(h.DNS, server.String())
	}
	for _, extra := range n.ExtraHosts {
		h.ExtraHosts = append(h.ExtraHosts, extra.String())
	}
}

// hostPortText writes a port as it was asked for: empty for any, or a range.
func hostPortText(p netns.Port) string {
	switch {
	case p.Host == 0:
		return ""
	case p.HostLast > p.Host:
		return fmt.Sprintf("%d-%d", p.Host, p.HostLast)
	}
	return strconv.Itoa(int(p.Host))
}
