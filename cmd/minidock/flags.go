package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// runFlags are create's, and those that say how this command goes along with the
// container.
func runFlags() []cli.Flag {
	return append(createFlags(),
		&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "Run container in background and print container ID", DisableDefaultText: true},
		detachKeysFlag(),
		&cli.BoolFlag{Name: "sig-proxy", Usage: "Proxy received signals to the process", Value: true},
	)
}

// createFlags are the flags that decide what a new container is. Names and words
// are Docker's, but for --explain and --memory-high, which Docker has not.
func createFlags() []cli.Flag {
	return slices.Concat(
		inCategory("", identityFlags()),
		inCategory("Process:", processFlags()),
		inCategory("Limits:", limitFlags()),
		inCategory("Network:", flagsOfNetworks()),
		inCategory("Isolation:", isolationFlags()),
	)
}

func identityFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "cidfile", Usage: "Write the container ID to the file"},
		explainFlag(),
		&cli.StringFlag{Name: "hostname", Aliases: []string{"h"}, Usage: "Container host name"},
		&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "Keep STDIN open even if not attached"},
		list("label", "l", "Set meta data on a container"),
		&cli.StringFlag{Name: "log-driver", Usage: "Logging driver for the container"},
		list("log-opt", "", "Log driver options"),
		&cli.StringFlag{Name: "name", Usage: "Assign a name to the container"},
		&cli.StringFlag{Name: "restart", Usage: "Restart policy to apply when a container exits: no, on-failure[:max-retries], always, unless-stopped"},
		&cli.BoolFlag{Name: "rm", Usage: "Automatically remove the container when it exits"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "Allocate a pseudo-TTY"},
	}
}

func processFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "entrypoint", Usage: "Overwrite the default ENTRYPOINT of the image"},
		list("env", "e", "Set environment variables"),
		list("env-file", "", "Read in a file of environment variables"),
		&cli.BoolFlag{Name: "init", Usage: "Run an init inside the container that forwards signals and reaps processes"},
		&cli.StringFlag{Name: "stop-signal", Usage: "Signal to stop the container"},
		&cli.IntFlag{Name: "stop-timeout", Usage: "Timeout (in seconds) to stop a container", DefaultText: strconv.Itoa(runtime.DefaultStopTimeout)},
		list("ulimit", "", "Ulimit options"),
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "Username or UID (format: <name|uid>[:<group|gid>])"},
		&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "Working directory inside the container"},
	}
}

func limitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Int64Flag{Name: "cpu-period", Usage: "Limit CPU CFS (Completely Fair Scheduler) period"},
		&cli.Int64Flag{Name: "cpu-quota", Usage: "Limit CPU CFS (Completely Fair Scheduler) quota"},
		&cli.Int64Flag{Name: "cpu-shares", Aliases: []string{"c"}, Usage: "CPU shares (relative weight)"},
		&cli.StringFlag{Name: "cpus", Usage: "Number of CPUs"},
		&cli.StringFlag{Name: "cpuset-cpus", Usage: "CPUs in which to allow execution (0-3, 0,1)"},
		&cli.StringFlag{Name: "memory", Aliases: []string{"m"}, Usage: "Memory limit"},
		&cli.StringFlag{Name: "memory-high", Usage: "Slow the container down beyond this much memory (Docker has no such flag)"},
		&cli.StringFlag{Name: "memory-reservation", Usage: "Memory soft limit"},
		&cli.StringFlag{Name: "memory-swap", Usage: "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"},
		&cli.Int64Flag{Name: "pids-limit", Usage: "Tune container pids limit (set -1 for unlimited)"},
	}
}

func isolationFlags() []cli.Flag {
	return []cli.Flag{
		list("cap-add", "", "Add Linux capabilities"),
		list("cap-drop", "", "Drop Linux capabilities"),
		&cli.BoolFlag{Name: "privileged", Usage: "Give extended privileges to this container"},
		&cli.BoolFlag{Name: "read-only", Usage: "Mount the container's root filesystem as read only"},
		list("security-opt", "", "Security Options"),
	}
}

// list is a flag that can be repeated; its values are kept as they are, spaces
// and commas included.
func list(name, short, usage string) *cli.StringSliceFlag {
	f := &cli.StringSliceFlag{Name: name, Usage: usage, KeepSpace: true}
	if short != "" {
		f.Aliases = []string{short}
	}
	return f
}

// inCategory puts flags under one heading of the help, which leaves out defaults
// that say nothing, such as false.
func inCategory(heading string, flags []cli.Flag) []cli.Flag {
	for _, f := range flags {
		switch f := f.(type) {
		case *cli.BoolFlag:
			f.Category, f.DisableDefaultText = heading, true
		case *cli.Int64Flag:
			f.Category, f.DefaultText = heading, "none"
		case *cli.StringFlag:
			f.Category = heading
		case *cli.StringSliceFlag:
			f.Category = heading
		}
	}
	return flags
}

// runOptions reads the flags and arguments of run into what the runtime takes.
// Its errors are Docker's, with exit status 125.
func runOptions(c *cli.Context) (runtime.Options, error) {
	if c.NArg() == 0 {
		return runtime.Options{}, needsArguments(c, "at least 1 argument")
	}
	o := runtime.Options{
		Image: c.Args().First(), Command: c.Args().Tail(),
		Name: c.String("name"), IDFile: c.String("cidfile"), Hostname: c.String("hostname"), Workdir: c.String("workdir"), User: c.String("user"),
		EntrypointSet: c.IsSet("entrypoint"),
		Tty:           c.Bool("tty"), StopSignal: c.String("stop-signal"),
		Interactive: c.Bool("interactive"), AutoRemove: c.Bool("rm"), ReadOnly: c.Bool("read-only"),
		Init: c.Bool("init"), Privileged: c.Bool("privileged"),
		CapAdd: c.StringSlice("cap-add"), CapDrop: c.StringSlice("cap-drop"), SecurityOpt: c.StringSlice("security-opt"),
	}
	if entrypoint := c.String("entrypoint"); entrypoint != "" {
		o.Entrypoint = []string{entrypoint}
	}
	if c.IsSet("stop-timeout") {
		seconds := c.Int("stop-timeout")
		o.StopTimeout = &seconds
	}
	o.Log = logConfig(c.String("log-driver"), c.StringSlice("log-opt"))
	var errs [6]error
	o.Env, errs[0] = environment(c.StringSlice("env-file"), c.StringSlice("env"), os.LookupEnv)
	o.Labels, errs[1] = labels("-l, --label", c.StringSlice("label"))
	o.Ulimits, errs[2] = ulimits(c.StringSlice("ulimit"))
	o.Limits, errs[3] = limits(c)
	o.Restart, errs[4] = runtime.ParseRestartPolicy(c.String("restart"))
	errs[4] = outcome(0, errs[4], 125)
	o.Network, errs[5] = networkConfig(c)
	return o, firstError(errs[:])
}

// logConfig reads --log-driver and the "name=value" entries of --log-opt, a later
// one replacing an earlier.
func logConfig(driver string, entries []string) runtime.LogConfig {
	l := runtime.LogConfig{Driver: driver}
	for _, entry := range entries {
		if l.Options == nil {
			l.Options = map[string]string{}
		}
		name, value, _ := strings.Cut(entry, "=")
		l.Options[name] = value
	}
	return l
}

// firstError leaves the later ones for the next try: a message is one line.
func firstError(errs []error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

func limits(c *cli.Context) (cgroups.Limits, error) {
	l := cgroups.Limits{
		CPUQuota: c.Int64("cpu-quota"), CPUPeriod: c.Int64("cpu-period"), CPUShares: c.Int64("cpu-shares"),
		CpusetCpus: c.String("cpuset-cpus"), PidsLimit: c.Int64("pids-limit"),
	}
	for _, f := range []struct {
		name, title string
		read        func(string) (int64, error)
		into        *int64
	}{
		{"cpus", "--cpus", cgroups.ParseCPUs, &l.NanoCPUs},
		{"memory", "-m, --memory", cgroups.ParseBytes, &l.Memory},
		{"memory-swap", "--memory-swap", cgroups.ParseSwap, &l.MemorySwap},
		{"memory-reservation", "--memory-reservation", cgroups.ParseBytes, &l.MemoryReservation},
		{"memory-high", "--memory-high", cgroups.ParseBytes, &l.MemoryHigh},
	} {
		if !c.IsSet(f.name) {
			continue
		}
		value, err := f.read(c.String(f.name))
		if err != nil {
			return l, cgroups.InvalidArgument(f.title, c.String(f.name), err)
		}
		*f.into = value
	}
	return l, nil
}

// labels reads the values of a flag: "key=value", or "key" for an empty one.
func labels(flag string, values []string) (map[string]string, error) {
	all := map[string]string{}
	for _, v := range values {
		key, value, _ := strings.Cut(v, "=")
		var err error
		switch trimmed := strings.TrimLeft(key, " \t"); {
		case trimmed == "":
			err = fmt.Errorf("invalid label '%s': empty name", v)
		case strings.ContainsAny(trimmed, " \t"):
			err = fmt.Errorf("label '%s' contains whitespaces", trimmed)
		}
		if err != nil {
			return nil, invalidArgument(flag, v, err, "Write a label as name=value; the name has no spaces.")
		}
		all[key] = value
	}
	return all, nil
}

// ulimits reads --ulimit values: "name=soft[:hard]", -1 for unlimited. A later
// one for the same name replaces the earlier, as in Docker.
func ulimits(values []string) ([]runtime.Ulimit, error) {
	var all []runtime.Ulimit
	for _, v := range values {
		limit, err := ulimit(v)
		if err != nil {
			return nil, invalidArgument("--ulimit", v, err, "Write a limit as name=soft[:hard], such as nofile=1024:4096; names are in setrlimit(2), without RLIMIT_.")
		}
		all = slices.DeleteFunc(all, func(u runtime.Ulimit) bool { return u.Name == limit.Name })
		all = append(all, limit)
	}
	return all, nil
}

func ulimit(value string) (runtime.Ulimit, error) {
	u, err := units.ParseUlimit(value)
	if err != nil {
		return runtime.Ulimit{}, err
	}
	if u.Soft < -1 || u.Hard < -1 {
		return runtime.Ulimit{}, errors.New("a limit is a number from 0, or -1 for unlimited")
	}
	return runtime.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard}, nil
}

func invalidArgument(flag, value string, err error, hint string) error {
	return &steps.Fault{
		Msg: fmt.Sprintf("invalid argument %q for %q flag: %v", value, flag, err), Hint: hint, Code: 125, Err: err,
	}
}
