package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	_ "github.com/opencontainers/cgroups/devices" // without it no device is denied
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // joins the namespaces in C, before Go's threads exist
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/images"
)

// start leads the container from a directory to a running process. The order is
// the lesson: streams, root file system, control group, network namespace, the other
// namespaces and meanwhile the network's links, limits, and only then the program.
func (m *monitor) start() (err error) {
	c := m.container
	if m.log, err = openLog(c); err != nil {
		return err
	}
	streams, err := openStdio(m.ledger, c.run(), c.Config.Interactive, c.Config.Tty)
	if err != nil {
		return err
	}
	m.use(streams)
	defer func() {
		if err != nil {
			streams.close()
		}
	}()
	mount := images.Mount
	if c.Config.AutoRemove {
		mount = images.MountVolatile
	}
	if err := mount(m.ledger, c.Config.Layers, c.dir()); err != nil {
		return err
	}
	// Not before: since the command announced it, the kernel has had time to get
	// ready for a move.
	if err := cgroups.MonitorGroup(m.ledger, m.host, m.layout.Instance); err != nil {
		return err
	}
	if err := m.makeGroup(); err != nil {
		return err
	}
	namespace, err := m.makeNamespace()
	if err != nil {
		return err
	}
	if err := m.startInit(namespace); err != nil {
		return err
	}
	if m.group != nil {
		if err := m.group.Apply(m.ledger, c.Config.Limits); err != nil {
			return m.abort(err)
		}
	}
	return m.execProgram()
}

// makeGroup makes the container's cgroup where the host has cgroup v2
// controllers; elsewhere libcontainer makes groups of its own, without limits.
func (m *monitor) makeGroup() (err error) {
	if m.host.Mode != cgroups.Unified {
		return nil
	}
	m.group, err = cgroups.Create(m.ledger, m.host, m.layout.CgroupPath(m.container.Config.ID))
	if err != nil {
		return err
	}
	for _, warning := range m.group.Warnings(m.container.Config.Limits) {
		m.callers.pass(frameErrout, []byte("WARNING: "+warning+"\n"))
	}
	return nil
}

// startInit has libcontainer make the namespaces and everything in them. What
// its init will do is told first, from the very configuration that it is given.
// Init builds its world and then waits, so that no limit slows it down.
func (m *monitor) startInit(namespace string) error {
	config, err := m.describeInit(namespace)
	if err != nil {
		return err
	}
	told, err := m.ledger.Announce(insideSteps(m.layout, m.host, m.container.Config.ID, config, m.process))
	if err != nil {
		return err
	}
	// Of the network, init needs no more than the namespace: what is to be in there
	// is made while init is at work, which takes longer. The story has one order all
	// the same, since init's steps are told by now.
	connected := make(chan error, 1)
	go func() { connected <- m.connectNetworks() }()
	err = m.runInit(config)
	connectErr := <-connected
	if err := errors.Join(err, told.End(err)); err != nil {
		return errors.Join(explainStart(err), connectErr)
	}
	if err := errors.Join(connectErr, m.stdio.handOver(m.log, m.callers.pass)); err != nil {
		return m.abort(err)
	}
	return nil
}

// describeInit is what libcontainer is given: the container's configuration, and its
// first process.
func (m *monitor) describeInit(namespace string) (*configs.Config, error) {
	spec, err := Spec(m.layout, &m.container.Config, namespace)
	if err != nil {
		return nil, err
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: m.container.Config.ID, Spec: spec})
	if err != nil {
		return nil, fmt.Errorf("convert specification: %w", err)
	}
	m.process = processFor(spec.Process, m.stdio)
	if size := m.callers.size(); size != nil {
		m.process.ConsoleHeight, m.process.ConsoleWidth = size.Height, size.Width
	}
	return config, nil
}

// runInit returns when init has built its world, and waits.
func (m *monitor) runInit(config *configs.Config) error {
	release, err := m.host.HoldParents()
	if err != nil {
		return fmt.Errorf("hold parents of groups: %w", err)
	}
	defer release()
	m.inner, err = libcontainer.Create(m.layout.Libcontainer(), m.container.Config.ID, config)
	if err != nil {
		return err
	}
	return m.inner.Start(m.process)
}

// initLogLevel has libcontainer's init report errors only (logrus' number for them).
// Without a level its C part writes each of some thirty steps to a pipe, one by one,
// and wakes the monitor for each, who has no use for them.
const initLogLevel = "2"

// processFor describes the container's first process to libcontainer.
func processFor(p *specs.Process, s *stdio) *libcontainer.Process {
	process := &libcontainer.Process{
		Init: true, Args: p.Args, Env: p.Env, Cwd: p.Cwd, LogLevel: initLogLevel,
		UID: int(p.User.UID), GID: int(p.User.GID),
		NoNewPrivileges: &p.NoNewPrivileges,
		Capabilities: &configs.Capabilities{
			Bounding: p.Capabilities.Bounding, Effective: p.Capabilities.Effective, Permitted: p.Capabilities.Permitted,
		},
	}
	s.give(process)
	for _, gid := range p.User.AdditionalGids {
		process.AdditionalGroups = append(process.AdditionalGroups, int(gid))
	}
	for _, r := range p.Rlimits {
		process.Rlimits = append(process.Rlimits, configs.Rlimit{Type: rlimitNumber(r.Type), Soft: r.Soft, Hard: r.Hard})
	}
	return process
}

// execProgram lets the waiting init become the user's program.
func (m *monitor) execProgram() error {
	pid, err := m.process.Pid()
	if err != nil {
		return m.abort(fmt.Errorf("find container's pid: %w", err))
	}
	start, _, err := processStart(pid)
	if err != nil {
		return m.abort(err)
	}
	c := m.container
	c.Live = &Live{Pid: pid, PidStart: start, Monitor: os.Getpid(), MonitorStart: m.born, StartedAt: time.Now().UTC(), Ports: m.published}
	if err := errors.Join(m.saveLive(), m.noteStart()); err != nil {
		return m.abort(err)
	}
	if err := m.ledger.Do(execStep(filepath.Join(c.dir(), "merged"), m.process, pid), m.inner.Exec); err != nil {
		return m.abort(err)
	}
	c.emit("start", nil)
	m.callers.each(func(caller *caller) {
		if caller.asked.Op == opStart {
			caller.started(pid)
		}
	})
	return nil
}

// abort ends an init that waits for a program it will not get.
func (m *monitor) abort(cause error) error {
	err := m.killInit()
	_, _ = m.process.Wait()
	m.stdio.drain()
	return errors.Join(cause, err)
}

func (m *monitor) killInit() error {
	kill := func() error { return m.process.Signal(unix.SIGKILL) }
	pid, err := m.process.Pid()
	if err != nil {
		return errors.Join(err, kill())
	}
	step := signalStep(pid, unix.SIGKILL, "Kill the container's first process: what was to be made for it is not there.")
	step.Call = step.Call[1:] // It has been held open since its start.
	if err := m.ledger.Do(step, kill); err != nil {
		return errors.Join(err, kill()) // What can't be told has to be done all the same.
	}
	return nil
}

// libcontainerDir is what libcontainer keeps about one container.
func libcontainerDir(l Layout, id string) string { return filepath.Join(l.Libcontainer(), id) }
