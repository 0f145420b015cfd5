package runtime

import "github.com/minidock/minidock/cgroups"

// Options is what a user asks of a new container; the image's own defaults are
// not yet mixed in.
type Options struct {
	Image   string
	Command []string

	Name, Hostname, Workdir, User string
	// Entrypoint replaces the image's where EntrypointSet; empty then clears it.
	Entrypoint    []string
	EntrypointSet bool
	// Env holds "KEY=value" entries, later ones winning; "KEY" alone takes the
	// image's variable away.
	Env    []string
	Labels map[string]string

	Interactive, AutoRemove, ReadOnly, Init, Privileged bool

	CapAdd, CapDrop []string
	// SecurityOpt holds "no-new-privileges[=bool]" and "seccomp=FILE|unconfined|builtin".
	SecurityOpt []string
	Ulimits     []Ulimit
	Limits      cgroups.Limits
}

// Ulimit is one resource limit of the container's first process, inherited by
// its children; see setrlimit(2) for names and units.
type Ulimit struct {
	Name string
	Soft int64
	Hard int64
}
