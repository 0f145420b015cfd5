package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// resolver looks a name up.
type resolver func(ctx context.Context, name string) ([]netip.Addr, error)

// lookUp asks the servers of resolv.conf, as any program does. The dot keeps the
// domains away that are to be tried too.
func lookUp(ctx context.Context, name string) ([]netip.Addr, error) {
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip4", name+".")
}

// pause is how long await rests between questions: the most that it can be late, and
// long enough to leave the CPU to what it waits for.
const pause = time.Millisecond

// await tells that it is asking, and when there was an answer.
func await(ctx context.Context, out io.Writer, ask resolver, name string) error {
	if addresses, err := ask(ctx, name); err == nil {
		return fmt.Errorf("await %s: it is there already: %v", name, addresses)
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	found, err := askUntilFound(ctx, ask, name, pause)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, found.UnixNano())
	return err
}

// resolve asks as soon as it runs, and without a pause.
func resolve(ctx context.Context, out io.Writer, ask resolver, name string) error {
	begun := time.Now()
	found, err := askUntilFound(ctx, ask, name, time.Nanosecond)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, begun.UnixNano(), found.UnixNano())
	return err
}

// patience is the most that a name may take: many times what a start takes.
const patience = time.Minute

func askUntilFound(ctx context.Context, ask resolver, name string, every time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	rest := time.NewTicker(every)
	defer rest.Stop()
	for {
		addresses, err := ask(ctx, name)
		if err == nil && len(addresses) > 0 {
			return time.Now(), nil
		}
		select {
		case <-rest.C:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("look %s up: %w, at last: %w", name, ctx.Err(), err)
		}
	}
}
