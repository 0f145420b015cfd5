package cgroups

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/minidock/minidock/steps"
)

// ParseCPUs reads the value of --cpus, a decimal number or a fraction ("1.5",
// ".5", "1/3"), into billionths of a CPU. It calculates exactly, as Docker does:
// a value that is no whole number of billionths is refused.
func ParseCPUs(value string) (int64, error) {
	cpus, ok := new(big.Rat).SetString(value)
	if !ok {
		return 0, fmt.Errorf("failed to parse %v as a rational number", value)
	}
	nano := cpus.Mul(cpus, big.NewRat(1_000_000_000, 1))
	switch {
	case !nano.IsInt():
		return 0, errors.New("value is too precise")
	case !nano.Num().IsInt64():
		return 0, errors.New("value is too large")
	}
	return nano.Num().Int64(), nil
}

// ParseBytes reads a size into bytes: "32m", "1.5g", "64MiB", "1024"; units are
// binary, in either case.
func ParseBytes(value string) (int64, error) {
	bytes, err := units.RAMInBytes(value)
	if err != nil {
		return 0, err
	}
	// A float beyond the range of int64 becomes one of its ends, which one
	// depends on the processor (Go specification, "Conversions").
	if bytes < 0 || bytes == math.MaxInt64 {
		return 0, fmt.Errorf("invalid size: '%s'", value)
	}
	return bytes, nil
}

// ParseSwap reads the value of --memory-swap: a size, or -1 for unlimited.
func ParseSwap(value string) (int64, error) {
	if value == "-1" {
		return -1, nil
	}
	return ParseBytes(value)
}

// InvalidArgument is what a flag says when its value can't be parsed, in Docker's
// words. flag is written as help shows it: "-m, --memory".
func InvalidArgument(flag, value string, err error) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("invalid argument %q for %q flag: %v", value, flag, err),
		Hint: hintOf(flag),
		Code: 125,
		Err:  err,
	}
}

func hintOf(flag string) string {
	switch {
	case strings.Contains(flag, "--cpus"):
		return "Give a number of CPUs, such as 0.5 or 2."
	case strings.Contains(flag, "--memory"):
		return "Give a size with a unit, such as 64m or 1.5g."
	}
	return "See minidock run --help."
}

// maxCPUs bounds what a list can name, so that "0-9223372036854775807" costs
// nothing: the largest NR_CPUS that a Linux kernel can be built with on amd64
// (arch/x86/Kconfig), which is Docker's bound too.
const maxCPUs = 8192

// cpuSet is a set of processor numbers.
type cpuSet [maxCPUs/64 + 1]uint64

func (s *cpuSet) add(cpu int) { s[cpu/64] |= 1 << (cpu % 64) }

func (s *cpuSet) contains(other *cpuSet) bool {
	for i := range s {
		if other[i]&^s[i] != 0 {
			return false
		}
	}
	return true
}

// parseCPUList reads a list of processors: "0", "0-2,4", "03,1-3". Repeated
// numbers are allowed, empty parts are not.
func parseCPUList(value string) (*cpuSet, error) {
	set := &cpuSet{}
	if value == "" {
		return set, nil
	}
	for part := range strings.SplitSeq(value, ",") {
		first, last, err := parseCPURange(part)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, value)
		}
		if last > maxCPUs {
			return nil, fmt.Errorf("value of out range, maximum is %d", maxCPUs)
		}
		for cpu := first; cpu <= last; cpu++ {
			set.add(cpu)
		}
	}
	return set, nil
}

var errCPUList = errors.New("invalid format")

func parseCPURange(part string) (first, last int, err error) {
	from, to, isRange := strings.Cut(part, "-")
	if !isRange {
		to = from
	}
	first, err = parseCPU(from)
	if err != nil {
		return 0, 0, err
	}
	last, err = parseCPU(to)
	if err != nil || last < first {
		return 0, 0, errCPUList
	}
	return first, last, nil
}

func parseCPU(digits string) (int, error) {
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return 0, errCPUList
	}
	return int(n), nil
}
