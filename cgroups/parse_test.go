package cgroups

import (
	"math/big"
	"strings"
	"testing"

	"github.com/minidock/minidock/steps"
)

func TestCPUsAreReadExactly(t *testing.T) {
	for value, want := range map[string]int64{
		".5": 500_000_000, "0.5": 500_000_000, "1": 1_000_000_000, "1.5": 1_500_000_000, "0": 0, "1/2": 500_000_000,
		"0.000000001": 1, "2e0": 2_000_000_000, "0.1": 100_000_000, "-1": -1_000_000_000,
		// 0.29 × 10⁹ in floating point is 289999999.99999994.
		"0.29": 290_000_000,
	} {
		if got, err := ParseCPUs(value); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", value, got, err, want)
		}
	}
}

func TestBadCPUsAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		"":             "failed to parse  as a rational number",
		"half":         "failed to parse half as a rational number",
		"1.2.3":        "failed to parse 1.2.3 as a rational number",
		"0.0000000001": "value is too precise",
		"1/3":          "value is too precise",
		"99999999999":  "value is too large",
		"1e10000000":   "failed to parse 1e10000000 as a rational number",
	} {
		if got, err := ParseCPUs(value); err == nil || err.Error() != want {
			t.Errorf("%q: %d, %v; want %q", value, got, err, want)
		}
	}
}

func TestSizesAreBinaryWithOrWithoutB(t *testing.T) {
	for value, want := range map[string]int64{
		"32m": 32 << 20, "32M": 32 << 20, "32mb": 32 << 20, "32MiB": 32 << 20, "1g": 1 << 30, "1.5g": 3 << 29,
		"1024": 1024, "1024b": 1024, "4k": 4096, "0": 0, "64 MiB": 64 << 20, ".5k": 512,
	} {
		if got, err := ParseBytes(value); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", value, got, err, want)
		}
	}
}

func TestBadSizesAreRefused(t *testing.T) {
	for value, want := range map[string]string{
		"": "invalid size: ''", "m": "invalid size: 'm'", "-1": "invalid size: '-1'", "32q": "invalid suffix: 'q'",
		"32mbb": "invalid suffix: 'mbb'", "99999999999g": "invalid size: '99999999999g'", "1e30": "invalid size: '1e30'",
		"1e400": `strconv.ParseFloat: parsing "1e400": value out of range`,
	} {
		if got, err := ParseBytes(value); err == nil || err.Error() != want {
			t.Errorf("%q: %d, %v; want %q", value, got, err, want)
		}
	}
}

func TestSwapMayBeUnlimited(t *testing.T) {
	for value, want := range map[string]int64{"-1": -1, "64m": 64 << 20, "0": 0} {
		if got, err := ParseSwap(value); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", value, got, err, want)
		}
	}
	if got, err := ParseSwap("-2"); err == nil {
		t.Errorf("-2 is taken as %d", got)
	}
}

func TestAnInvalidArgumentIsToldInDockersWords(t *testing.T) {
	_, err := ParseBytes("lots")
	fault := InvalidArgument("-m, --memory", "lots", err)
	expect(t, fault, `invalid argument "lots" for "-m, --memory" flag: invalid size: 'lots'`)
	_, err = ParseCPUs("many")
	fault = InvalidArgument("--cpus", "many", err)
	expect(t, fault, `invalid argument "many" for "--cpus" flag: failed to parse many as a rational number`)
	for _, flag := range []string{"--pids-limit", "--cpus", "-m, --memory"} {
		if hint := steps.HintOf(InvalidArgument(flag, "x", err)); hint == "" {
			t.Errorf("%s has no hint", flag)
		}
	}
}

func TestProcessorListsAreReadAsTheKernelReadsThem(t *testing.T) {
	for value, want := range map[string][]int{
		"": {}, "7": {7}, "1-3": {1, 2, 3}, "0,3-4,7": {0, 3, 4, 7}, "3,2,1": {1, 2, 3}, "03,1-3": {1, 2, 3}, "0-0,0,8192": {0, 8192},
	} {
		got, err := parseCPUList(value)
		if err != nil {
			t.Errorf("%q: %v", value, err)
			continue
		}
		expected := &cpuSet{}
		for _, cpu := range want {
			expected.add(cpu)
		}
		if *got != *expected {
			t.Errorf("%q is not %v", value, want)
		}
	}
	for _, value := range []string{",", "1,", "a", "1-", "-1", "3-1", "1--2", "8193", "0-8193", "+1", "1 ", "9223372036854775808"} {
		if _, err := parseCPUList(value); err == nil {
			t.Errorf("%q is taken", value)
		}
	}
}

func FuzzParseCPUs(f *testing.F) {
	for _, seed := range []string{".5", "1/3", "1e9", "0x1p-2", "-0", "1_000", "1e-999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		nano, err := ParseCPUs(value)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(value)
		if !ok || exact.Cmp(big.NewRat(nano, 1_000_000_000)) != 0 {
			t.Errorf("%q became %d billionths", value, nano)
		}
	})
}

func FuzzParseBytes(f *testing.F) {
	for _, seed := range []string{"32m", "1.5GiB", "1e400", "nan", "0x1p9", "9223372036854775807", "8e18p"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if bytes, err := ParseBytes(value); err == nil && bytes < 0 {
			t.Errorf("%q became %d", value, bytes)
		}
	})
}

func FuzzParseCPUList(f *testing.F) {
	for _, seed := range []string{"0-2,4", "1--2", "0-8192", "8193", ",", "00"} {
		f.Add(seed)
	}
	all, err := parseCPUList("0-8192")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		set, err := parseCPUList(value)
		if err != nil {
			return
		}
		if !all.contains(set) {
			t.Errorf("%q names a processor beyond the last", value)
		}
		if strings.Trim(value, "0123456789-,") != "" {
			t.Errorf("%q is taken", value)
		}
	})
}
