package runtime

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minidock/minidock/cgroups"
)

// Usage is what a running container has used up to one moment.
type Usage struct {
	At time.Time
	// Pid is that of its init, by which two runs are told apart: each counts anew.
	Pid int
	cgroups.Counters
	// MemoryLimit is in bytes; the host's memory where none is set.
	MemoryLimit uint64
	// IO is nil where the host does not count it.
	IO *cgroups.IOCounters
	// Net is nil where it could not be read.
	Net      *NetCounters
	Pressure cgroups.Pressure
}

// NetCounters are the bytes that went through a container's links, but for its
// loopback.
type NetCounters struct{ Received, Sent uint64 }

// Rates are what a container used between two moments.
type Rates struct {
	// CPU is in percent of one processor: two busy ones make 200.
	CPU float64
	// Throttled is in how many percent of the periods of its CPU limit it was
	// stopped, and ThrottledFor for how long, all processors added up.
	Throttled    float64
	ThrottledFor time.Duration
}

// Memory is what Docker shows as used: without the part of the page cache that
// goes first under pressure, in bytes.
func (u Usage) Memory() uint64 {
	return u.MemoryCurrent - min(u.MemoryInactiveFile, u.MemoryCurrent)
}

// Since compares with an earlier moment of the same run; another gives zeros.
func (u Usage) Since(before Usage) Rates {
	elapsed := u.At.Sub(before.At)
	if before.Pid != u.Pid || elapsed <= 0 || u.UsageUsec < before.UsageUsec {
		return Rates{}
	}
	r := Rates{
		CPU:          percent(float64(u.UsageUsec-before.UsageUsec), float64(elapsed.Microseconds())),
		ThrottledFor: time.Duration(u.ThrottledUsec-min(before.ThrottledUsec, u.ThrottledUsec)) * time.Microsecond,
	}
	periods := u.NrPeriods - min(before.NrPeriods, u.NrPeriods)
	r.Throttled = percent(float64(u.NrThrottled-min(before.NrThrottled, u.NrThrottled)), float64(periods))
	return r
}

func percent(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return part / whole * 100
}

// Reading is one container at one moment of a [Meter].
type Reading struct {
	Container *Container
	// Asked is the word by which the container was asked for, or its ID.
	Asked string
	// Usage is nil for a container that does not run.
	Usage *Usage
	Rates Rates
}

// Meter reads what containers use, again and again, and compares each reading
// with the one before.
type Meter struct {
	layout Layout
	all    bool
	// asked maps the IDs of the containers asked for to the words they were asked
	// for by; nil means that all are wanted which run.
	asked map[string]string
	last  map[string]Usage
}

// NewMeter is a meter for the containers with these names or IDs. Without any it
// looks each time which containers run; with all, which there are.
func NewMeter(l Layout, refs []string, all bool) (*Meter, error) {
	m := &Meter{layout: l, all: all, last: map[string]Usage{}}
	for _, ref := range refs {
		c, err := Find(l, ref)
		if err != nil {
			return nil, err
		}
		if m.asked == nil {
			m.asked = map[string]string{}
		}
		m.asked[c.Config.ID] = ref
	}
	return m, nil
}

// Read returns a reading of each container, newest first. A container that was
// removed since is left out. In the first reading all rates are 0.
func (m *Meter) Read() ([]Reading, error) {
	list, err := m.containers()
	if err != nil {
		return nil, err
	}
	host, err := cgroups.Probe()
	if err != nil {
		return nil, err
	}
	now := map[string]Usage{}
	var all []Reading
	for _, c := range list {
		r := Reading{Container: c, Asked: c.Config.ID}
		if ref, ok := m.asked[c.Config.ID]; ok {
			r.Asked = ref
		}
		if r.Usage, err = c.usage(host); err != nil {
			return nil, err
		}
		if r.Usage != nil {
			now[c.Config.ID] = *r.Usage
			r.Rates = r.Usage.Since(m.last[c.Config.ID])
		}
		all = append(all, r)
	}
	m.last = now
	return all, nil
}

func (m *Meter) containers() ([]*Container, error) {
	switch {
	case m.asked != nil:
		return loadAll(m.layout, slices.Collect(maps.Keys(m.asked)))
	case m.all:
		return List(m.layout)
	}
	return ListRunning(m.layout)
}

// usage reads what the container has used, or nil when it does not run or ends
// meanwhile.
func (c *Container) usage(host cgroups.Host) (*Usage, error) {
	if !c.Running() {
		return nil, nil
	}
	group := cgroups.Open(host, c.layout.CgroupPath(c.Config.ID))
	u := &Usage{At: time.Now(), Pid: c.Live.Pid}
	var err error
	if u.Counters, err = group.Counters(); err == nil {
		u.IO, err = group.IO()
	}
	if err != nil {
		if !alive(c.Live.Pid, c.Live.PidStart) {
			return nil, nil
		}
		return nil, fmt.Errorf("read what container %s uses: %w", c.Config.Name, err)
	}
	u.MemoryLimit, u.Pressure = group.MemoryLimit(), group.Pressure()
	// A process's own view is its network namespace's (proc_pid_net(5)).
	if text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(c.Live.Pid), "net/dev")); err == nil {
		net := parseNetDev(string(text))
		u.Net = &net
	}
	return u, nil
}

// parseNetDev adds up the links in a /proc/net/dev but for the loopback. Each has a
// line of its own: its name, a colon, and 16 numbers, of which the first counts
// received and the ninth sent bytes (proc_pid_net(5)).
func parseNetDev(text string) NetCounters {
	const received, sent = 0, 8
	var c NetCounters
	for line := range strings.Lines(text) {
		name, numbers, found := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		if !found || strings.TrimSpace(name) == "lo" || len(fields) <= sent {
			continue
		}
		in, err1 := strconv.ParseUint(fields[received], 10, 64)
		out, err2 := strconv.ParseUint(fields[sent], 10, 64)
		if errors.Join(err1, err2) == nil {
			c.Received, c.Sent = c.Received+in, c.Sent+out
		}
	}
	return c
}
