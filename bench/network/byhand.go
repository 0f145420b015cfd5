package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/bench/internal/instance"
)

// byHand is the pair that ip(8) joins. Its bridge has a namespace of its own: where
// br_netfilter has bridged frames cross the firewall, they are not to cross minidock's.
type byHand struct {
	pair
	prefix string
	server *exec.Cmd
}

// handMade is what one would type: host, a and b are the three namespaces.
const handMade = `ip netns add host
ip netns add a
ip netns add b
ip -n host link add br0 type bridge
ip -n host address add 10.99.0.1/16 dev br0
ip -n host link set br0 up
ip -n host link add va master br0 type veth peer name eth0 netns a
ip -n host link add vb master br0 type veth peer name eth0 netns b
ip -n host link set va up
ip -n host link set vb up
ip -n a address add 10.99.0.2/16 dev eth0
ip -n b address add 10.99.0.3/16 dev eth0
ip -n a link set lo up
ip -n b link set lo up
ip -n a link set eth0 up
ip -n b link set eth0 up
ip -n a route add default via 10.99.0.1
ip -n b route add default via 10.99.0.1`

// joinByHand is to be cleared even with an error.
func joinByHand(ctx context.Context, peer string) (*byHand, error) {
	h := &byHand{prefix: fmt.Sprintf("minidock-bench-%d-", os.Getpid())}
	h.pair = pair{
		name: "by hand", enter: []string{"ip", "netns", "exec", h.prefix + "a"}, peer: peer, to: netip.MustParseAddr("10.99.0.3"),
		client: "/run/netns/" + h.prefix + "a", host: "/run/netns/" + h.prefix + "host",
	}
	for line := range strings.Lines(handMade) {
		if _, err := instance.Output(ctx, nil, h.words(line)...); err != nil {
			return h, err
		}
	}
	h.server = exec.CommandContext(ctx, "ip", "netns", "exec", h.prefix+"b", peer, "serve")
	h.server.Stderr = os.Stderr
	h.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	h.server.Cancel = h.endServer
	if err := h.server.Start(); err != nil {
		h.server = nil
		return h, fmt.Errorf("start server: %w", err)
	}
	return h, nil
}

// words gives the namespaces names that nobody else has: they are the machine's.
func (h *byHand) words(line string) []string {
	words := strings.Fields(line)
	for i, word := range words[:len(words)-1] {
		if word == "add" && words[i-1] == "netns" || word == "-n" || word == "netns" && words[i+1] != "add" {
			words[i+1] = h.prefix + words[i+1]
		}
	}
	return words
}

func (h *byHand) endServer() error { return h.server.Process.Signal(unix.SIGTERM) }

// clear ends the server; with their namespaces the links go.
func (h *byHand) clear() error {
	if h.server != nil {
		_ = h.endServer()   // It may have ended by itself,
		_ = h.server.Wait() // and was told to.
	}
	var errs []error
	for _, name := range []string{"a", "b", "host"} {
		if _, err := os.Stat("/run/netns/" + h.prefix + name); err == nil {
			_, err := instance.Output(context.Background(), nil, "ip", "netns", "delete", h.prefix+name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
