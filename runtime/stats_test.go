package runtime

import (
	"testing"
	"time"

	"github.com/minidock/minidock/cgroups"
)

func TestRatesComeFromTwoMoments(t *testing.T) {
	before := Usage{At: time.Unix(100, 0), Pid: 7, Counters: cgroups.Counters{UsageUsec: 5_000_000, NrPeriods: 100, NrThrottled: 40, ThrottledUsec: 1_000_000}}
	after := Usage{At: time.Unix(102, 0), Pid: 7, Counters: cgroups.Counters{UsageUsec: 8_000_000, NrPeriods: 120, NrThrottled: 55, ThrottledUsec: 2_500_000}}
	if got, want := after.Since(before), (Rates{CPU: 150, Throttled: 75, ThrottledFor: 1500 * time.Millisecond}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, other := range map[string]Usage{
		"another run":      {At: before.At, Pid: 6},
		"no earlier":       {},
		"no time between":  {At: after.At, Pid: 7},
		"a group anew":     {At: before.At, Pid: 7, Counters: cgroups.Counters{UsageUsec: 9_000_000}},
		"no periods began": {At: before.At, Pid: 7, Counters: after.Counters},
	} {
		if got := after.Since(other); got != (Rates{}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestMemoryIsWhatDockerShows(t *testing.T) {
	for _, c := range []struct{ current, inactive, want uint64 }{{100, 30, 70}, {100, 0, 100}, {30, 100, 0}} {
		u := Usage{Counters: cgroups.Counters{MemoryCurrent: c.current, MemoryInactiveFile: c.inactive}}
		if got := u.Memory(); got != c.want {
			t.Errorf("%d without %d is %d", c.current, c.inactive, got)
		}
	}
}

const netDev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:   77777     100    0    0    0     0          0         0    77777     100    0    0    0     0       0          0
  eth0: 1000000    2000    0    0    0     0          0         0   300000    4000    0    0    0     0       0          0
eth1:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
`

func TestNetworkTrafficIsThatOfAllLinksButTheLoopback(t *testing.T) {
	if got, want := parseNetDev(netDev), (NetCounters{1_000_005, 300_006}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzNetDevNeverPanics(f *testing.F) {
	f.Add(netDev)
	f.Add("eth0: 1 2 3\n:")
	f.Fuzz(func(t *testing.T, text string) {
		if one, two := parseNetDev(text), parseNetDev(text+"\nlo: 1 1 1 1 1 1 1 1 1 1\n"); one != two {
			t.Errorf("%q: the loopback counts: %+v, %+v", text, one, two)
		}
	})
}
