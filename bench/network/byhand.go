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

// byHand is a pair that ip(8) joins. Its bridge has a namespace of its own: where
// br_netfilter has bridged frames cross the firewall, they are not to cross minidock's.
type byHand struct {
	pair
	prefix string
	server *exec.Cmd
}

// newNamespaces is what one would type for two ends, a and b, that are nothing else.
const newNamespaces = `ip netns add a
ip netns add b`

// handMade is what one would type to join them: host is the bridge's namespace.
const handMade = `ip netns add host
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

// join makes the ends by these lines, and joins them. It is to be cleared even with
// an error.
func join(ctx context.Context, name, prefix, ends string) (*byHand, error) {
	h := &byHand{prefix: fmt.Sprintf("minidock-bench-%d-%s", os.Getpid(), prefix)}
	file := func(end string) string { return netnsDir + h.prefix + end }
	h.pair = pair{name: name, to: netip.MustParseAddr("10.99.0.3"), client: file("a"), host: file("host")}
	for line := range strings.Lines(ends + "\n" + handMade) {
		if _, err := instance.Output(ctx, nil, h.words(line)...); err != nil {
			return h, err
		}
	}
	return h, nil
}

// netnsDir is where ip(8) has the names of namespaces (ip-netns(8)).
const netnsDir = "/run/netns/"

// joinNamespaces has the ends be nothing but network namespaces.
func joinNamespaces(ctx context.Context, peer string) (*byHand, error) {
	h, err := join(ctx, "by hand", "", newNamespaces)
	if err != nil {
		return h, err
	}
	h.enter, h.peer = []string{"ip", "netns", "exec", h.prefix + "a"}, peer
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

// joinContainers has the ends be containers of minidock's to which it gave no network:
// they differ from others in the network only.
func (s *stage) joinContainers(ctx context.Context) (*byHand, error) {
	var pids []any
	for _, end := range []string{"joined-a", "joined-b"} {
		if err := s.start(ctx, end, "--network", "none"); err != nil {
			return &byHand{}, err
		}
		pid, err := s.inspect(ctx, end, "{{.State.Pid}}")
		if err != nil {
			return &byHand{}, err
		}
		pids = append(pids, pid)
	}
	h, err := join(ctx, "containers joined by hand", "joined-", fmt.Sprintf("ip netns attach a %s\nip netns attach b %s", pids...))
	h.enter, h.env, h.peer = []string{s.Minidock, "exec", "joined-a"}, s.Env(), peerInside
	return h, err
}

// words gives the namespaces names that nobody else has: they are the machine's.
func (h *byHand) words(line string) []string {
	words := strings.Fields(line)
	for i, word := range words[:len(words)-1] {
		verb := word == "add" || word == "attach"
		if word == "-n" || word == "netns" && i > 1 || verb && words[i-1] == "netns" {
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
	if h.prefix == "" {
		return nil
	}
	var errs []error
	for _, name := range []string{"a", "b", "host"} {
		if _, err := os.Stat(netnsDir + h.prefix + name); err == nil {
			_, err := instance.Output(context.Background(), nil, "ip", "netns", "delete", h.prefix+name)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
