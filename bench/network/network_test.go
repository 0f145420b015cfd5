package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/bench/internal/program"
)

func TestRateIsWhatTheOtherSideReceived(t *testing.T) {
	got, err := receivedRate([]byte(`{"start":{},"end":{"sum_sent":{"bits_per_second":9e9},"sum_received":{"bits_per_second":8.5e9}}}`))
	if err != nil || got != 8.5 {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"error":"unable to connect","end":{}}`, `{"end":{"sum_received":{"bits_per_second":0}}}`} {
		if _, err := receivedRate([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := receivedRate([]byte(`{"error":"the server is busy"}`)); err == nil || !strings.Contains(err.Error(), "the server is busy") {
		t.Errorf("%v", err)
	}
}

func TestEndsOfAStreamHaveACPUEachWhereThereAreTwo(t *testing.T) {
	if affinity(1) != "0,0" || affinity(2) != "0,1" || affinity(64) != "0,1" {
		t.Error(affinity(1), affinity(2), affinity(64))
	}
}

func TestFactsAreThoseThatSpeedDependsOn(t *testing.T) {
	got, err := factsOf([]byte(`[{"ifname":"eth0","address":"02:00:00:00:00:01","mtu":1500,"qdisc":"noqueue","txqlen":1000,"num_tx_queues":2,"num_rx_queues":2,"gso_max_size":65536,"gso_max_segs":65535,"tso_max_size":524280,"gro_max_size":65536}]`))
	want := "mtu 1500\nqdisc noqueue\ntxqlen 1000\nnum_tx_queues 2\nnum_rx_queues 2\ngso_max_size 65536\ngso_max_segs 65535\ntso_max_size 524280\ngro_max_size 65536\n"
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := factsOf([]byte("[]")); err == nil {
		t.Error("no link was taken for one")
	}
}

func TestLibrariesAreTheFilesThatLddNames(t *testing.T) {
	got := librariesOf("\tlinux-vdso.so.1 (0x00007ffd)\n\tlibiperf.so.0 => /lib/x86_64-linux-gnu/libiperf.so.0 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n")
	if diff := cmp.Diff([]string{"/lib/x86_64-linux-gnu/libiperf.so.0", "/lib64/ld-linux-x86-64.so.2"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"lib/a", "b"}, below("/", []string{"/lib/a", "/b"})); diff != "" {
		t.Error(diff)
	}
}

// Namespaces are the machine's: each line's have to have names that nobody else has.
func TestNamespacesMadeByHandHaveNamesOfTheirOwn(t *testing.T) {
	h := &byHand{prefix: "x-"}
	for line, want := range map[string]string{
		"ip netns add a":             "ip netns add x-a",
		"ip netns attach b 17":       "ip netns attach x-b 17",
		"ip -n host link set br0 up": "ip -n x-host link set br0 up",
		"ip -n host link add va master br0 type veth peer name eth0 netns a": "ip -n x-host link add va master br0 type veth peer name eth0 netns x-a",
		"ip -n a address add 10.99.0.2/16 dev eth0":                          "ip -n x-a address add 10.99.0.2/16 dev eth0",
	} {
		if got := strings.Join(h.words(line), " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestWrongCommandsAreRefused(t *testing.T) {
	for _, args := range [][]string{nil, {"table"}, {"apart", "-rounds", "0"}, {"apart", "-count", "0"}} {
		if err := program.Run(t.Context(), verbs(), args, os.Stderr); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
