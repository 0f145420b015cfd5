package runtime

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// ExecOptions is what a user asks of a new process in a running container.
type ExecOptions struct {
	Command []string `json:"command"`
	// Env is added to the container's own, as [Options].Env is to the image's.
	Env []string `json:"env,omitempty"`
	// User and Workdir are the container's own where they are empty.
	User    string `json:"user,omitempty"`
	Workdir string `json:"workdir,omitempty"`

	Interactive bool `json:"interactive,omitempty"`
	Tty         bool `json:"tty,omitempty"`
	// Detach leaves the process alone once it runs.
	Detach     bool `json:"detach,omitempty"`
	Privileged bool `json:"privileged,omitempty"`
}

// entry is one process on its way into a container, and in it.
type entry struct {
	id      string
	options ExecOptions
	process *libcontainer.Process
	stdio   *stdio
	// tried says that libcontainer was asked to start it.
	tried bool
}

// exec starts a process in the container's namespaces and group, serves the
// command that asked for it, and tells it how the process ended.
func (m *monitor) exec(c *caller) {
	e, err := m.enter(c)
	if err != nil {
		c.fault(err)
		return
	}
	m.letGo()
	pid, _ := e.process.Pid() // It has been started.
	c.started(pid)
	if e.options.Detach {
		c.answer(nil)
		m.leaveExec(e)
		return
	}
	go m.hearExec(c, e)
	c.exit(m.leaveExec(e))
}

// enter leads a process from the request to a running program.
func (m *monitor) enter(c *caller) (*entry, error) {
	e := &entry{id: newID(), options: *c.asked.Exec}
	if err := m.needRunning(); err != nil {
		return nil, err
	}
	run := m.current()
	err := m.admit(e, c)
	if err != nil && e.tried {
		e.stdio.close()
		m.reapOrphans()
		if code := steps.CodeOf(err, 0); code != 126 && code != 127 {
			err = m.explainEnd(run, err) // It may have been killed with all others.
		}
	}
	return e, err
}

// admit starts the process, unless the container is paused.
func (m *monitor) admit(e *entry, c *caller) error {
	// Not while it is being paused: a frozen process can't finish to join.
	m.entering.RLock()
	defer m.entering.RUnlock()
	if m.current().Paused {
		return &steps.Fault{
			Msg:  fmt.Sprintf("Container %s is paused, unpause the container before exec", m.container.Config.Name),
			Hint: "Let it go on with `minidock unpause " + m.container.Config.Name + "`.",
		}
	}
	command := strings.Join(e.options.Command, " ")
	m.container.emit("exec_create: "+command, map[string]string{"execID": e.id})
	if err := m.describeExec(e, c.asked.Size); err != nil {
		return cannotRun(err)
	}
	m.container.emit("exec_start: "+command, map[string]string{"execID": e.id})
	e.tried = true
	return m.startExec(e, c)
}

// cannotRun gives an error the status of a program that can't be run: as in Docker,
// a user that there is not is one more reason for that.
func cannotRun(err error) error {
	return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 126, Err: err}
}

// describeExec makes the streams and describes the process to libcontainer.
func (m *monitor) describeExec(e *entry, size *windowSize) (err error) {
	cfg := m.container.Config
	cfg.Privileged = cfg.Privileged || e.options.Privileged
	caps, err := capabilitiesOf(cfg.CapAdd, cfg.CapDrop, cfg.Privileged)
	if err != nil {
		return err
	}
	cfg.Init, cfg.Args = false, e.options.Command
	cfg.User = firstOf(e.options.User, cfg.User)
	cfg.Workdir = firstOf(e.options.Workdir, cfg.Workdir)
	cfg.Env = overlayEnv(cfg.Env, e.options.Env)
	described, err := processOf(&cfg, caps, filepath.Join(m.container.dir(), "merged"))
	if err != nil {
		return err
	}
	if e.stdio, err = openPipes(e.options.Interactive, e.options.Tty); err != nil {
		return err
	}
	e.process = processFor(described, e.stdio)
	e.process.Init = false
	if size != nil {
		e.process.ConsoleHeight, e.process.ConsoleWidth = size.Height, size.Width
	}
	return nil
}

// startExec has libcontainer start the process. Its steps are told to whoever
// asks, and not kept: the process goes with the container, whatever happens.
func (m *monitor) startExec(e *entry, c *caller) error {
	story, err := steps.Open(steps.Paths{}, func(r steps.Record) {
		if c.asked.Explain {
			_ = c.out.sendJSON(frameTold, r)
		}
	})
	if err != nil {
		return err
	}
	var list []steps.Step
	if c.asked.Explain {
		list = execSteps(m.host, m.layout.CgroupPath(m.container.Config.ID), m.current().Pid, m.inner.Config(), e.process)
	}
	told, err := story.Announce(list)
	if err != nil {
		return err
	}
	err = m.inner.Start(e.process)
	if endErr := told.End(err); err != nil || endErr != nil {
		return explainStart(firstOfErrors(err, endErr))
	}
	pass := func(t frameType, p []byte) { _ = c.out.send(t, p) }
	if e.options.Detach {
		pass = func(frameType, []byte) {}
	}
	err = e.stdio.handOver(nil, pass)
	if err != nil { // Nobody else would wait for it.
		_ = e.process.Signal(unix.SIGKILL)
		_, _ = e.process.Wait()
	}
	return err
}

func firstOfErrors(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// leaveExec waits for the end of the process and of its output.
func (m *monitor) leaveExec(e *entry) int {
	state, err := e.process.Wait()
	e.stdio.drain()
	code := 255
	if state != nil {
		code = exitCode(state)
	} else if err == nil {
		code = 0
	}
	m.container.emit("exec_die", map[string]string{"execID": e.id, "exitCode": strconv.Itoa(code)})
	return code
}

// hearExec takes input, signals and sizes for the process until its command goes
// away. A process without a command goes on.
func (m *monitor) hearExec(c *caller, e *entry) {
	for {
		kind, payload, err := readFrame(c.conn)
		switch {
		case err != nil || kind == frameEOF:
			e.stdio.endInput()
		case kind == frameInput:
			e.stdio.takeInput(piece{payload, func() { _ = c.out.send(frameTaken, nil) }})
		case kind == frameDetach:
			m.container.emit("exec_detach", map[string]string{"execID": e.id})
		default:
			obey(kind, payload, func(size windowSize) { _ = e.stdio.console.resize(size) }, func(s unix.Signal) error { return e.process.Signal(s) })
		}
		if err != nil {
			return
		}
	}
}

// overlayEnv puts variables over others of the same name.
func overlayEnv(base, over []string) []string {
	env := append([]string(nil), base...)
	for _, entry := range over {
		env = setEnv(env, entry)
	}
	return env
}

// execSteps tells what libcontainer (runc 1.5.2) does to start a process in a
// container that runs, in its order: see its nsexec.c and setns_init_linux.go.
func execSteps(host cgroups.Host, path string, pid int, config configs.Config, p *libcontainer.Process) []steps.Step {
	t := &inside{host: host, config: &config, process: p}
	t.enteringProcess(path)
	t.joinNamespaces(pid)
	t.list = append(t.list, cgroups.EnterSteps(host, path)...)
	t.ownRlimit()
	t.add(keyringStep(filepath.Base(path), "Join a new session keyring: this process gets none of the monitor's keys."))
	t.terminal("Open a pseudo-terminal in the container's /dev/pts for this process alone, and send its other end to the monitor, who is then what a screen and a keyboard would be.")
	t.privileges()
	t.add(steps.Step{
		Kind: "exec", Target: p.Args[0],
		Why:   "Become the program: the same process, a new text, and the container's world around it.",
		Call:  []string{execCall(filepath.Join("/proc", strconv.Itoa(pid), "root"), p)},
		Shell: []string{"exec " + shellWords(p.Args)},
		Man:   "execve(2)",
	})
	return t.list
}

// enteringProcess: in a group of cgroup v2 it is born, so that it costs its limits
// from the first instruction on; on version 1 it is moved there later.
func (t *inside) enteringProcess(path string) {
	t.list = append(t.list, steps.Step{
		Kind: "process", Target: "exec",
		Why:  "Start minidock once more: that process will step into the container, and then become the program.",
		Call: []string{cgroups.BirthCall(t.host, path), `execve("/proc/self/fd/FD", …)`},
		See:  "ps -e -o pid,ppid,args | grep 'runc:'", Man: "clone(2), execve(2)",
	})
}

// joinNamespaces goes through the namespaces in libcontainer's order, which
// leaves out those that this kernel does not have.
func (t *inside) joinNamespaces(pid int) {
	var calls, options []string
	for _, kind := range configs.NamespaceTypes() {
		flag, option := namespaceFlags(kind)
		if !t.config.Namespaces.Contains(kind) || !configs.IsNamespaceSupported(kind) {
			continue
		}
		calls = append(calls, fmt.Sprintf("setns(%s, %s)", configs.NsName(kind), flag))
		options = append(options, strings.TrimSuffix(option, " --fork"))
	}
	t.add(steps.Step{
		Kind: "namespace", Target: fmt.Sprintf("of process %d", pid),
		Why:   "Step into the namespaces of the container's first process: from here on this process sees what the container sees. Its child is born into the PID namespace.",
		Call:  append(append([]string{"clone(CLONE_PARENT|SIGCHLD)"}, calls...), "clone(CLONE_PARENT|SIGCHLD)"),
		Shell: []string{fmt.Sprintf("nsenter --target %d %s sh", pid, strings.Join(options, " "))},
		See:   fmt.Sprintf("lsns --task %d", pid), Man: "setns(2), namespaces(7)",
	})
	t.session("Be root in there, user 0 and group 0, and lead a session of its own, apart from the monitor's.")
}
