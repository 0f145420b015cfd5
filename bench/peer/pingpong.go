package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// port is that of the echo service (RFC 862).
	port = 7
	// messageSize is small enough to leave the way itself as the cost, in bytes.
	messageSize = 64
	// warmUp is how many messages do not count: neighbours are found, and a connection's
	// first acknowledgements are of another kind.
	warmUp = 200
)

// stay puts this goroutine's thread on one CPU, for good. Sockets are used from it by
// plain blocking calls: Go's poller would measure itself.
func stay(cpu int) error {
	goruntime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	return nil
}

// serve answers both kinds of clients until the context ends.
func serve(ctx context.Context, cpu int) error {
	socket, err := listen(port)
	if err != nil {
		return err
	}
	errs := make(chan error, 2)
	go func() { errs <- echo(socket, cpu) }()
	go func() {
		iperf := exec.CommandContext(ctx, "iperf3", "--server")
		iperf.Stderr = os.Stderr
		errs <- fmt.Errorf("run iperf3: %w", iperf.Run())
	}()
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
		return nil
	}
}

func listen(port int) (socket int, err error) {
	if socket, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = unix.Bind(socket, &unix.SockaddrInet4{Port: port})
	if err = errors.Join(err, unix.Listen(socket, 1)); err != nil {
		return -1, fmt.Errorf("listen at port %d: %w", port, errors.Join(err, unix.Close(socket)))
	}
	return socket, nil
}

// echo serves one connection after the other.
func echo(socket, cpu int) error {
	if err := stay(cpu); err != nil {
		return err
	}
	for {
		conn, _, err := unix.Accept4(socket, unix.SOCK_CLOEXEC)
		if err != nil {
			return fmt.Errorf("accept connection: %w", err)
		}
		echoed := echoAll(conn)
		if err := errors.Join(echoed, unix.Close(conn)); err != nil {
			return fmt.Errorf("echo: %w", err)
		}
	}
}

// echoAll sends back what comes until the other side closes.
func echoAll(conn int) error {
	if err := atOnce(conn); err != nil {
		return err
	}
	buffer := make([]byte, messageSize)
	for {
		n, err := unix.Read(conn, buffer)
		if err != nil || n == 0 {
			return err
		}
		if _, err := unix.Write(conn, buffer[:n]); err != nil {
			return err
		}
	}
}

// atOnce has small messages sent without waiting for more (tcp(7), TCP_NODELAY).
func atOnce(conn int) error {
	return unix.SetsockoptInt(conn, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

func pingCommand(out io.Writer, cpu, count int, address string) error {
	to, err := netip.ParseAddr(address)
	if err != nil || !to.Is4() || count < 1 {
		return fmt.Errorf("ping %s: give an IPv4 address, and at least one message", address)
	}
	if err := stay(cpu); err != nil {
		return err
	}
	times, err := ping(netip.AddrPortFrom(to, port), count)
	if err != nil {
		return fmt.Errorf("ping %s: %w", address, err)
	}
	slices.Sort(times)
	_, err = fmt.Fprintln(out, times[len(times)/2].Nanoseconds())
	return err
}

// ping sends one message after the other, each when the one before is back.
func ping(to netip.AddrPort, count int) ([]time.Duration, error) {
	conn, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(conn)
	if err := errors.Join(unix.Connect(conn, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}), atOnce(conn)); err != nil {
		return nil, err
	}
	message := make([]byte, messageSize)
	times := make([]time.Duration, 0, count)
	for i := range warmUp + count {
		message[0] = byte(i)
		begun := time.Now()
		if err := thereAndBack(conn, message); err != nil {
			return nil, err
		}
		took := time.Since(begun)
		if message[0] != byte(i) {
			return nil, errors.New("another message came back")
		}
		if i >= warmUp {
			times = append(times, took)
		}
	}
	return times, nil
}

func thereAndBack(conn int, message []byte) error {
	if _, err := unix.Write(conn, message); err != nil {
		return err
	}
	for got := 0; got < len(message); {
		n, err := unix.Read(conn, message[got:])
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		got += n
	}
	return nil
}
