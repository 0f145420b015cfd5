package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-connections/nat"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// readNetworks finds the networks that are meant: by their names, or the beginning
// of their IDs. As in Docker one that is not there has no containers.
func (f *psFilter) readNetworks(l runtime.Layout) error {
	if !f.asks("network") {
		return nil
	}
	f.networks = slices.Clone(f.filters["network"])
	all, err := l.Networks().List()
	for _, n := range all {
		if slices.ContainsFunc(f.filters["network"], func(value string) bool { return value != "" && strings.HasPrefix(n.ID, value) }) {
			f.networks = append(f.networks, n.Name)
		}
	}
	return err
}

// readPorts reads the values of publish and expose: PORT[-PORT][/PROTOCOL].
func (f *psFilter) readPorts() error {
	for name, into := range map[string]*[]netns.Port{"publish": &f.published, "expose": &f.exposed} {
		for _, value := range f.filters[name] {
			proto, ports := nat.SplitProtoPort(value)
			first, last, err := nat.ParsePortRange(ports)
			if err != nil {
				return &steps.Fault{Msg: fmt.Sprintf("error while looking up for %s %s: %v", name, value, err), Hint: "As in " + name + "=80, " + name + "=53/udp or " + name + "=8000-8010.", Err: err}
			}
			for number := first; number <= last; number++ {
				*into = append(*into, netns.Port{Proto: proto, Container: uint16(number)})
			}
		}
	}
	return nil
}

func (f *psFilter) meetsNetwork(c *runtime.Container) bool {
	return !f.asks("network") || slices.ContainsFunc(c.Config.Network.Names(), func(name string) bool { return slices.Contains(f.networks, name) })
}

// meetsPorts takes a container that answers at one of the host's ports that are
// asked for, or at one of its own. As in Docker one that does not run has none.
func (f *psFilter) meetsPorts(c *runtime.Container) bool {
	if !f.asks("publish") && !f.asks("expose") {
		return true
	}
	for _, p := range publishedOf(c) {
		if slices.Contains(f.published, netns.Port{Proto: p.Proto, Container: p.Host}) {
			return true
		}
	}
	own, err := exposedPorts(c.Config.Network.Exposed)
	return err == nil && c.Running() && slices.ContainsFunc(own, func(p netns.Port) bool { return slices.Contains(f.exposed, p) })
}
