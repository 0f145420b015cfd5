package report

import (
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/cgroups"
)

// Machine says on what was measured.
type Machine struct {
	System  string       `json:"system"`
	Kernel  string       `json:"kernel"`
	CPU     string       `json:"cpu"`
	CPUs    int          `json:"cpus"`
	MiB     uint64       `json:"memory_mib"`
	Cgroups cgroups.Mode `json:"cgroups"`
	// Load is the number of tasks that wanted to run in the minute before: what was
	// measured on a busy machine should not be trusted far.
	Load string `json:"load"`
}

// DescribeMachine describes this one.
func DescribeMachine() (Machine, error) {
	host, err := cgroups.Probe()
	if err != nil {
		return Machine{}, err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Machine{}, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return Machine{}, fmt.Errorf("read load: %w", err)
	}
	return Machine{
		System:  strings.Trim(entry("/etc/os-release", "PRETTY_NAME", "="), `"`),
		Kernel:  unix.ByteSliceToString(name.Release[:]),
		CPU:     firstOf(entry("/proc/cpuinfo", "model name", ":"), goruntime.GOARCH),
		CPUs:    host.CPUs,
		MiB:     host.Memory >> 20,
		Cgroups: host.Mode,
		Load:    strings.Fields(string(load))[0],
	}, nil
}

// AvailableMiB is how much memory can be had without swapping (proc(5), meminfo).
func AvailableMiB() int {
	kib, _ := strconv.Atoi(strings.TrimSuffix(entry("/proc/meminfo", "MemAvailable", ":"), " kB"))
	return kib >> 10
}

// String is the line below a machine's tables.
func (m Machine) String() string {
	return fmt.Sprintf("%s · Linux %s · %d × %s · %d MiB · cgroups %s · load before %s", m.System, m.Kernel, m.CPUs, m.CPU, m.MiB, m.Cgroups, m.Load)
}

// entry finds the first "key separator value" line in a file; "" where there is
// none.
func entry(file, key, separator string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		found, value, _ := strings.Cut(line, separator)
		if strings.TrimSpace(found) == key {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
