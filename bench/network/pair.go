package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/bench/internal/instance"
)

// pair is two ends that can reach each other; a server runs at the second.
type pair struct {
	name string
	// enter runs a command at the first end, and peer is the program's path there.
	enter []string
	env   []string
	peer  string
	to    netip.Addr
	// client is the namespace of the first end, and host that of the bridge, as
	// files; "" is the namespace that this process is in.
	client, host string
}

// Both ends of a stream have a CPU to themselves where there are two. A message that
// goes back and forth keeps one of them waiting at any time: on one CPU it does not
// measure how long the other one takes to wake up, which is much of the time and has
// nothing to do with the way.
const (
	clientCPU = 0
	serverCPU = 1
	pingCPU   = 0
)

// throughput sends for one second, in Gbit/s.
func (p *pair) throughput(ctx context.Context, plan plan) (float64, error) {
	out, err := p.run(ctx, "iperf3", "--client", p.to.String(), "--time", "1", "--affinity", affinity(cpus()), "--json")
	if err != nil {
		return 0, err
	}
	return receivedRate([]byte(out))
}

func affinity(cpus int) string {
	return fmt.Sprintf("%d,%d", clientCPU, min(serverCPU, cpus-1))
}

// receivedRate reads what iperf3 says that the other side received, in Gbit/s.
func receivedRate(text []byte) (float64, error) {
	var said struct {
		Error string
		End   struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return 0, fmt.Errorf("read iperf3's result: %w", err)
	}
	if said.Error != "" || said.End.Received.Rate <= 0 {
		return 0, fmt.Errorf("read iperf3's result: nothing was received: %s", said.Error)
	}
	return said.End.Received.Rate / 1e9, nil
}

// roundTrip is the median of many, in µs.
func (p *pair) roundTrip(ctx context.Context, plan plan) (float64, error) {
	out, err := p.run(ctx, p.peer, "ping", "-cpu", strconv.Itoa(pingCPU), "-count", strconv.Itoa(plan.count), p.to.String())
	if err != nil {
		return 0, err
	}
	nanoseconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read round trip: %w", err)
	}
	return float64(nanoseconds) / 1000, nil
}

func (p *pair) run(ctx context.Context, command ...string) (string, error) {
	return instance.Output(ctx, p.env, slices.Concat(p.enter, command)...)
}

// await waits until both servers at the other end answer.
func (p *pair) await(ctx context.Context) error {
	return instance.Patiently(func() error {
		if err := ctx.Err(); err != nil {
			return nil // What comes next says so.
		}
		if _, err := p.roundTrip(ctx, plan{count: 1}); err != nil {
			return err
		}
		_, err := p.throughput(ctx, plan{})
		return err
	})
}

// linkFacts are what a link's speed depends on, as ip(8) calls it.
var linkFacts = []string{"mtu", "qdisc", "txqlen", "num_tx_queues", "num_rx_queues", "gso_max_size", "gso_max_segs", "tso_max_size", "gro_max_size"}

// sysctls are those of a namespace's TCP that a stream's speed depends on (tcp(7)).
const sysctls = "cd /proc/sys/net/ipv4 && grep -H . tcp_congestion_control tcp_rmem tcp_wmem tcp_timestamps tcp_sack tcp_window_scaling tcp_moderate_rcvbuf tcp_autocorking tcp_limit_output_bytes tcp_notsent_lowat"

// describe tells what has to be the same for everybody.
func (p *pair) describe(ctx context.Context) (string, error) {
	inside := func(command ...string) (string, error) {
		return instance.Output(ctx, nil, slices.Concat([]string{"nsenter", "--net=" + p.client}, command)...)
	}
	link, err := inside("ip", "-json", "-details", "link", "show", "dev", "eth0")
	if err != nil {
		return "", err
	}
	facts, err := factsOf([]byte(link))
	if err != nil {
		return "", err
	}
	values, err := inside("sh", "-c", sysctls)
	return facts + values, err
}

func factsOf(link []byte) (string, error) {
	var links []map[string]any
	if err := json.Unmarshal(link, &links); err != nil || len(links) != 1 {
		return "", fmt.Errorf("read link: %q", link)
	}
	var facts strings.Builder
	for _, name := range linkFacts {
		fmt.Fprintf(&facts, "%s %v\n", name, links[0][name])
	}
	return facts.String(), nil
}

// alike fails unless the ends of all pairs have the same link and the same TCP.
func alike(ctx context.Context, pairs []*pair) error {
	var first string
	for _, p := range pairs {
		got, err := p.describe(ctx)
		if err != nil {
			return err
		}
		if first == "" {
			first = got
		}
		if got != first {
			return fmt.Errorf("compare like with like: %s has\n%s\nand %s has\n%s", pairs[0].name, first, p.name, got)
		}
	}
	return nil
}
