package cgroups

import (
	"os"
	"path/filepath"
	"testing"
)

// fakeGroup is a group of a host of that mode, made of ordinary files.
func fakeGroup(t *testing.T, mode Mode, files map[string]string) *Group {
	t.Helper()
	h := Host{Mode: mode, Mountpoint: t.TempDir(), Memory: 1 << 30, CPUs: 2, Controllers: []string{"cpuset", "cpu", "io", "memory", "pids"}}
	for name, text := range files {
		file := filepath.Join(h.Mountpoint, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Open(h, "/minidock/x")
}

func TestUsageIsReadFromVersion2(t *testing.T) {
	g := fakeGroup(t, Unified, map[string]string{
		"minidock/x/io.stat":         "8:0 rbytes=4096 wbytes=100 rios=1 wios=2 dbytes=7 dios=0\n253:1 rbytes=1 wbytes=2\n8:16 \n",
		"minidock/x/cpu.pressure":    "some avg10=12.34 avg60=2.41 avg300=17.53 total=215066260\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=0\n",
		"minidock/x/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"minidock/x/memory.max":      "max\n",
	})
	c, err := g.IO()
	if err != nil || *c != (IOCounters{4097, 102}) {
		t.Errorf("read %+v (%v)", c, err)
	}
	p := g.Pressure()
	if p.CPU == nil || *p.CPU != 12.34 || p.Memory == nil || *p.Memory != 0 || p.IO != nil {
		t.Errorf("pressure %v", p)
	}
	if got := g.MemoryLimit(); got != 1<<30 {
		t.Errorf("without a limit: %d", got)
	}
}

func TestUsageIsReadFromVersion1(t *testing.T) {
	g := fakeGroup(t, Hybrid, map[string]string{
		"blkio/minidock/x/blkio.throttle.io_service_bytes": "8:0 Read 4096\n8:0 Write 100\n8:0 Total 4196\n253:1 Read 1\nTotal 4197\n",
		"unified/minidock/x/io.pressure":                   "some avg10=99.00 avg60=0.00 avg300=0.00 total=0\n",
		"memory/minidock/x/memory.limit_in_bytes":          "33554432\n",
	})
	c, err := g.IO()
	if err != nil || *c != (IOCounters{4097, 100}) {
		t.Errorf("read %+v (%v)", c, err)
	}
	if p := g.Pressure(); p.CPU != nil || p.IO == nil || *p.IO != 99 {
		t.Errorf("pressure %v", p)
	}
	if got := g.MemoryLimit(); got != 32*mib {
		t.Errorf("limit %d", got)
	}
	g = fakeGroup(t, Hybrid, map[string]string{"memory/minidock/x/memory.limit_in_bytes": "9223372036854771712\n"})
	if got := g.MemoryLimit(); got != 1<<30 {
		t.Errorf("version 1's way of saying unlimited: %d", got)
	}
	if c, err := g.IO(); c != nil || err != nil {
		t.Errorf("no controller: %+v (%v)", c, err)
	}
}

func FuzzUsageFilesNeverPanic(f *testing.F) {
	f.Add("8:0 rbytes=4096 wbytes=100\n")
	f.Add("8:0 Read 4096\nTotal 4096\n")
	f.Add("some avg10=0.23 avg60=2.41 avg300=17.53 total=215066260\n")
	f.Add("some avg10=NaN\nsome\nsome avg10=")
	f.Fuzz(func(t *testing.T, text string) {
		parseIOStat(text)
		parseServiceBytes(text)
		if share, ok := parsePressure(text); ok && !(share >= 0 && share <= 100) {
			t.Errorf("%q is a share of %f", text, share)
		}
	})
}
