package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

// psFilter chooses containers as Docker's `ps --filter` does.
type psFilter struct {
	filters
	exited []int
	// before and since are when the containers named were made, as IDs in the list.
	before, since string
	// ancestors are the images asked for, as far as they are there.
	ancestors []images.Image
	// networks are names; of the ports asked for, the host's or the container's,
	// number and protocol count.
	networks           []string
	published, exposed []netns.Port
}

// containerStates are Docker's, in the order in which it names them.
func containerStates() []string {
	return []string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}
}

func readPsFilter(l runtime.Layout, values []string) (*psFilter, error) {
	f := &psFilter{}
	var err error
	f.filters, err = readFilters(values, "ancestor", "before", "exited", "expose", "id", "label", "name", "network", "publish", "since", "status")
	if err == nil {
		err = f.readStates()
	}
	if err == nil {
		err = f.readContainers(l)
	}
	if err == nil {
		err = f.readAncestors(l)
	}
	if err == nil {
		err = f.readNetworks(l)
	}
	if err == nil {
		err = f.readPorts()
	}
	return f, err
}

func (f *psFilter) readStates() error {
	for _, value := range f.filters["status"] {
		if !slices.Contains(containerStates(), value) {
			return f.invalid("status", value, fmt.Errorf("invalid value for state (%s): must be one of %s", value, strings.Join(containerStates(), ", ")))
		}
	}
	for _, value := range f.filters["exited"] {
		code, err := strconv.Atoi(value)
		if err != nil {
			return f.invalid("exited", value, err)
		}
		f.exited = append(f.exited, code)
	}
	return nil
}

// readContainers finds the containers that others are compared with. As in
// Docker the last value of each counts.
func (f *psFilter) readContainers(l runtime.Layout) error {
	for name, into := range map[string]*string{"before": &f.before, "since": &f.since} {
		for _, value := range f.filters[name] {
			c, err := runtime.Find(l, value)
			if err != nil {
				return err
			}
			*into = c.Config.ID
		}
	}
	return nil
}

// readAncestors passes over images that are not there: nothing is made from them.
func (f *psFilter) readAncestors(l runtime.Layout) error {
	for _, value := range f.filters["ancestor"] {
		image, err := images.Open(l.Root).Resolve(value)
		if err != nil && !errors.Is(err, images.ErrNoImage) {
			return err
		}
		if err == nil {
			f.ancestors = append(f.ancestors, image)
		}
	}
	return nil
}

// wantsStopped says whether the filters reach beyond running containers by
// themselves, without --all.
func (f *psFilter) wantsStopped() bool {
	return f.before != "" || f.since != "" || f.asks("status") && !f.wantsOnlyStarted()
}

// wantsOnlyStarted says whether no stopped container can be meant.
func (f *psFilter) wantsOnlyStarted() bool {
	return f.asks("status") && !slices.ContainsFunc(f.filters["status"], func(s string) bool {
		return s != "running" && s != "paused" && s != "restarting"
	})
}

// choose keeps the containers that are meant; list is all of them, newest first.
func (f *psFilter) choose(list []*runtime.Container) []*runtime.Container {
	index := func(id string) int {
		return slices.IndexFunc(list, func(c *runtime.Container) bool { return c.Config.ID == id })
	}
	if f.since != "" {
		list = list[:max(index(f.since), 0)]
	}
	if f.before != "" {
		at := index(f.before)
		if at < 0 {
			return nil
		}
		list = list[at+1:]
	}
	var chosen []*runtime.Container
	byID := f.meantByID(list)
	for _, c := range list {
		if byID(c) && f.meets(c) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// meantByID wants the beginning of an ID, and of one alone.
func (f *psFilter) meantByID(list []*runtime.Container) func(*runtime.Container) bool {
	meant := map[string]bool{}
	for _, prefix := range f.filters["id"] {
		var found []string
		for _, c := range list {
			if strings.HasPrefix(c.Config.ID, prefix) {
				found = append(found, c.Config.ID)
			}
		}
		if len(found) == 1 {
			meant[found[0]] = true
		}
	}
	return func(c *runtime.Container) bool { return !f.asks("id") || meant[c.Config.ID] }
}

func (f *psFilter) meets(c *runtime.Container) bool {
	return (f.admitsPattern("name", c.Config.Name) || f.admitsPattern("name", "/"+c.Config.Name)) &&
		f.admitsLabels(c.Config.Labels) && f.admits("status", c.Status()) && f.meetsExit(c) && f.meetsAncestor(c) && f.meetsNetwork(c) && f.meetsPorts(c)
}

// meetsExit leaves out what runs, and what never did.
func (f *psFilter) meetsExit(c *runtime.Container) bool {
	if !f.asks("exited") {
		return true
	}
	return c.Status() == "exited" && slices.Contains(f.exited, c.Exit.ExitCode)
}

// meetsAncestor takes a container whose image is one of those asked for, or stands
// on all of its layers.
func (f *psFilter) meetsAncestor(c *runtime.Container) bool {
	return !f.asks("ancestor") || slices.ContainsFunc(f.ancestors, func(i images.Image) bool {
		return c.Config.ImageID == i.ID || len(i.Layers) > 0 && len(c.Config.Layers) > len(i.Layers) &&
			slices.Equal(c.Config.Layers[:len(i.Layers)], i.Layers)
	})
}
