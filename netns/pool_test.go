package netns

import (
	"fmt"
	"net"
	"net/netip"
	goruntime "runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/minidock/minidock/internal/require"
)

func TestPoolsAreDockers(t *testing.T) {
	all := subnets()
	if len(all) != 31 || all[0] != prefix("172.17.0.0/16") || all[14] != prefix("172.31.0.0/16") || all[15] != prefix("192.168.0.0/20") || all[30] != prefix("192.168.240.0/20") {
		t.Errorf("%v", all)
	}
}

func TestNetworksGetRangesInOrderUntilThereIsNone(t *testing.T) {
	s := newStore(t, Claim{prefix("172.20.5.0/24"), "the host's route by eth0"}, Claim{prefix("192.168.0.0/17"), "the host's route by eth1"})
	var got []string
	for i := 0; ; i++ {
		n, err := s.Create(CreateOptions{Name: fmt.Sprintf("n%d", i)}, nil)
		if err != nil {
			fault(t, err, "all predefined address pools have been fully subnetted", "--subnet")
			break
		}
		got = append(got, n.Subnet.String())
	}
	if len(got) != 13+8 || got[0] != "172.18.0.0/16" || got[1] != "172.19.0.0/16" || got[2] != "172.21.0.0/16" || got[13] != "192.168.128.0/20" {
		t.Errorf("%d: %v", len(got), got)
	}
	// The first range is kept for the default network, and a range that is free
	// again is given again.
	if n, err := s.Need(Default, nil); err != nil || n.Subnet != prefix("172.17.0.0/16") {
		t.Errorf("%v, %v", n.Subnet, err)
	}
	if _, err := s.Remove("n1", nil); err != nil {
		t.Error(err)
	}
	if n := s.mustCreate(t, CreateOptions{Name: "again"}); n.Subnet != prefix("172.19.0.0/16") {
		t.Errorf("%v", n.Subnet)
	}
}

// drawPrefix draws an IPv4 range, mostly in or around the pools.
func drawPrefix(t *rapid.T, label string) netip.Prefix {
	first := rapid.SampledFrom([]byte{172, 192, 10, 0, 255}).Draw(t, label+" 1")
	second := rapid.SampledFrom([]byte{16, 17, 18, 24, 31, 32, 168, 0}).Draw(t, label+" 2")
	third := rapid.Byte().Draw(t, label+" 3")
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{first, second, third, rapid.Byte().Draw(t, label+" 4")}), rapid.IntRange(0, 32).Draw(t, label+" bits")).Masked()
}

func TestPickedRangeIsTheFirstThatIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var claimed []Claim
		for i := range rapid.IntRange(0, 40).Draw(t, "claims") {
			claimed = append(claimed, Claim{drawPrefix(t, fmt.Sprint("claim ", i)), "x"})
		}
		name := rapid.SampledFrom([]string{Default, "web"}).Draw(t, "name")
		free := func(p netip.Prefix) bool {
			return !slices.ContainsFunc(claimed, func(c Claim) bool { return c.Range.Overlaps(p) })
		}
		want := slices.DeleteFunc(subnets(), func(p netip.Prefix) bool { return !free(p) || name != Default && p == prefix("172.17.0.0/16") })
		got, err := pickSubnet(name, claimed)
		switch {
		case len(want) == 0 && err == nil:
			t.Errorf("picked %s where nothing is free", got)
		case len(want) > 0 && (err != nil || got != want[0]):
			t.Errorf("picked %s, %v; want %s", got, err, want[0])
		}
	})
}

func TestLastAddressIsTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPrefix(t, "range")
		last := lastAddress(p)
		if !p.Contains(last) || p.Contains(last.Next()) {
			t.Errorf("%s: %s", p, last)
		}
		_, n, _ := net.ParseCIDR(p.String())
		for i := range n.IP {
			n.IP[i] |= ^n.Mask[i]
		}
		if n.IP.String() != last.String() {
			t.Errorf("%s: %s, but %s", p, last, n.IP)
		}
	})
}

func TestDefaultGatewayIsUsable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		subnet := drawPrefix(t, "subnet")
		if subnet.Bits() > longestSubnet {
			return
		}
		var ipRange netip.Prefix
		if rapid.Bool().Draw(t, "with a range") {
			ipRange = netip.PrefixFrom(subnet.Addr(), rapid.IntRange(subnet.Bits(), longestSubnet).Draw(t, "bits"))
		}
		if g := defaultGateway(subnet, ipRange); !usable(subnet, g) {
			t.Errorf("%s %s: %s", subnet, ipRange, g)
		}
	})
}

func TestHostRoutesAreThoseOfTheNamespace(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces)
	var got []Claim
	errs := make(chan error)
	go func() {
		goruntime.LockOSThread() // And never unlocked: the thread ends with its namespace.
		errs <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			lo, err := netlink.LinkByName("lo")
			if err == nil {
				err = netlink.LinkSetUp(lo)
			}
			for _, to := range []string{"172.18.0.0/16", "10.1.2.3/32", "0.0.0.0/1", "0.0.0.0/0"} {
				if err == nil {
					_, dst, _ := net.ParseCIDR(to)
					err = netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK})
				}
			}
			if err == nil {
				_, dst, _ := net.ParseCIDR("10.9.0.0/16")
				err = netlink.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_BLACKHOLE})
			}
			if err != nil {
				return err
			}
			got, err = HostRoutes()
			return err
		}()
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b Claim) int { return a.Range.Addr().Compare(b.Range.Addr()) })
	want := []Claim{{prefix("10.1.2.3/32"), "the host's route by lo"}, {prefix("10.9.0.0/16"), "the host's route"}, {prefix("172.18.0.0/16"), "the host's route by lo"}}
	if !slices.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
