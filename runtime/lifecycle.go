package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Start starts a container that is not running, as [Run] does a new one. One that
// runs already is no error, as in Docker; with streams to attach it is attached to.
func Start(l Layout, ref string, s Streams) (int, error) {
	c, err := Find(l, ref)
	if err != nil {
		return 0, err
	}
	var monitor *monitorConn
	for end := time.Now().Add(lockPatience); ; {
		switch c.Status() {
		case "paused":
			return 0, &steps.Fault{Msg: "cannot start a paused container, try unpause instead", Hint: "minidock unpause " + c.Config.Name}
		case "running", "restarting":
			if s.Detach {
				return 0, nil
			}
			return Attach(l, ref, s)
		}
		monitor, err = c.begin(s.Tell)
		if !errors.Is(err, errBusy) || time.Now().After(end) {
			break
		}
		c, err = loadSettled(l, c.Config.ID) // Somebody else may be starting it.
		if err != nil {
			return 0, orNoContainer(err, ref)
		}
	}
	if err != nil {
		return 0, explainDiskFull(err)
	}
	code, err := monitor.start(c, s)
	return code, errors.Join(err, monitor.leave(l))
}

// begin forks a monitor for a container that is there already.
func (c *Container) begin(tell func(steps.Record)) (*monitorConn, error) {
	d, err := c.lockStopped(tell, lockStep)
	if err != nil {
		return nil, err
	}
	monitor, err := d.lead()
	if err != nil {
		undone := d.ledger.Undo(Undos(), steps.Boot)
		err = errors.Join(err, undone, undoFile(c.layout.Ledger(c.Config.ID).Boot), os.RemoveAll(c.run()))
	}
	return monitor, errors.Join(err, d.release())
}

// lockStopped takes the lock and opens the ledger of a container that has no
// monitor and does not run, and looks at it once more, now that nobody else can
// change it.
func (c *Container) lockStopped(tell func(steps.Record), patience time.Duration) (*draft, error) {
	held, err := takeLock(c.layout, c.Config.ID, patience)
	if errors.Is(err, errBusy) {
		return nil, busy(c)
	}
	if err != nil {
		return nil, err
	}
	now, err := load(c.layout, c.Config.ID)
	switch {
	case err != nil:
		err = orNoContainer(err, c.Config.Name)
	case now.Live != nil:
		err = &steps.Fault{Msg: "container " + now.Config.Name + " was started by another command", Hint: "See `minidock ps`.", Err: errBusy}
	}
	var ledger *steps.Ledger
	if err == nil {
		ledger, err = steps.Open(c.layout.Ledger(c.Config.ID), tell)
	}
	if err != nil {
		held.release()
		return nil, err
	}
	return &draft{container: now, ledger: ledger, held: held}, nil
}

// lead forks the monitor. What a killed command left mounted would lie under the
// new mount: it goes first.
func (d *draft) lead() (*monitorConn, error) {
	if err := d.ledger.Undo(Undos(), steps.Boot); err != nil {
		return nil, err
	}
	if err := d.ledger.Do(flockStep(d.container.run(), d.held.made), func() error { return nil }); err != nil {
		return nil, err
	}
	if err := cgroups.AnnounceMove(d.ledger); err != nil {
		return nil, err
	}
	return launch(d)
}

// orNoContainer says of state that is not there that there is no such container.
func orNoContainer(err error, ref string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return noContainer(ref)
	}
	return err
}

func noContainer(ref string) error {
	return &steps.Fault{Msg: "No such container: " + ref, Hint: "List them with `minidock ps -a`.", Err: ErrNoContainer}
}

// Attach connects to a running container's streams, until it ends or the user
// detaches. It returns the container's exit status.
func Attach(l Layout, ref string, s Streams) (int, error) {
	c, err := Find(l, ref)
	if err != nil {
		return 0, err
	}
	switch c.Status() {
	case "running":
	case "paused":
		return 0, &steps.Fault{Msg: "You cannot attach to a paused container, unpause it first", Hint: "minidock unpause " + c.Config.Name}
	case "restarting":
		return 0, &steps.Fault{Msg: "You cannot attach to a restarting container, wait until it is running", Hint: "See `minidock ps -a`."}
	default:
		return 0, &steps.Fault{Msg: "You cannot attach to a stopped container, start it first", Hint: "minidock start -a " + c.Config.Name}
	}
	return c.ask(request{Op: opAttach, Attach: true, Input: s.In != nil, Explain: s.Tell != nil}, s)
}

// Exec runs another process in a running container, and returns its exit status.
func Exec(l Layout, ref string, o ExecOptions, s Streams) (int, error) {
	c, err := Find(l, ref)
	if err != nil {
		return 0, err
	}
	if err := c.needProgram(); err != nil {
		return 0, err
	}
	s.Detach = o.Detach
	return c.ask(request{Op: opExec, Exec: &o, Explain: s.Tell != nil}, s)
}

// ask sends one request to the container's monitor, and stays for the answer. A
// monitor that is gone when the request comes has recorded the end.
func (c *Container) ask(r request, s Streams) (int, error) {
	for again := true; ; again = false {
		monitor, err := c.reach()
		if err != nil {
			return 0, err
		}
		code, err := monitor.converse(c, r, s)
		_ = monitor.conn.Close() // All that belongs to it has been said.
		if !errors.Is(err, errMonitorDied) || monitor.heard {
			return code, err
		}
		now, loadErr := loadSettled(c.layout, c.Config.ID)
		if loadErr == nil && !now.Running() {
			return 0, notRunning(now)
		}
		// It was dying when we came. What may be done twice is asked of a stand-in.
		if !again || r.Op == opExec || r.Op == opAttach {
			return code, err
		}
	}
}

// act is for requests that have no streams.
func (c *Container) act(r request, tell func(steps.Record)) error {
	r.Explain = tell != nil
	_, err := c.ask(r, Streams{Tell: tell, KeepSignals: true})
	return err
}

// Stop ends a container: its stop signal (or signal, if not 0), timeout seconds of
// patience (nil: the container's own; below 0: for ever), and then SIGKILL. A
// container that does not run is no error.
func Stop(l Layout, ref string, signal unix.Signal, timeout *int, tell func(steps.Record)) error {
	c, err := Find(l, ref)
	if err != nil || c.settled() {
		return err // While its end is being recorded, there is somebody to wait for.
	}
	err = c.act(request{Op: opStop, Signal: int(signal), Timeout: timeout}, tell)
	if errors.Is(err, errNotRunning) {
		err = nil
	}
	return errors.Join(err, cgroups.RemoveUnused(l.Instance))
}

// Kill sends a signal to a running container.
func Kill(l Layout, ref string, signal unix.Signal, tell func(steps.Record)) error {
	err := onRunning(l, ref, request{Op: opKill, Signal: int(signal)}, tell)
	if err != nil {
		return &steps.Fault{Msg: fmt.Sprintf("Cannot kill container: %s: %v", ref, err), Hint: steps.HintOf(err), Err: err}
	}
	return nil
}

// Pause freezes a running container.
func Pause(l Layout, ref string, tell func(steps.Record)) error {
	return onRunning(l, ref, request{Op: opPause}, tell)
}

// Unpause lets a paused container go on.
func Unpause(l Layout, ref string, tell func(steps.Record)) error {
	err := onRunning(l, ref, request{Op: opUnpause}, tell)
	if errors.Is(err, errNotRunning) {
		if c, findErr := Find(l, ref); findErr == nil {
			return notPaused(c)
		}
	}
	return err
}

// onRunning asks something of a container that has to be running.
func onRunning(l Layout, ref string, r request, tell func(steps.Record)) error {
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	if !c.Started() {
		return notRunning(c)
	}
	return c.act(r, tell)
}

// Restart stops a container, if it runs, and starts it. One that goes when it stops is
// refused.
func Restart(l Layout, ref string, signal unix.Signal, timeout *int, tell func(steps.Record)) error {
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	if c.Started() && c.Config.AutoRemove {
		return &steps.Fault{
			Msg:  "Cannot restart container " + ref + ": it was made with --rm, and is removed when it stops",
			Hint: "Make it without --rm.",
		}
	}
	if err := Stop(l, ref, signal, timeout, tell); err != nil {
		return err
	}
	if _, err := Start(l, ref, Streams{Detach: true, Tell: tell}); err != nil {
		return err
	}
	c.emit("restart", nil)
	return nil
}

// Wait waits until a container does not run, and returns its exit status.
func Wait(l Layout, ref string) (int, error) {
	c, err := Find(l, ref)
	if err != nil {
		return 0, err
	}
	if !c.settled() { // Or its monitor is about to write down how it ended.
		code, err := c.ask(request{Op: opWait}, Streams{KeepSignals: true})
		if !errors.Is(err, errNotRunning) {
			return code, err
		}
		if c, err = Find(l, ref); err != nil {
			return 0, err
		}
	}
	if c.Exit == nil {
		return 0, nil // Never started: as in Docker, there is nothing to wait for.
	}
	return c.Exit.ExitCode, nil
}

// Rename gives a container another name.
func Rename(l Layout, ref, name string, tell func(steps.Record)) error {
	name = strings.TrimPrefix(name, "/")
	if err := checkName(name); err != nil {
		return err
	}
	c, err := Find(l, ref)
	if err != nil {
		return err
	}
	if c.Config.Name == name {
		return &steps.Fault{Msg: "Renaming a container with the same name as its current name", Hint: "Give another name."}
	}
	return c.change(request{Op: opRename, Name: name}, tell, func(d *draft) error { return d.container.rename(d.ledger, name) })
}

// change has a container's monitor change it, or does so itself where the container
// does not run; whether it does may change meanwhile.
func (c *Container) change(r request, tell func(steps.Record), itself func(*draft) error) error {
	end := time.Now().Add(lockPatience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		now, err := load(c.layout, c.Config.ID)
		if err != nil {
			return orNoContainer(err, c.Config.Name)
		}
		if now.Started() {
			err = now.act(r, tell)
		} else {
			err = now.changeStopped(tell, itself)
		}
		if !errors.Is(err, errNotRunning) && !errors.Is(err, errBusy) || time.Now().After(end) {
			return err
		}
		time.Sleep(wait)
	}
}

func (c *Container) changeStopped(tell func(steps.Record), itself func(*draft) error) error {
	d, err := c.lockStopped(tell, 0)
	if err != nil {
		return err
	}
	defer d.held.release()
	return errors.Join(d.container.tellLock(d.held, tell), itself(d), d.ledger.Close())
}
