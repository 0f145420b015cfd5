package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// Config is what a container was made from: written by create, and changed by
// update, rename, network connect and network disconnect only.
type Config struct {
	ID      string
	Name    string
	Created time.Time
	// Image is the name asked for; ImageID the image it meant at that moment.
	Image, ImageID string
	// IDFile is the file that was given to --cidfile.
	IDFile string `json:",omitempty"`
	// Layers are the unpacked layers' directories, bottom first.
	Layers []string

	// Args is the whole command line: entrypoint, then command.
	Args                    []string
	Env                     []string
	Hostname, Workdir, User string
	Labels                  map[string]string

	Interactive, AutoRemove, ReadOnly, Init, Privileged bool
	Tty, StdinOnce                                      bool

	StopSignal  string
	StopTimeout *int `json:",omitempty"`
	Restart     RestartPolicy
	Log         LogConfig

	CapAdd, CapDrop []string
	NoNewPrivileges bool
	// Seccomp is "builtin", "unconfined" or the text of a profile.
	Seccomp     string
	SecurityOpt []string
	Ulimits     []Ulimit
	Limits      cgroups.Limits
	Network     NetworkConfig
}

// Live is the state of a container that has been started in this boot.
type Live struct {
	// Pid and PidStart name init beyond doubt: a pid is used again, but not with
	// the same start time (clock ticks since boot, proc_pid_stat(5) field 22).
	Pid      int
	PidStart uint64
	// Monitor and MonitorStart name the monitor.
	Monitor      int
	MonitorStart uint64
	StartedAt    time.Time
	OOMKilled    bool
	Paused       bool
	// Restarting says that there is no init at the moment: the last one has ended,
	// and the monitor waits until it is time for the next.
	Restarting bool
	// Ports are those of the host that lead to the container.
	Ports []netns.Publication `json:",omitempty"`
}

// LastRun is what has to be known of a container's last start after a reboot.
type LastRun struct {
	StartedAt time.Time
	// Boot names the boot of the machine in which it was.
	Boot string
	// RestartCount is how often the restart policy has started it since a user did.
	RestartCount int
	// StoppedByUser holds back the policy unless-stopped.
	StoppedByUser bool
}

// Exit records how a container ended.
type Exit struct {
	ExitCode   int
	OOMKilled  bool
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
	// Failed is when the last start failed, if it did: the times before are those of the
	// run before.
	Failed time.Time         `json:",omitzero"`
	Cgroup *cgroups.Counters `json:",omitempty"`
}

// follows says whether this is the end of what was started at a time, or of a later start.
func (e *Exit) follows(start time.Time) bool {
	return e != nil && (!e.StartedAt.Before(start) || !e.Failed.Before(start))
}

// Container is one container as its state files and the kernel show it.
type Container struct {
	Config Config
	Live   *Live
	Exit   *Exit
	Last   *LastRun
	layout Layout
	// unnamed says that the user gave no name, and so any will do.
	unnamed bool
}

const (
	configFile = "config.json"
	exitFile   = "exit.json"
	liveFile   = "live.json"
	lastFile   = "last.json"
	storyFile  = "story.json"
)

// LogPath is the container's json-file log, or empty where it keeps none.
func (c *Container) LogPath() string {
	if !c.Config.Log.readable() {
		return ""
	}
	return filepath.Join(c.dir(), c.Config.ID+"-json.log")
}

func (c *Container) dir() string { return c.layout.Container(c.Config.ID) }

func (c *Container) run() string { return c.layout.RunContainer(c.Config.ID) }

// Running says whether the container's program runs. One whose monitor died may
// still do so; an init that waits for a dead monitor does not. With its monitor
// alive, init is about to become the program, or has just been told to.
func (c *Container) Running() bool {
	return c.Live != nil && alive(c.Live.Pid, c.Live.PidStart) &&
		(!waiting(c.Live.Pid) || alive(c.Live.Monitor, c.Live.MonitorStart))
}

// ending says whether the program has ended, and its monitor has yet to write down how:
// until then the container counts as running, as in Docker, for whoever looks.
func (c *Container) ending() bool {
	return c.Live != nil && !c.Live.Restarting && !c.Running() && !c.recorded()
}

// load reads a container's state. A missing config.json means that there is no
// such container: create writes it last, remove deletes it first.
func load(l Layout, id string) (*Container, error) {
	c := &Container{layout: l}
	path := filepath.Join(l.Container(id), configFile)
	if err := steps.ReadState(path, &c.Config); err != nil {
		return nil, err
	}
	if c.Config.ID != id || len(c.Config.Args) == 0 {
		return nil, steps.Damaged(path, "it does not describe container "+short(id))
	}
	// In this order: an end is recorded before live.json goes, so whoever does not
	// find that any more finds the record.
	for _, file := range []struct {
		path string
		into any
	}{
		{filepath.Join(l.RunContainer(id), liveFile), &c.Live},
		{filepath.Join(l.Container(id), exitFile), &c.Exit},
		{filepath.Join(l.Container(id), lastFile), &c.Last},
	} {
		if err := steps.ReadState(file.path, file.into); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return c, nil
}

// durable says whether a state file must survive a power cut.
type durable bool

// writeJSON replaces a state file as a whole. Readers see the old or the new
// text, never a part; durable files are synced before the rename.
func writeJSON(path string, v any, sync durable) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state %s: %w", path, err)
	}
	text = append(text, '\n')
	if err := steps.ReplaceFile(path, text, bool(sync)); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}
