package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// view is a look at a container's files from outside, through a thread that sees
// nothing else: see [confine]. A container that does not run is mounted for as
// long as the view is open, under its lock, as steps of its ledger; what runs is
// mounted already, and its monitor holds the lock.
type view struct {
	container *Container
	tell      func(steps.Record)
	// calls reach the confined thread; using keeps it there while it works.
	calls chan func()
	using sync.RWMutex
	// held and ledger are nil where somebody else keeps the mount.
	held   *lock
	ledger *steps.Ledger
	// told counts the steps that no ledger numbers.
	told int
}

// kindView is the step in which a thread goes into a container's root. It makes
// nothing that outlives the thread.
const kindView steps.Kind = "view"

// openView finds a container and opens a view of it; the caller closes it. Where
// covered, the files that minidock mounts into every container (/etc/hosts and
// its like) are in it, else the empty ones below them. tell may be nil.
func openView(ctx context.Context, l Layout, ref string, covered bool, tell func(steps.Record)) (*view, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	c, err := Find(l, ref)
	if err != nil {
		return nil, err
	}
	if tell == nil {
		tell = func(steps.Record) {}
	}
	v := &view{container: c, tell: tell}
	return v, v.await(ctx, covered)
}

// viewPatience is how long a view waits for another command that has the
// container's lock: it may be a long copy.
const viewPatience = 5 * time.Minute

// await opens the view as soon as it can.
func (v *view) await(ctx context.Context, covered bool) error {
	deadline := time.After(viewPatience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := v.open(covered)
		if !errors.Is(err, errBusy) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return &steps.Fault{
				Msg:  fmt.Sprintf("container %s is busy: another command works on it", v.container.Config.Name),
				Hint: "Try again when that has ended.", Err: err,
			}
		}
	}
}

// open tries once. errBusy says that somebody else works on the container.
func (v *view) open(covered bool) error {
	held, err := tryLock(v.container.layout, v.container.Config.ID)
	if err == nil {
		err = v.prepare(held)
	}
	if errors.Is(err, errBusy) && v.keptByMonitor() {
		err = nil
	}
	if err == nil {
		covers := v.covers(covered)
		err = v.step(v.enterStep(covers), func() error { return v.enter(covers) })
	}
	if err != nil {
		return errors.Join(err, v.close())
	}
	return nil
}

// keptByMonitor says whether the container's monitor has the lock and the mount:
// another view has them only for a while.
func (v *view) keptByMonitor() bool {
	c, err := load(v.container.layout, v.container.Config.ID)
	return err == nil && c.Live != nil && mountedOver(v.merged())
}

// prepare mounts the files of a container that does not run. One that does, with
// a dead monitor, is mounted, and needs no lock.
func (v *view) prepare(held *lock) error {
	c, err := load(v.container.layout, v.container.Config.ID)
	if err == nil && c.Live != nil && !c.Running() {
		c, err = settle(c)
	}
	if err != nil || c.Running() {
		held.release()
		return orNoContainer(err, v.container.Config.Name)
	}
	v.container, v.held = c, held
	if v.ledger, err = steps.Open(c.layout.Ledger(c.Config.ID), v.tell); err != nil {
		return err
	}
	if err := c.tellLock(held, v.tell); err != nil {
		return err
	}
	// A view that was killed has left its mount.
	if err := v.ledger.Undo(Undos(), steps.Boot); err != nil {
		return err
	}
	return images.Mount(v.ledger, c.Config.Layers, c.dir())
}

func (v *view) merged() string { return filepath.Join(v.container.dir(), "merged") }

// mountedOver says whether something is mounted on a directory: it then lies on
// another file system than its parent.
func mountedOver(dir string) bool {
	own, err1 := device(dir)
	parent, err2 := device(filepath.Dir(dir))
	return err1 == nil && err2 == nil && own != parent
}

// step does and tells a step: through the ledger where the view has it.
func (v *view) step(s steps.Step, act func() error) error {
	if v.ledger != nil {
		return v.ledger.Do(s, act)
	}
	v.told++
	r := steps.Record{Step: s, N: v.told, Begun: time.Now().UTC(), State: steps.Begun}
	v.tell(r)
	err := act()
	r.State, r.Took = steps.Done, time.Since(r.Begun)
	if err != nil {
		r.State, r.Error = steps.Failed, err.Error()
	}
	v.tell(r)
	return err
}

// enter starts the confined thread.
func (v *view) enter(covers []coverFile) error {
	calls, entered := make(chan func()), make(chan error)
	go func() {
		// What can go wrong is said before it ends.
		_ = netns.OnThrownThread(func() error {
			err := confine(v.merged(), covers)
			entered <- err
			if err != nil {
				return err
			}
			for call := range calls {
				call()
			}
			return nil
		})
	}()
	err := <-entered
	if err == nil {
		v.calls = calls
	}
	return err
}

// do has the confined thread do something. Every path that it uses begins at the
// container's root. It must not start goroutines that use paths: those see the
// host's.
func (v *view) do(act func() error) error {
	v.using.RLock()
	defer v.using.RUnlock()
	if v.calls == nil {
		return fs.ErrClosed
	}
	done := make(chan error, 1)
	v.calls <- func() { done <- act() }
	return <-done
}

// close ends the thread and takes back what open made.
func (v *view) close() error {
	v.leave()
	if v.held == nil {
		return nil
	}
	defer v.held.release()
	var err error
	if v.ledger != nil {
		err = undoView(v.container, v.ledger)
	}
	v.held, v.ledger = nil, nil
	return err
}

// leave ends the confined thread when it has done what it is doing.
func (v *view) leave() {
	v.using.Lock()
	defer v.using.Unlock()
	if v.calls != nil {
		close(v.calls)
		v.calls = nil
	}
}

// undoView takes back the mount of a view, and leaves the story of the last run
// as it was. The caller holds the container's lock.
func undoView(c *Container, ledger *steps.Ledger) error {
	err := ledger.Undo(Undos(), steps.Boot)
	only := onlyViews(ledger.Records())
	if err := errors.Join(err, ledger.Close()); err != nil || !only {
		return err
	}
	return undoFile(c.layout.Ledger(c.Config.ID).Boot)
}

// onlyViews says whether all that a ledger knows of this boot are views.
func onlyViews(records []steps.Record) bool {
	for _, r := range records {
		if r.Lifetime == steps.Boot && r.Kind != kindView && r.Kind != images.KindMount {
			return false
		}
	}
	return true
}
