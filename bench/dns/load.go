package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// asker asks one question after the other, from a socket of its own.
type asker struct {
	conn   *net.UDPConn
	buffer [512]byte
	id     uint16
}

func newAsker(at netip.AddrPort) (*asker, error) {
	conn, err := dialServer(at)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", at, err)
	}
	return &asker{conn: conn}, nil
}

// answerTime is what an answer gets. Nothing is lost between sockets that are asked
// one question at a time; whatever takes longer is an error.
const answerTime = time.Second

// question asks for the address of a name.
func question(i int) ([]byte, error) {
	name, err := dnsmessage.NewName(nameOf(i) + ".")
	if err != nil {
		return nil, fmt.Errorf("make question: %w", err)
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	return m.Pack()
}

// ask asks for a name, and holds the answer against what it has to be.
func (a *asker) ask(i int) (time.Duration, error) {
	packet, err := question(i)
	if err != nil {
		return 0, err
	}
	return a.send(packet, addressOf(i))
}

func (a *asker) send(packet []byte, want netip.Addr) (time.Duration, error) {
	a.id++
	binary.BigEndian.PutUint16(packet, a.id)
	start := time.Now()
	if err := a.conn.SetReadDeadline(start.Add(answerTime)); err != nil {
		return 0, err
	}
	if _, err := a.conn.Write(packet); err != nil {
		return 0, err
	}
	n, err := a.conn.Read(a.buffer[:])
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	reply := a.buffer[:n]
	// The one address stands last in the answer of both.
	if n < 16 || reply[0] != packet[0] || reply[1] != packet[1] || reply[3]&0xf != 0 || netip.AddrFrom4([4]byte(reply[n-4:])) != want {
		return 0, fmt.Errorf("wrong answer to %x: %x", packet, reply)
	}
	return took, nil
}

// turn has all askers ask as fast as they can for as long as a turn lasts, and then
// at a pace that is the same for every server.
func (s *server) turn(ctx context.Context, p plan) error {
	before, err := cpuTime(s.pid)
	if err != nil {
		return err
	}
	start := time.Now()
	times, err := s.askAll(ctx, p, 0)
	if err != nil {
		return err
	}
	took := time.Since(start)
	after, err := cpuTime(s.pid)
	if err != nil {
		return err
	}
	s.perSecond = append(s.perSecond, float64(len(times))/took.Seconds())
	s.slowest = append(s.slowest, slowestHundredth(times))
	s.cpu = append(s.cpu, microseconds(after-before)/float64(len(times)))

	times, err = s.askAll(ctx, p, time.Duration(p.askers)*time.Second/time.Duration(p.pace))
	if err != nil {
		return err
	}
	s.paced = append(s.paced, slowestHundredth(times))
	return nil
}

// askAll returns how long all answers of all askers took, in ascending order.
func (s *server) askAll(ctx context.Context, p plan, interval time.Duration) ([]time.Duration, error) {
	all := make([][]time.Duration, p.askers)
	errs := make([]error, p.askers)
	var askers sync.WaitGroup
	for i := range p.askers {
		askers.Go(func() { all[i], errs[i] = askFor(ctx, s.at, p, i, interval) })
	}
	askers.Wait()
	times := slices.Concat(all...)
	slices.Sort(times)
	return times, errors.Join(append(errs, ctx.Err())...)
}

func slowestHundredth(sorted []time.Duration) float64 {
	return microseconds(sorted[len(sorted)*99/100])
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// askFor is one asker's turn; each goes through the names from another place on. A
// question waits until an interval after the one before was due; where the answer to
// that one came too late, its own time begins when it was due, for somebody else would
// not have waited.
func askFor(ctx context.Context, at netip.AddrPort, p plan, first int, interval time.Duration) ([]time.Duration, error) {
	a, err := newAsker(at)
	if err != nil {
		return nil, err
	}
	defer a.conn.Close()
	packets := make([][]byte, p.names)
	for i := range packets {
		if packets[i], err = question(i); err != nil {
			return nil, err
		}
	}
	var times []time.Duration
	start := time.Now()
	due := start.Add(interval * time.Duration(first) / time.Duration(p.askers))
	for i := first * p.names / p.askers; time.Since(start) < p.time && ctx.Err() == nil; i++ {
		var late time.Duration
		if interval > 0 {
			time.Sleep(time.Until(due))
			if n := len(times); n > 0 && times[n-1] >= interval { // Else it is the clock that woke us up late.
				late = max(0, time.Since(due))
			}
			due = due.Add(interval)
		}
		took, err := a.send(packets[i%p.names], addressOf(i%p.names))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("no answer within %v", answerTime)
		}
		if err != nil {
			return nil, err
		}
		times = append(times, took+late)
	}
	return times, nil
}
