package runtime

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/minidock/minidock/netns"
)

// hearEvery is how long one question of [Hear] waits. Our own resolver answers within
// it what it knows; what it forwards may take longer, and is another question's answer.
const hearEvery = 5 * time.Millisecond

// Hear asks a container's resolver for a name, again and again, until it answers
// with the address, or where known is false, until it does so no more. It returns
// when the question was sent that showed it; ctx ends it with ctx's cause.
func Hear(ctx context.Context, c *Container, name string, address netip.Addr, known bool) (time.Time, error) {
	if !c.Running() {
		return time.Time{}, notRunning(c)
	}
	namespace := fmt.Sprintf("/proc/%d/ns/net", c.Live.Pid)
	server := netip.AddrPortFrom(netip.MustParseAddr(netns.ResolverAddress), dnsPort)
	// One answer may be late, and so seem missing; two of them are not.
	need := 1
	if !known {
		need = 2
	}
	var first time.Time
	for seen := 0; ctx.Err() == nil; {
		sent := time.Now()
		answer, err := netns.Ask(namespace, server, name, hearEvery)
		if err != nil {
			return sent, err
		}
		if slices.Contains(answer.Addresses, address) != known {
			seen = 0
			continue
		}
		if seen++; seen == 1 {
			first = sent
		}
		if seen == need {
			return first, nil
		}
	}
	return first, context.Cause(ctx)
}

// ResidentsChanged is when a running container has last come to a network or left it.
func ResidentsChanged(l Layout, network string) (time.Time, error) {
	info, err := os.Stat(filepath.Join(l.Run, "networks", network))
	if err != nil {
		return time.Time{}, fmt.Errorf("look at residents: %w", err)
	}
	return info.ModTime(), nil
}
