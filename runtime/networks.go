package runtime

import (
	"slices"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// CreateNetwork makes a network, and tells of it in the event log.
func CreateNetwork(l Layout, o netns.CreateOptions, tell func(steps.Record)) (netns.Network, error) {
	n, err := l.Networks().Create(o, tell)
	if err == nil {
		emitNetwork(l, "create", n, nil)
	}
	return n, err
}

// RemoveNetwork removes a network that no container has an address on, and tells of
// it in the event log.
func RemoveNetwork(l Layout, ref string, tell func(steps.Record)) error {
	n, err := l.Networks().Remove(ref, tell)
	if err == nil {
		emitNetwork(l, "destroy", n, nil)
	}
	return err
}

// PruneNetworks removes the networks that no container uses, of those that are
// wanted, and returns their names.
func PruneNetworks(l Layout, wanted func(netns.Network) bool) (removed []string, err error) {
	all, _ := l.Networks().List() // Prune says what can't be read.
	removed, err = l.Networks().Prune(wanted)
	for _, n := range all {
		if slices.Contains(removed, n.Name) {
			emitNetwork(l, "destroy", n, nil)
		}
	}
	l.emitPrune("network", 0)
	return removed, err
}
