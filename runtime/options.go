package runtime

import "github.com/minidock/minidock/cgroups"

// Options is what a user asks of a new container; the image's own defaults are
// not yet mixed in.
type Options struct {
	Image   string
	Command []string

	Name, Hostname, Workdir, User string
	// IDFile is where the command writes the ID, for inspect to show.
	IDFile string
	// Entrypoint replaces the image's where EntrypointSet; empty then clears it.
	Entrypoint    []string
	EntrypointSet bool
	// Env holds "KEY=value" entries, later ones winning; "KEY" alone takes the
	// image's variable away.
	Env    []string
	Labels map[string]string

	Interactive, AutoRemove, ReadOnly, Init, Privileged bool
	// Tty gives the container a terminal; StdinOnce ends its input when the first
	// command that was attached to it goes.
	Tty, StdinOnce bool
	// StopSignal is what stop sends first, by name or number; empty means SIGTERM.
	StopSignal string
	// StopTimeout is how many seconds stop waits before it kills; nil means
	// [DefaultStopTimeout], a negative number for ever.
	StopTimeout *int
	Restart     RestartPolicy
	Log         LogConfig

	CapAdd, CapDrop []string
	// SecurityOpt holds "no-new-privileges[=bool]" and "seccomp=FILE|unconfined|builtin".
	SecurityOpt []string
	Ulimits     []Ulimit
	Limits      cgroups.Limits
	Network     NetworkConfig
}

// Ulimit is one resource limit of the container's first process, inherited by
// its children; see setrlimit(2) for names and units.
type Ulimit struct {
	Name string
	Soft int64
	Hard int64
}

// LogConfig says where a container's output is kept.
type LogConfig struct {
	// Driver is "json-file" or "none"; empty means json-file.
	Driver string
	// Options are the driver's; json-file has max-size, max-file, labels, env, and
	// compress and mode with the one value that is the default anyway.
	Options map[string]string
}

// RestartPolicy says whether a container that has ended is started again.
type RestartPolicy struct {
	// Name is "no", "on-failure", "always" or "unless-stopped"; empty means no.
	Name string
	// MaximumRetryCount bounds on-failure; 0 means without end.
	MaximumRetryCount int
}

// DefaultStopTimeout is how many seconds stop waits before it kills (Docker's default).
const DefaultStopTimeout = 10
