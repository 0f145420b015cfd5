package runtime

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minidock/minidock/cgroups"
)

// Inspection is what `inspect` shows: Docker's structure and field names for all
// that minidock has, and Cgroup, which is ours.
type Inspection struct {
	// ID is spelled as Docker spells it in JSON.
	ID              string `json:"Id"`
	Created         Timestamp
	Path            string
	Args            []string
	State           StateInspection
	Image           string
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	LogPath         string
	Name            string
	RestartCount    int
	Driver          string
	Platform        string
	MountLabel      string
	ProcessLabel    string
	AppArmorProfile string
	HostConfig      HostConfig
	GraphDriver     GraphDriver
	Mounts          []string
	Config          ContainerConfig
	// SizeRw is the bytes of the container's own layer, SizeRootFs those of all
	// that it sees; nil where nobody asked.
	SizeRw          *int64            `json:",omitempty"`
	SizeRootFs      *int64            `json:",omitempty"`
	Cgroup          *CgroupInspection `json:",omitempty"`
	NetworkSettings NetworkSettings
}

// StateInspection is Docker's State object.
type StateInspection struct {
	Status                                       string
	Running, Paused, Restarting, OOMKilled, Dead bool
	Pid, ExitCode                                int
	Error                                        string
	StartedAt, FinishedAt                        Timestamp
	// Health is nil: there are no health checks yet.
	Health *struct{} `json:",omitempty"`
}

// Timestamp is a time that templates show as Docker's do: as it stands in JSON.
type Timestamp struct{ time.Time }

func (t Timestamp) String() string { return t.Format(time.RFC3339Nano) }

// HostConfig is Docker's HostConfig object, with what minidock knows of it.
type HostConfig struct {
	Binds, GroupAdd                        []string
	ContainerIDFile                        string
	IpcMode, PidMode, UTSMode, UsernsMode  string
	CgroupnsMode                           string
	LogConfig                              LogConfigInspection
	NetworkMode                            string
	PortBindings                           map[string][]PortBinding
	DNS                                    []string `json:"Dns"`
	DNSOptions                             []string `json:"DnsOptions"`
	DNSSearch                              []string `json:"DnsSearch"`
	ExtraHosts                             []string
	PublishAllPorts                        bool
	RestartPolicy                          RestartPolicy
	AutoRemove, Privileged, ReadonlyRootfs bool
	Init                                   *bool `json:",omitempty"`
	CapAdd, CapDrop, SecurityOpt           []string
	Ulimits                                []Ulimit
	MaskedPaths, ReadonlyPaths             []string
	NanoCpus                               int64
	CPUShares                              int64 `json:"CpuShares"`
	CPUPeriod                              int64 `json:"CpuPeriod"`
	CPUQuota                               int64 `json:"CpuQuota"`
	CpusetCpus                             string
	Memory, MemoryReservation, MemorySwap  int64
	MemoryHigh                             int64
	PidsLimit                              *int64
	ShmSize                                int64 // Bytes.
}

// LogConfigInspection is Docker's LogConfig object.
type LogConfigInspection struct {
	Type   string
	Config map[string]string
}

// GraphDriver tells where the root file system's layers are.
type GraphDriver struct {
	Name string
	Data map[string]string
}

// ContainerConfig is Docker's Config object.
type ContainerConfig struct {
	Hostname, Domainname         string
	User, Image, WorkingDir      string
	ExposedPorts                 map[string]struct{} `json:",omitempty"`
	AttachStdin, AttachStdout    bool
	AttachStderr, OpenStdin, Tty bool
	StdinOnce                    bool
	Env, Cmd                     []string
	Volumes                      map[string]struct{}
	OnBuild                      []string
	Labels                       map[string]string
	StopSignal                   string `json:",omitempty"`
	StopTimeout                  *int   `json:",omitempty"`
}

// CgroupInspection shows the container's group and its counters: live while it
// runs, the last ones afterwards.
type CgroupInspection struct {
	Path string
	*cgroups.Counters
}

// Status is Docker's word for the container's state.
func (c *Container) Status() string {
	switch {
	case c.Running() && c.Live.Paused:
		return "paused"
	case c.Running(), c.ending():
		return "running"
	case c.Live != nil && c.Live.Restarting:
		return "restarting"
	case c.Exit != nil && !c.Exit.StartedAt.IsZero():
		return "exited"
	}
	return "created" // Also one that could not be started, as in Docker.
}

// Inspect gathers what is known about a container.
func Inspect(c *Container) (Inspection, error) {
	cfg, dir := c.Config, c.dir()
	lower := slices.Clone(cfg.Layers)
	slices.Reverse(lower) // As overlayfs takes it: the topmost first.
	i := Inspection{
		ID: cfg.ID, Created: Timestamp{cfg.Created}, Path: cfg.Args[0], Args: cfg.Args[1:],
		State: c.state(), Image: cfg.ImageID,
		ResolvConfPath: filepath.Join(dir, "resolv.conf"), HostnamePath: filepath.Join(dir, "hostname"), HostsPath: filepath.Join(dir, "hosts"),
		LogPath: c.LogPath(), Name: "/" + cfg.Name, Driver: "overlayfs", Platform: "linux",
		HostConfig: hostConfigOf(cfg), Mounts: []string{},
		GraphDriver: GraphDriver{Name: "overlayfs", Data: map[string]string{
			"LowerDir": strings.Join(lower, ":"), "UpperDir": filepath.Join(dir, "upper"),
			"WorkDir": filepath.Join(dir, "work"), "MergedDir": filepath.Join(dir, "merged"),
		}},
		Config: ContainerConfig{
			Hostname: cfg.Hostname, Domainname: cfg.Network.Domainname, ExposedPorts: cfg.Network.exposed(), User: cfg.User, Image: cfg.Image, WorkingDir: cfg.Workdir,
			AttachStdin: cfg.Interactive, AttachStdout: true, AttachStderr: true,
			OpenStdin: cfg.Interactive, StdinOnce: cfg.StdinOnce, Tty: cfg.Tty,
			Env: cfg.Env, Cmd: cfg.Args, Labels: cfg.Labels,
			StopSignal: cfg.StopSignal, StopTimeout: cfg.StopTimeout,
		},
	}
	if c.Last != nil {
		i.RestartCount = c.Last.RestartCount
	}
	var err error
	if i.Cgroup, err = c.counters(); err != nil {
		return i, err
	}
	i.NetworkSettings, err = c.networkSettings()
	return i, err
}

// state is Docker's: one that waits for its restart counts as running, and its
// last end is shown.
func (c *Container) state() StateInspection {
	s := StateInspection{Status: c.Status()}
	s.Paused, s.Restarting = s.Status == "paused", s.Status == "restarting"
	s.Running = s.Paused || s.Restarting || s.Status == "running"
	if c.Exit != nil {
		s.StartedAt, s.FinishedAt = Timestamp{c.Exit.StartedAt}, Timestamp{c.Exit.FinishedAt}
	}
	switch {
	case s.Running && !s.Restarting:
		s.Pid, s.StartedAt, s.OOMKilled = c.Live.Pid, Timestamp{c.Live.StartedAt}, c.Live.OOMKilled
		if !locked(c.layout, c.Config.ID) {
			s.Error = "its monitor died: no log, and its exit status will be unknown"
		}
	case c.Exit != nil:
		s.ExitCode, s.OOMKilled, s.Error = c.Exit.ExitCode, c.Exit.OOMKilled, c.Exit.Error
	}
	return s
}

func hostConfigOf(c Config) HostConfig {
	h := HostConfig{
		ContainerIDFile: c.IDFile, IpcMode: "private", CgroupnsMode: "private",
		LogConfig: c.Log.inspect(), RestartPolicy: c.Restart.inspect(),
		NetworkMode: c.Network.Mode, AutoRemove: c.AutoRemove, Privileged: c.Privileged, ReadonlyRootfs: c.ReadOnly,
		CapAdd: c.CapAdd, CapDrop: c.CapDrop, SecurityOpt: c.SecurityOpt, Ulimits: c.Ulimits,
		MaskedPaths: maskedPaths(), ReadonlyPaths: readonlyPaths(),
		NanoCpus: c.Limits.NanoCPUs, CPUShares: c.Limits.CPUShares, CPUPeriod: c.Limits.CPUPeriod, CPUQuota: c.Limits.CPUQuota,
		CpusetCpus: c.Limits.CpusetCpus, Memory: c.Limits.Memory, MemoryReservation: c.Limits.MemoryReservation,
		MemorySwap: c.Limits.MemorySwap, MemoryHigh: c.Limits.MemoryHigh, ShmSize: shmSize,
	}
	h.showNetwork(c.Network)
	if c.Init {
		h.Init = &c.Init
	}
	if c.Limits.PidsLimit != 0 {
		h.PidsLimit = &c.Limits.PidsLimit
	}
	if c.Privileged {
		h.MaskedPaths, h.ReadonlyPaths = nil, nil
	}
	return h
}

// inspect names the driver and the policy that nothing said stands for.
func (l LogConfig) inspect() LogConfigInspection {
	return LogConfigInspection{Type: firstOf(l.Driver, "json-file"), Config: mixLabels(l.Options, nil)}
}

func (p RestartPolicy) inspect() RestartPolicy {
	p.Name = firstOf(p.Name, "no")
	return p
}

// counters reads the group of a running container, or what was kept of it.
func (c *Container) counters() (*CgroupInspection, error) {
	shown := &CgroupInspection{Path: c.layout.CgroupPath(c.Config.ID)}
	if !c.Running() {
		if c.Exit == nil || c.Exit.Cgroup == nil {
			return nil, nil
		}
		shown.Counters = c.Exit.Cgroup
		return shown, nil
	}
	host, err := cgroups.Probe()
	if err != nil || host.Mode != cgroups.Unified {
		return nil, err
	}
	counters, err := cgroups.Open(host, shown.Path).Counters()
	if err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	shown.Counters = &counters
	return shown, nil
}
