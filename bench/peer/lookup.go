package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver looks a name up.
type resolver func(ctx context.Context, name string) ([]netip.Addr, error)

// lookUp asks the servers of resolv.conf, as any program does. The dot keeps the
// domains away that are to be tried too.
func lookUp(ctx context.Context, name string) ([]netip.Addr, error) {
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip4", name+".")
}

// resolverAt is where containers find their resolver, Docker's as well.
var resolverAt = netip.MustParseAddrPort("127.0.0.11:53")

// pause is how long await rests between questions: the most that it can be late, and
// long enough to leave the CPU to what it waits for.
const pause = time.Millisecond

// await tells that it is asking, and when there was an answer. It does not wait for
// one question's answer before it asks the next: a resolver may ask others for a name
// that it does not know, and take long for it.
func await(ctx context.Context, out io.Writer, at netip.AddrPort, name string) error {
	packet, err := question(name)
	if err != nil {
		return err
	}
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", at, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if _, err := conn.Write(packet); err != nil {
		return fmt.Errorf("ask %s: %w", at, err)
	}
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	go keepAsking(ctx, conn, packet)
	found, err := hear(conn)
	if err != nil {
		return fmt.Errorf("await %s: %w", name, err)
	}
	_, err = fmt.Fprintln(out, found.UnixNano())
	return err
}

func question(name string) ([]byte, error) {
	wire, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, fmt.Errorf("make question: %w", err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: wire, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// keepAsking asks until nobody listens any more.
func keepAsking(ctx context.Context, conn net.Conn, packet []byte) {
	rest := time.NewTicker(pause)
	defer rest.Stop()
	for {
		select {
		case <-rest.C:
			_, _ = conn.Write(packet) // What is lost is asked again.
		case <-ctx.Done():
			return
		}
	}
}

// hear waits for an answer with an address in it.
func hear(conn net.Conn) (time.Time, error) {
	buffer := make([]byte, 512) // RFC 1035, 4.2.1
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return time.Time{}, err
		}
		now := time.Now()
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) == nil && m.RCode == dnsmessage.RCodeSuccess && len(m.Answers) > 0 {
			return now, nil
		}
	}
}

// resolve asks as soon as it runs, and without a pause.
func resolve(ctx context.Context, out io.Writer, ask resolver, name string) error {
	begun := time.Now()
	found, err := askUntilFound(ctx, ask, name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, begun.UnixNano(), found.UnixNano())
	return err
}

// patience is the most that a name may take: many times what a start takes.
const patience = time.Minute

func askUntilFound(ctx context.Context, ask resolver, name string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		addresses, err := ask(ctx, name)
		if err == nil && len(addresses) > 0 {
			return time.Now(), nil
		}
		if ctx.Err() != nil {
			return time.Time{}, fmt.Errorf("look %s up: %w, at last: %w", name, ctx.Err(), err)
		}
	}
}
