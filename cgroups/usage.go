package cgroups

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// IOCounters are what a group has read from and written to block devices, in
// bytes; what the page cache answered is not among it.
type IOCounters struct{ ReadBytes, WriteBytes uint64 }

// Pressure is the share of the last ten seconds, in percent, in which at least one
// task of the group stood still for want of a resource: "some avg10" in the
// kernel's Documentation/accounting/psi.rst. Nil where the kernel does not tell.
type Pressure struct{ CPU, Memory, IO *float64 }

// IO reads io.stat, or on version 1 what says the same. It is nil where the
// controller is not there.
func (g *Group) IO() (*IOCounters, error) {
	if g.host.Mode == Unified {
		text, err := readOptional(filepath.Join(g.Dir(), "io.stat"))
		if text == nil || err != nil {
			return nil, err
		}
		c := parseIOStat(*text)
		return &c, nil
	}
	dir := filepath.Join(g.host.Mountpoint, "blkio", g.path)
	for _, name := range []string{"blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"} {
		text, err := readOptional(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if text != nil {
			c := parseServiceBytes(*text)
			return &c, nil
		}
	}
	return nil, nil
}

// Pressure reads the pressure files of the group in the version 2 tree; a hybrid
// host has them too.
func (g *Group) Pressure() Pressure {
	dir := g.Dir()
	if g.host.Mode == Hybrid {
		dir = filepath.Join(g.host.Mountpoint, "unified", g.path)
	}
	read := func(resource string) *float64 {
		share, ok := parsePressure(readText(filepath.Join(dir, resource+".pressure")))
		if !ok {
			return nil
		}
		return &share
	}
	return Pressure{CPU: read("cpu"), Memory: read("memory"), IO: read("io")}
}

// MemoryLimit is the most memory that the group can have, in bytes: its own
// limit, or that of the host where that is less.
func (g *Group) MemoryLimit() uint64 {
	file := filepath.Join(g.Dir(), "memory.max")
	if g.host.Mode != Unified {
		file = filepath.Join(g.host.Mountpoint, "memory", g.path, "memory.limit_in_bytes")
	}
	limit, err := strconv.ParseUint(strings.TrimSpace(readText(file)), 10, 64)
	if err != nil { // "max", or no such file.
		return g.host.Memory
	}
	return min(limit, g.host.Memory)
}

// readOptional reads a file that need not be there.
func readOptional(file string) (*string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s := string(text)
	return &s, err
}

// parseIOStat adds up all devices of an io.stat, whose lines are
// "8:0 rbytes=4096 wbytes=0 rios=1 …" (cgroup-v2.rst, io.stat).
func parseIOStat(text string) IOCounters {
	var c IOCounters
	for field := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(field, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		switch {
		case err != nil:
		case name == "rbytes":
			c.ReadBytes += n
		case name == "wbytes":
			c.WriteBytes += n
		}
	}
	return c
}

// parseServiceBytes adds up all devices of a version 1 file, whose lines are
// "8:0 Read 4096" (kernel Documentation/admin-guide/cgroup-v1/blkio-controller.rst).
func parseServiceBytes(text string) IOCounters {
	var c IOCounters
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue // The grand total has no device.
		}
		n, err := strconv.ParseUint(fields[2], 10, 64)
		switch {
		case err != nil:
		case fields[1] == "Read":
			c.ReadBytes += n
		case fields[1] == "Write":
			c.WriteBytes += n
		}
	}
	return c
}

// parsePressure finds "some avg10=…" in a pressure file, a percentage.
func parsePressure(text string) (share float64, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "some" {
			continue
		}
		digits, found := strings.CutPrefix(fields[1], "avg10=")
		share, err := strconv.ParseFloat(digits, 64)
		return share, found && err == nil && share >= 0 && share <= 100
	}
	return 0, false
}
