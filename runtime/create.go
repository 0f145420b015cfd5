package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/steps"
)

// defaultPath is the PATH that Docker gives where the image sets none.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Create makes a container without starting it. created is told its ID, and
// tell, when not nil, hears every step.
func Create(l Layout, o Options, created func(id string) error, tell func(steps.Record)) (*Container, error) {
	d, err := draw(l, o, tell)
	if err == nil {
		err = d.finish(d.makeAnd(created))
	}
	if err != nil {
		return nil, explainDiskFull(err)
	}
	return d.container, nil
}

// draft is a container in the making: decided, locked, its ledger open.
type draft struct {
	container *Container
	ledger    *steps.Ledger
	held      *lock
	tell      func(steps.Record)
}

// draw decides everything about a new container, and makes the one directory
// whose lock keeps everybody else away from it.
func draw(l Layout, o Options, tell func(steps.Record)) (*draft, error) {
	c := &Container{layout: l}
	if err := c.configure(o); err != nil {
		return nil, err
	}
	ledger, err := steps.Open(l.Ledger(c.Config.ID), tell)
	if err != nil {
		return nil, err
	}
	d := &draft{container: c, ledger: ledger, tell: tell}
	if err := ledger.Do(flockStep(c.run(), true), func() error { return os.MkdirAll(c.run(), 0o700) }); err != nil {
		return nil, d.finish(err)
	}
	if d.held, err = tryLock(l, c.Config.ID); err != nil {
		return nil, d.finish(err)
	}
	return d, nil
}

// release lets go of a container that is there to stay.
func (d *draft) release() error {
	defer d.held.release()
	return d.ledger.Close()
}

// finish releases a draft; with an error it first takes back all that was made.
func (d *draft) finish(cause error) error {
	defer d.held.release()
	if cause == nil {
		return d.release()
	}
	undone := d.ledger.Undo(Undos(), steps.Boot, steps.Kept)
	return errors.Join(cause, undone, d.ledger.Remove(), os.RemoveAll(d.container.run()))
}

// flockStep tells the lock of a container, whose run directory is made for it
// where it isn't there.
func flockStep(dir string, makes bool) steps.Step {
	s := steps.Step{
		Kind: "lock", Target: dir,
		Why:   "Lock the container's directory for what should not outlive a reboot: that keeps other minidock commands away from this container.",
		Call:  []string{fmt.Sprintf("flock(%q, LOCK_EX|LOCK_NB)", dir)},
		Shell: []string{"flock --nonblock " + steps.ShellQuote(dir) + " sh"},
		See:   "lslocks", Man: "flock(2)",
	}
	if makes {
		s.Why = "Make a directory in memory for what should not outlive a reboot; locking it keeps other minidock commands away from this container."
		s.Call = append([]string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", dir)}, s.Call...)
		s.Shell = append([]string{"mkdir -p -m 700 " + steps.ShellQuote(dir)}, s.Shell...)
		s.Undo, s.See, s.Man = "rm -r "+steps.ShellQuote(dir), "ls -ld "+steps.ShellQuote(dir)+"; lslocks", "mkdir(2), flock(2)"
	}
	return s
}

// configure decides everything about the container before anything is made.
func (c *Container) configure(o Options) error {
	if err := needRoot(); err != nil {
		return err
	}
	image, err := images.Open(c.layout.Root).Resolve(o.Image)
	if err != nil {
		return err
	}
	c.Config = Config{
		ID: newID(), Name: strings.TrimPrefix(o.Name, "/"), Created: time.Now().UTC(),
		Image: o.Image, ImageID: image.ID, Layers: image.Layers, IDFile: o.IDFile,
		Labels:      mixLabels(image.Config.Config.Labels, o.Labels),
		Interactive: o.Interactive, AutoRemove: o.AutoRemove, ReadOnly: o.ReadOnly, Init: o.Init, Privileged: o.Privileged,
		Tty: o.Tty, StdinOnce: o.StdinOnce, StopSignal: firstOf(o.StopSignal, image.Config.Config.StopSignal), StopTimeout: o.StopTimeout,
		Restart: o.Restart, Log: o.Log,
		CapAdd: o.CapAdd, CapDrop: o.CapDrop, SecurityOpt: o.SecurityOpt,
		Ulimits: o.Ulimits, Limits: o.Limits,
		Hostname: o.Hostname,
		User:     firstOf(o.User, image.Config.Config.User),
		Workdir:  firstOf(o.Workdir, image.Config.Config.WorkingDir, "/"),
	}
	if c.unnamed = o.Name == ""; c.unnamed {
		c.Config.Name = freeName(c.layout)
	}
	if err := c.Config.decideNetwork(c.layout, o.Network, image.Config.Config); err != nil {
		return err
	}
	if c.Config.Hostname == "" {
		c.Config.Hostname = short(c.Config.ID)
	}
	c.Config.Env = mixEnv(c.Config.Hostname, terminalEnv(o.Tty), image.Config.Config.Env, o.Env)
	c.Config.Args, err = commandOf(image.Config.Config, o)
	if err != nil {
		return err
	}
	return c.Config.check()
}

// maxHostname is HOST_NAME_MAX of Linux, in bytes (sethostname(2)).
const maxHostname = 64

// check refuses what can't work, before anything is made.
func (c *Config) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if len(c.Hostname) > maxHostname {
		return &steps.Fault{Msg: fmt.Sprintf("invalid hostname: %d characters", len(c.Hostname)), Hint: fmt.Sprintf("The kernel takes at most %d.", maxHostname), Code: 125}
	}
	if !filepath.IsAbs(c.Workdir) {
		return &steps.Fault{Msg: fmt.Sprintf("the working directory '%s' is invalid, it needs to be an absolute path", c.Workdir), Hint: "Begin it with /.", Code: 125}
	}
	if c.AutoRemove && c.Restart.Name != "" && c.Restart.Name != "no" {
		return &steps.Fault{Msg: "conflicting options: cannot specify both --restart and --rm", Hint: "Leave one of them out.", Code: 125}
	}
	if c.StopSignal != "" {
		if _, err := ParseSignal(c.StopSignal); err != nil {
			return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 125, Err: err}
		}
	}
	if c.Init && tiniPath() == "" {
		return &steps.Fault{Msg: "--init needs tini-static, which is not installed", Hint: "Install it: apt-get install tini", Code: 125}
	}
	if err := c.Log.check(); err != nil {
		return err
	}
	if _, err := capabilitiesOf(c.CapAdd, c.CapDrop, c.Privileged); err != nil {
		return err
	}
	var err error
	if c.NoNewPrivileges, c.Seccomp, err = securityOf(c.SecurityOpt); err != nil {
		return err
	}
	host, err := cgroups.Probe()
	if err != nil {
		return err
	}
	return c.Limits.Check(host)
}

// make is what a container is before it is started: a directory, a name, three
// files, a configuration. config.json comes last: without it there is no
// container, so a killed create leaves nothing that looks like one.
func (d *draft) make() error {
	c, l := d.container, d.container.layout
	if err := os.MkdirAll(l.Containers(), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	dir := c.dir()
	err := d.ledger.Do(steps.Step{
		Kind: "directory", Target: dir, Lifetime: steps.Kept,
		Why:   "Give the container a directory of its own for its settings, its log and the layer that it may write to.",
		Call:  []string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", dir)},
		Shell: []string{"mkdir -m 700 " + dir},
		Undo:  "rm -r " + dir,
		See:   "ls -l " + dir,
		Man:   "mkdir(2)",
	}, func() error { return os.Mkdir(dir, 0o700) })
	if err != nil {
		return err
	}
	if err := c.takeName(d.ledger); err != nil {
		return err
	}
	if err := d.joinNetworks(); err != nil {
		return err
	}
	// A container that removes itself has nothing to tell after a power cut.
	if err := writeJSON(filepath.Join(dir, configFile), c.Config, durable(!c.Config.AutoRemove)); err != nil {
		return err
	}
	c.emit("create", nil)
	return nil
}

// makeAnd makes the container and tells its ID to whoever wants to know.
func (d *draft) makeAnd(created func(id string) error) error {
	if err := d.make(); err != nil || created == nil {
		return err
	}
	return created(d.container.Config.ID)
}

// commandOf mixes entrypoint and command of the image and of the user as Docker
// does: a new entrypoint also drops the image's command.
func commandOf(image v1.Config, o Options) ([]string, error) {
	entrypoint, command := image.Entrypoint, image.Cmd
	if o.EntrypointSet {
		entrypoint, command = o.Entrypoint, nil
	}
	if len(o.Command) > 0 {
		command = o.Command
	}
	args := slices.Concat(entrypoint, command)
	if len(args) == 0 {
		return nil, &steps.Fault{Msg: "no command specified", Hint: "The image has no default command: give one after the image's name.", Code: 125}
	}
	return args, nil
}

// terminalEnv is what Docker tells programs of their terminal.
func terminalEnv(tty bool) []string {
	if !tty {
		return nil
	}
	return []string{"TERM=xterm"}
}

// mixEnv puts Docker's own variables first, then the image's, then the user's;
// a later value replaces an earlier one in place, and a name alone takes it away.
func mixEnv(hostname string, lists ...[]string) []string {
	env := []string{defaultPath, "HOSTNAME=" + hostname}
	for _, entry := range slices.Concat(lists...) {
		env = setEnv(env, entry)
	}
	return env
}

func setEnv(env []string, entry string) []string {
	key, _, hasValue := strings.Cut(entry, "=")
	at := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
	switch {
	case hasValue && at >= 0:
		env[at] = entry
	case hasValue:
		env = append(env, entry)
	case at >= 0:
		env = slices.Delete(env, at, at+1)
	}
	return env
}

func mixLabels(image, user map[string]string) map[string]string {
	mixed := map[string]string{}
	for _, labels := range []map[string]string{image, user} {
		for k, v := range labels {
			mixed[k] = v
		}
	}
	return mixed
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
