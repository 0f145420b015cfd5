package cgroups

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

func TestLimitsMapToTheFilesThatDockerWrites(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits Limits
		want   []string // file=value, in the order of writing
	}{
		{"nothing set writes nothing", Limits{}, nil},
		{"--cpus .5", Limits{NanoCPUs: 500_000_000}, []string{"cpu.max=50000 100000"}},
		{"--cpus 1.5", Limits{NanoCPUs: 1_500_000_000}, []string{"cpu.max=150000 100000"}},
		{"--cpus 0.01", Limits{NanoCPUs: 10_000_000}, []string{"cpu.max=1000 100000"}},
		{"--cpus 0.333333333 rounds down", Limits{NanoCPUs: 333_333_333}, []string{"cpu.max=33333 100000"}},
		{"--cpu-quota alone has the default period", Limits{CPUQuota: 20_000}, []string{"cpu.max=20000 100000"}},
		{"--cpu-period alone has no quota", Limits{CPUPeriod: 50_000}, []string{"cpu.max=max 50000"}},
		{"--cpu-quota and --cpu-period", Limits{CPUQuota: 25_000, CPUPeriod: 50_000}, []string{"cpu.max=25000 50000"}},
		{"--cpu-quota -1 lifts the limit", Limits{CPUQuota: -1}, []string{"cpu.max=max 100000"}},
		{"--cpu-shares 1024", Limits{CPUShares: 1024}, []string{"cpu.weight=100"}},
		{"--cpuset-cpus", Limits{CpusetCpus: "0-1"}, []string{"cpuset.cpus=0-1"}},
		{"-m alone allows as much swap again", Limits{Memory: 32 * mib}, []string{"memory.swap.max=33554432", "memory.max=33554432"}},
		{"--memory-swap equal to -m means no swap", Limits{Memory: 32 * mib, MemorySwap: 32 * mib}, []string{"memory.swap.max=0", "memory.max=33554432"}},
		{"--memory-swap counts memory and swap together", Limits{Memory: 32 * mib, MemorySwap: 48 * mib}, []string{"memory.swap.max=16777216", "memory.max=33554432"}},
		{"--memory-swap -1", Limits{Memory: 32 * mib, MemorySwap: -1}, []string{"memory.swap.max=max", "memory.max=33554432"}},
		{"--memory-swap -1 without -m", Limits{MemorySwap: -1}, []string{"memory.swap.max=max"}},
		{"--memory-reservation", Limits{MemoryReservation: 16 * mib}, []string{"memory.low=16777216"}},
		{"--memory-high", Limits{MemoryHigh: 24 * mib}, []string{"memory.high=25165824"}},
		{"--pids-limit 50", Limits{PidsLimit: 50}, []string{"pids.max=50"}},
		{"--pids-limit -1", Limits{PidsLimit: -1}, []string{"pids.max=max"}},
		{
			"everything, swap before memory",
			Limits{CPUShares: 512, NanoCPUs: 1e9, CpusetCpus: "0", Memory: 64 * mib, MemoryHigh: 48 * mib, MemoryReservation: 8 * mib, PidsLimit: 7},
			[]string{
				"cpu.weight=59", "cpu.max=100000 100000", "cpuset.cpus=0",
				"memory.swap.max=67108864", "memory.max=67108864", "memory.high=50331648", "memory.low=8388608", "pids.max=7",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, f := range c.limits.Files() {
				got = append(got, f.Name+"="+f.Value)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if c.limits.Any() != (len(c.want) > 0) {
				t.Errorf("Any() = %v with %d files", c.limits.Any(), len(c.want))
			}
		})
	}
}

// The table is Docker's and runc's, where 1024 shares, the default of version 1,
// are weight 100, the default of version 2.
func TestCPUSharesFollowTheNewCurve(t *testing.T) {
	for shares, weight := range map[int64]string{
		1: "1", 2: "1", 128: "21", 256: "35", 512: "59", 768: "80", 1024: "100",
		2048: "174", 4096: "303", 262144: "10000", 300000: "10000",
	} {
		if got := (Limits{CPUShares: shares}).Files()[0].Value; got != weight {
			t.Errorf("%d shares: weight %s, want %s", shares, got, weight)
		}
	}
}

func TestCPUWeightNeverFallsWhenSharesRise(t *testing.T) {
	last := 0
	for shares := int64(1); shares <= 262144; shares++ {
		weight, err := strconv.Atoi(Limits{CPUShares: shares}.weight())
		if err != nil || weight < last || weight < 1 || weight > 10000 {
			t.Fatalf("%d shares: weight %d after %d (%v)", shares, weight, last, err)
		}
		last = weight
	}
}

func TestEachFileSaysWhyInOneSentence(t *testing.T) {
	all := Limits{CPUShares: 2048, NanoCPUs: 5e8, CpusetCpus: "0", Memory: 64 * mib, MemorySwap: 80 * mib, MemoryHigh: 48 * mib, MemoryReservation: 8 * mib, PidsLimit: 7}
	none := Limits{CPUQuota: -1, MemorySwap: -1, PidsLimit: -1}
	for _, f := range append(all.Files(), append(none.Files(), Limits{Memory: 6 * mib, MemorySwap: 6 * mib}.Files()...)...) {
		if !strings.HasSuffix(f.Why, ".") || strings.Contains(f.Why, "\n") || len(f.Why) < 30 {
			t.Errorf("%s: %q is no sentence", f.Name, f.Why)
		}
	}
	if why := all.Files()[1].Why; !strings.Contains(why, "50 ms") || !strings.Contains(why, "100 ms") {
		t.Errorf("cpu.max does not name its figures: %q", why)
	}
	if why := (Limits{CPUQuota: 1500, CPUPeriod: 2500}).Files()[0].Why; !strings.Contains(why, "1.5 ms of CPU time in each 2.5 ms") {
		t.Errorf("cpu.max does not name its figures: %q", why)
	}
}

func TestLimitsKeepTheirValuesInJSON(t *testing.T) {
	want := Limits{NanoCPUs: 1, CPUQuota: 2, CPUPeriod: 3, CPUShares: 4, CpusetCpus: "0", Memory: 5, MemorySwap: -1, MemoryReservation: 6, MemoryHigh: 7, PidsLimit: 8}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Limits
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("%s became %+v (%v)", text, got, err)
	}
	if text, _ := json.Marshal(Limits{}); string(text) != "{}" {
		t.Errorf("no limits: %s", text)
	}
}

// Whatever is written through containerd/cgroups has to reach the one file that
// the step named, with the value that it named.
func TestEachFileIsOneValueOfContainerdCgroups(t *testing.T) {
	direct := map[string]bool{"memory.swap.max=max": true}
	limits := []Limits{
		{CPUShares: 2, NanoCPUs: 1e9, CpusetCpus: "0", Memory: 6 * mib, MemoryHigh: 6 * mib, MemoryReservation: 6 * mib, PidsLimit: 1},
		{CPUQuota: -1, MemorySwap: -1, PidsLimit: -1},
		{Memory: 6 * mib, MemorySwap: 6 * mib},
	}
	for _, l := range limits {
		for _, f := range l.Files() {
			r, ok := f.resources()
			if ok == direct[f.Name+"="+f.Value] {
				t.Errorf("%s=%s: through the library: %v", f.Name, f.Value, ok)
			}
			if !ok {
				continue
			}
			values := r.Values()
			if len(values) != 1 {
				t.Errorf("%s writes %d files", f.Name, len(values))
			} else if got := fmt.Sprint(values[0]); got != fmt.Sprintf("{%s %s}", f.Name, f.Value) {
				t.Errorf("%s=%s writes %s", f.Name, f.Value, got)
			}
		}
	}
	for _, f := range []File{{Name: "memory.max", Value: unlimited}, {Name: "cpuset.cpus"}, {Name: "io.max", Value: "1"}} {
		if r, ok := f.resources(); ok {
			t.Errorf("%v goes through the library as %v, which can't write it", f, r)
		}
	}
}
