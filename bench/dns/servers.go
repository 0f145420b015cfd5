package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// maxNames is how many containers a network of 256 addresses has beside its gateway.
const maxNames = 253

func nameOf(i int) string { return fmt.Sprintf("container-%d", i) }

func addressOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{172, 18, 0, byte(i + 2)}) }

// server is one who answers.
type server struct {
	name, version string
	at            netip.AddrPort
	pid           int
	// Of each turn: the rate, the microseconds within which 99 of 100 are answered, at that
	// rate and at the same pace for all, and those of CPU time that one answer takes.
	perSecond, slowest, paced, cpu []float64
}

// startServers starts all, and waits until they answer.
func startServers(ctx context.Context, p plan) (list []*server, stop func(), err error) {
	dir, err := os.MkdirTemp("", "minidock-bench-dns-")
	if err != nil {
		return nil, func() {}, fmt.Errorf("make directory: %w", err)
	}
	var running []*exec.Cmd
	stop = func() {
		for _, cmd := range running {
			_ = cmd.Process.Kill() // Who has ended by himself is waited for all the same.
			_ = cmd.Wait()
		}
		_ = os.RemoveAll(dir)
	}
	own, err := startOwn(ctx, p)
	if err != nil {
		return nil, stop, err
	}
	running = append(running, own)
	other, at, err := startDnsmasq(ctx, p, dir)
	if err != nil {
		return nil, stop, err
	}
	running = append(running, other)
	list = []*server{
		{name: "dnsmasq", version: dnsmasqVersion(ctx), at: at, pid: other.Process.Pid},
		{name: "minidock", version: "the resolver of this source, asked through the rules that lead port 53 to it, as containers do", at: netip.MustParseAddrPort(netns.ResolverAddress + ":53"), pid: own.Process.Pid},
	}
	for _, s := range list {
		if err := s.await(ctx); err != nil {
			return nil, stop, err
		}
	}
	return list, stop, nil
}

// startOwn starts this program as the resolver.
func startOwn(ctx context.Context, p plan) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", serveWord, strconv.Itoa(p.names))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start resolver: %w", err)
	}
	return cmd, nil
}

// serve is the resolver's process.
func serve(ctx context.Context, args []string) error {
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("read number of names: %w", err)
	}
	ledger, err := steps.Open(steps.Paths{}, nil)
	if err != nil {
		return err
	}
	sockets, err := netns.ListenDNS(ledger, "/proc/self/ns/net")
	if err != nil {
		return err
	}
	view := netns.View{Network: "bench"}
	for i := range count {
		view.Residents = append(view.Residents, netns.Resident{ID: fmt.Sprintf("%064x", i), Name: nameOf(i), Address: addressOf(i)})
	}
	server := netns.NewServer(sockets.Packets, sockets.Streams, netns.NewTable(view), netns.NewForwarder(false))
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // The process ends with it.
	return server.Serve()
}

// dnsmasqAt is another address of the loopback network, so that both have port 53.
const dnsmasqAt = "127.0.0.53:53"

func startDnsmasq(ctx context.Context, p plan, dir string) (*exec.Cmd, netip.AddrPort, error) {
	at := netip.MustParseAddrPort(dnsmasqAt)
	var hosts strings.Builder
	for i := range p.names {
		fmt.Fprintf(&hosts, "%s %s\n", addressOf(i), nameOf(i))
	}
	file := filepath.Join(dir, "hosts")
	if err := os.WriteFile(file, []byte(hosts.String()), 0o644); err != nil {
		return nil, at, fmt.Errorf("write hosts: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // dnsmasq gives up its rights.
		return nil, at, fmt.Errorf("open directory: %w", err)
	}
	cmd := exec.CommandContext(ctx, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts",
		"--addn-hosts="+file, "--local-ttl=600", "--bind-interfaces", "--except-interface=nonexisting", "--listen-address="+at.Addr().String(), "--port="+strconv.Itoa(int(at.Port())))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, at, fmt.Errorf("start dnsmasq: %w", err)
	}
	return cmd, at, nil
}

func dnsmasqVersion(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "dnsmasq", "--version").Output()
	if err != nil {
		return "version unknown"
	}
	first, _, _ := strings.Cut(string(out), "\n")
	version, _, _ := strings.Cut(first, " Copyright")
	return version
}

// startTime is what a server gets until it answers its first question.
const startTime = 10 * time.Second

// await asks until there is an answer; a question that came too early is lost.
func (s *server) await(ctx context.Context) error {
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline) && ctx.Err() == nil; {
		a, err := newAsker(s.at)
		if err != nil {
			return err
		}
		_, err = a.ask(0)
		a.conn.Close()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("await %s: no answer at %s", s.name, s.at)
}

// cpuTime is what a process has used so far (proc_pid_stat(5)), in ticks of 1/100 s.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	// The name before may hold anything, also blanks and brackets.
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read CPU time: %q", text)
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / 100, err
}

func dialServer(at netip.AddrPort) (*net.UDPConn, error) {
	return net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
}
