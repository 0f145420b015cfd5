package runtime

import "github.com/minidock/minidock/netns"

// LookAtNetwork draws the picture of a network as it is at this moment.
func LookAtNetwork(l Layout, ref string) (netns.Picture, error) {
	network, err := l.Networks().Find(ref)
	if err != nil {
		return netns.Picture{}, err
	}
	return l.Networks().Look(network, l.NetworkNamespace)
}
