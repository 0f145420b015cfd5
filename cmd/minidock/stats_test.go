package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/runtime"
)

func someReadings() []runtime.Reading {
	cpu, io := 12.3, 0.0
	busy := &runtime.Container{Config: runtime.Config{ID: strings.Repeat("0123456789abcdef", 4), Name: "busy"}}
	ended := &runtime.Container{Config: runtime.Config{ID: strings.Repeat("fedcba9876543210", 4), Name: "ended"}}
	return []runtime.Reading{
		{
			Container: busy, Asked: "busy",
			Usage: &runtime.Usage{
				Counters: cgroups.Counters{
					MemoryCurrent: 48 << 20, MemoryInactiveFile: 16 << 20, PidsCurrent: 3,
					MemoryEvents: cgroups.MemoryEvents{OOMKill: 2},
				},
				MemoryLimit: 64 << 20, IO: &cgroups.IOCounters{ReadBytes: 1_500_000, WriteBytes: 0},
				Net:      &runtime.NetCounters{Received: 1234, Sent: 987_654_321},
				Pressure: cgroups.Pressure{CPU: &cpu, IO: &io},
			},
			Rates: runtime.Rates{CPU: 198.765, Throttled: 95, ThrottledFor: 830_400 * time.Microsecond},
		},
		{Container: ended, Asked: ended.Config.ID},
	}
}

func TestStatsHaveDockersColumnsAndWhatItHides(t *testing.T) {
	const want = `CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O           BLOCK I/O    PIDS      THROTTLED        OOM       PSI CPU / MEM / IO
0123456789ab   busy      198.76%   32MiB / 64MiB       50.00%    1.23kB / 988MB    1.5MB / 0B   3         95.00% / 830ms   2         12.30% / -- / 0.00%
fedcba987654   ended     --        -- / --             --        --                --           --        --               --        --
`
	var out bytes.Buffer
	if err := (statsScreen{w: &out}).show(someReadings()); err != nil {
		t.Fatal(err)
	}
	// The last columns are as wide as their longest entry.
	if got := out.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAScreenIsPaintedOver(t *testing.T) {
	var out bytes.Buffer
	s := statsScreen{w: &out, format: "{{.Name}} {{.Container}}", redraw: true}
	if err := s.show(someReadings()[:1]); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "\x1b[Hbusy busy\x1b[K\n\x1b[J"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
