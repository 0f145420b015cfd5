package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/minidock/minidock/bench/internal/instance"
)

// The names of the image and the network.
const (
	imageName   = "ends"
	networkName = "bench"
)

// peerInside is where the image has the program for both ends.
const peerInside = "/peer"

// stage has the containers.
type stage struct{ *instance.Instance }

// newStage is to be cleared even with an error.
func newStage(ctx context.Context, p plan) (*stage, error) {
	own, err := instance.New(p.minidock)
	s := &stage{own}
	if err != nil {
		return s, err
	}
	tarball, err := s.pack(ctx, p.peer)
	if err != nil {
		return s, err
	}
	if err := s.Import(ctx, tarball, imageName); err != nil {
		return s, err
	}
	return s, s.Quietly(ctx, "network", "create", networkName)
}

// pack writes the image: this machine's iperf3 with the libraries that it needs, so
// that both sides run the same, and peer.
func (s *stage) pack(ctx context.Context, peer string) (tarball string, err error) {
	iperf, err := exec.LookPath("iperf3")
	if err != nil {
		return "", fmt.Errorf("find iperf3: %w", err)
	}
	said, err := instance.Output(ctx, nil, "ldd", iperf)
	if err != nil {
		return "", err
	}
	tree := filepath.Join(s.Dir(), "tree")
	if err := os.MkdirAll(filepath.Join(tree, "tmp"), 0o755); err != nil {
		return "", fmt.Errorf("make image: %w", err)
	}
	if _, err := instance.Output(ctx, nil, "cp", peer, filepath.Join(tree, peerInside)); err != nil {
		return "", err
	}
	tarball = filepath.Join(s.Dir(), "image.tar")
	_, err = instance.Output(ctx, nil, slices.Concat([]string{"tar", "--dereference", "-cf", tarball, "-C", tree, "peer", "tmp", "-C", "/"}, below("/", append(librariesOf(said), iperf)))...)
	return tarball, err
}

var absolutePath = regexp.MustCompile(`(?m)(?:^|\s)(/\S+)`)

// librariesOf lists the files that ldd(1) names.
func librariesOf(ldd string) (files []string) {
	for _, found := range absolutePath.FindAllStringSubmatch(ldd, -1) {
		files = append(files, found[1])
	}
	return files
}

func below(dir string, files []string) []string {
	list := make([]string, len(files))
	for i, f := range files {
		list[i] = strings.TrimPrefix(f, dir)
	}
	return list
}

// start starts a container with a server in it.
func (s *stage) start(ctx context.Context, name string, flags ...string) error {
	return s.Quietly(ctx, slices.Concat([]string{"run", "--detach", "--name", name}, flags, []string{imageName, peerInside, "serve"})...)
}

// pair starts two containers on one network, each of which could be the server.
func (s *stage) pair(ctx context.Context, name, prefix string, flags ...string) (*pair, error) {
	for _, end := range []string{prefix + "-a", prefix + "-b"} {
		if err := s.start(ctx, end, append([]string{"--network", networkName}, flags...)...); err != nil {
			return nil, err
		}
	}
	client, errClient := s.inspect(ctx, prefix+"-a", "{{.NetworkSettings.SandboxKey}}")
	address, errServer := s.inspect(ctx, prefix+"-b", "{{(index .NetworkSettings.Networks \""+networkName+"\").IPAddress}}")
	if err := errors.Join(errClient, errServer); err != nil {
		return nil, err
	}
	to, err := netip.ParseAddr(address)
	if err != nil {
		return nil, fmt.Errorf("read address: %w", err)
	}
	return &pair{name: name, enter: []string{s.Minidock, "exec", prefix + "-a"}, env: s.Env(), peer: peerInside, to: to, client: client}, nil
}

func (s *stage) inspect(ctx context.Context, name, format string) (string, error) {
	out, err := s.Output(ctx, "inspect", "--format", format, name)
	return strings.TrimSpace(out), err
}
