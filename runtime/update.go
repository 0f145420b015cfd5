package runtime

import (
	"errors"
	"fmt"
	"slices"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Changes are what `update` changes of a container.
type Changes struct {
	Limits cgroups.Limits
	// Given names the limits that were asked for, by their flags. One that was asked
	// for and is zero is taken away; what was not asked for stays.
	Given []string `json:",omitempty"`
	// Restart is the new policy; nil keeps the old.
	Restart *RestartPolicy `json:",omitempty"`
}

// Update changes the limits and the restart policy of a container, of a running
// one at once. Either all of it is changed, or, with an error, nothing.
func Update(l Layout, ref string, changes Changes) error {
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	return c.change(request{Op: opUpdate, Changes: &changes}, nil, func(d *draft) error { return d.container.applyUpdate(d.ledger, changes) })
}

// applyUpdate changes the container's group, if it runs, and then config.json. The
// caller holds the container's lock, and the ledger is the container's.
func (c *Container) applyUpdate(ledger *steps.Ledger, changes Changes) error {
	host, err := cgroups.Probe()
	if err != nil {
		return err
	}
	next, err := c.Config.changed(changes, host)
	if err != nil {
		return err
	}
	group := cgroups.Open(host, c.layout.CgroupPath(c.Config.ID))
	running := c.Running()
	if running {
		if err := group.Change(ledger, c.Config.Limits, next.Limits); err != nil {
			return c.cannotUpdate(err)
		}
	}
	before := c.Config
	c.Config = next
	if err := c.saveConfig(); err != nil {
		c.Config = before
		if running {
			err = errors.Join(err, group.Change(ledger, next.Limits, before.Limits))
		}
		return c.cannotUpdate(err)
	}
	c.emit("update", nil)
	return nil
}

func (c *Container) cannotUpdate(err error) error {
	return &steps.Fault{Msg: fmt.Sprintf("Cannot update container %s: %v", c.Config.ID, err), Hint: steps.HintOf(err), Err: err}
}

// changed returns the configuration with the changes, or refuses them in Docker's
// words.
func (c Config) changed(changes Changes, host cgroups.Host) (Config, error) {
	next := c
	refuse := func(err error) (Config, error) {
		return c, &steps.Fault{Msg: fmt.Sprintf("Cannot update container %s: %v", c.ID, err), Hint: steps.HintOf(err), Code: 1, Err: err}
	}
	if p := changes.Restart; p != nil {
		if c.AutoRemove && p.Name != "" && p.Name != "no" {
			return refuse(&steps.Fault{
				Msg:  "Restart policy cannot be updated because AutoRemove is enabled for the container",
				Hint: "A container with --rm goes when it ends: make one without.",
			})
		}
		next.Restart = *p
	}
	if len(changes.Given) == 0 {
		return next, nil
	}
	var err error
	if next.Limits, err = mergeLimits(c.Limits, changes.Limits, changes.Given); err != nil {
		return refuse(err)
	}
	if err := next.Limits.Check(host); err != nil {
		return c, &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 1, Err: err}
	}
	return next, nil
}

// mergeLimits puts the limits that were given in the place of the old ones. Given
// as zero a limit is taken away, which Docker's update can't.
func mergeLimits(old, asked cgroups.Limits, given []string) (cgroups.Limits, error) {
	if err := conflicts(old, asked, given); err != nil {
		return old, err
	}
	merged := old
	if merged.Memory > 0 && merged.MemorySwap == 0 {
		merged.MemorySwap = 2 * merged.Memory // What leaving it out has meant: see Limits.Files.
	}
	for name, take := range map[string]func(){
		"cpus":               func() { merged.NanoCPUs = asked.NanoCPUs },
		"cpu-quota":          func() { merged.CPUQuota = asked.CPUQuota },
		"cpu-period":         func() { merged.CPUPeriod = asked.CPUPeriod },
		"cpu-shares":         func() { merged.CPUShares = asked.CPUShares },
		"cpuset-cpus":        func() { merged.CpusetCpus = asked.CpusetCpus },
		"memory":             func() { merged.Memory = asked.Memory },
		"memory-swap":        func() { merged.MemorySwap = asked.MemorySwap },
		"memory-reservation": func() { merged.MemoryReservation = asked.MemoryReservation },
		"memory-high":        func() { merged.MemoryHigh = asked.MemoryHigh },
		"pids-limit":         func() { merged.PidsLimit = asked.PidsLimit },
	} {
		if slices.Contains(given, name) {
			take()
		}
	}
	if slices.Contains(given, "memory-swap") || !slices.Contains(given, "memory") {
		return merged, nil
	}
	switch {
	case merged.Memory == 0 && merged.MemorySwap > 0:
		merged.MemorySwap = 0 // Memory and swap together say nothing any more.
	case merged.Memory > 0 && merged.MemorySwap >= 0 && merged.Memory > merged.MemorySwap:
		return old, &steps.Fault{
			Msg:  "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
			Hint: "--memory-swap is memory and swap together, twice --memory unless set: give both.",
		}
	}
	return merged, nil
}

// conflicts refuses --cpus where a quota or period is set already, and the other
// way round, as Docker does. What is given together is compared by Check.
func conflicts(old, asked cgroups.Limits, given []string) error {
	kept := func(flag string, value int64) bool { return value > 0 && !slices.Contains(given, flag) }
	msg := ""
	switch {
	case asked.NanoCPUs > 0 && kept("cpu-period", old.CPUPeriod):
		msg = "Nano CPUs cannot be updated as CPU Period has already been set"
	case asked.NanoCPUs > 0 && kept("cpu-quota", old.CPUQuota):
		msg = "Nano CPUs cannot be updated as CPU Quota has already been set"
	case asked.CPUPeriod > 0 && kept("cpus", old.NanoCPUs):
		msg = "CPU Period cannot be updated as NanoCPUs has already been set"
	case asked.CPUQuota > 0 && kept("cpus", old.NanoCPUs):
		msg = "CPU Quota cannot be updated as NanoCPUs has already been set"
	default:
		return nil
	}
	return &steps.Fault{
		Msg:  "Conflicting options: " + msg,
		Hint: "--cpus 0.5 means --cpu-period 100000 --cpu-quota 50000. Take the old one away in the same command: give it as 0.",
	}
}
