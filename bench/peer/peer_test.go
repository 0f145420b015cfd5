package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// echoPort starts the echo at a port that the kernel draws.
func echoPort(t *testing.T) netip.AddrPort {
	socket, err := listen(0)
	if err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = echo(socket, 0) }() // It ends with the test's process.
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(name.(*unix.SockaddrInet4).Port))
}

func TestMessagesGoThereAndBackAndAreTimed(t *testing.T) {
	at := echoPort(t)
	for range 2 { // One connection after the other.
		times, err := ping(at, 50)
		if err != nil {
			t.Fatal(err)
		}
		if len(times) != 50 {
			t.Errorf("%d times", len(times))
		}
		for _, took := range times {
			if took <= 0 {
				t.Errorf("a message took %v", took)
			}
		}
	}
}

func TestPingFailsWhereNobodyAnswers(t *testing.T) {
	if _, err := ping(netip.MustParseAddrPort("127.0.0.1:1"), 1); err == nil {
		t.Error("no error")
	}
	var out bytes.Buffer
	for _, args := range [][]string{nil, {"ping"}, {"ping", "nowhere"}, {"ping", "-count", "0", "127.0.0.1"}, {"dance"}} {
		if err := run(context.Background(), args, &out); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// after answers from the nth question on.
func after(n int) resolver {
	asked := 0
	return func(context.Context, string) ([]netip.Addr, error) {
		if asked++; asked < n {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
	}
}

// answersAfter is a resolver on loopback that knows the name from the nth question on,
// and says nothing to the first.
func answersAfter(t *testing.T, n int) netip.AddrPort {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 512)
		for asked := 1; ; asked++ {
			size, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if asked > 1 {
				_, _ = conn.WriteToUDPAddrPort(replyTo(buffer[:size], asked >= n), from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func replyTo(packet []byte, known bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(packet) != nil {
		return nil
	}
	m.Response, m.RCode = true, dnsmessage.RCodeNameError
	if known {
		m.RCode = dnsmessage.RCodeSuccess
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		}}
	}
	reply, _ := m.Pack()
	return reply
}

func TestAwaitTellsThatItAsksAndWhenThereWasAnAnswer(t *testing.T) {
	var out bytes.Buffer
	begun := time.Now()
	if err := await(t.Context(), &out, answersAfter(t, 5), "name"); err != nil {
		t.Fatal(err)
	}
	word, rest, _ := strings.Cut(out.String(), "\n")
	at := moment(t, strings.TrimSpace(rest))
	if word != "ready" || at.Before(begun.Add(3*pause)) || at.After(time.Now()) {
		t.Errorf("%q, begun %d", out.String(), begun.UnixNano())
	}
}

func TestAwaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := await(ctx, &bytes.Buffer{}, answersAfter(t, 1_000_000), "name"); err == nil {
		t.Error("no error")
	}
}

func TestResolveTellsBothTimesInOrder(t *testing.T) {
	var out bytes.Buffer
	if err := resolve(t.Context(), &out, after(3), "name"); err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(out.String())
	if len(words) != 2 || moment(t, words[1]).Before(moment(t, words[0])) {
		t.Errorf("%q", out.String())
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := resolve(ctx, &bytes.Buffer{}, after(1000), "name"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func moment(t *testing.T, digits string) time.Time {
	t.Helper()
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(0, n)
}
