package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// answerWithin is how long call and lookup wait for an answer: longer than the second
// after which TCP tries again (RFC 6298, 2.1), so that one lost packet is no failure.
const answerWithin = 3 * time.Second

// call asks what serve answers, and writes the answer. Where none is to come, there is
// no use in waiting for as long as it may take.
func call(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return usage("call takes HOST:PORT[/udp], and how long it waits")
	}
	within := answerWithin
	if len(args) == 2 {
		var err error
		if within, err = time.ParseDuration(args[1]); err != nil {
			return usage("call waits for a duration: " + err.Error())
		}
	}
	at, datagrams := strings.CutSuffix(args[0], "/udp")
	proto := "tcp"
	if datagrams {
		proto = "udp"
	}
	conn, err := net.DialTimeout(proto, at, within)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if datagrams {
		return exchange(conn)
	}
	return readBody(conn)
}

func exchange(conn net.Conn) error {
	if _, err := io.WriteString(conn, "echo of "+conn.RemoteAddr().String()+"\n"); err != nil {
		return err
	}
	buffer := make([]byte, 65535) // the largest datagram (RFC 768)
	n, err := conn.Read(buffer)
	if err == nil {
		_, err = os.Stdout.Write(buffer[:n])
	}
	return err
}

// readBody is a request of HTTP by hand; of the answer the body is written.
func readBody(conn net.Conn) error {
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+conn.RemoteAddr().String()+"\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	_, body, ok := strings.Cut(string(answer), "\r\n\r\n")
	if !ok {
		return fmt.Errorf("no HTTP in %q", answer)
	}
	fmt.Print(body)
	return nil
}

// lookup writes what a name stands for, or an address, sorted, each on a line.
func lookup(args []string) error {
	if len(args) == 0 {
		return usage("lookup takes names and addresses")
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	var errs []error
	for _, name := range args {
		found, err := ask(ctx, name)
		errs = append(errs, err)
		slices.Sort(found)
		for _, f := range slices.Compact(found) {
			fmt.Println(name, f)
		}
	}
	return errors.Join(errs...)
}

func ask(ctx context.Context, name string) ([]string, error) {
	if net.ParseIP(name) != nil {
		return net.DefaultResolver.LookupAddr(ctx, name)
	}
	return net.DefaultResolver.LookupHost(ctx, name)
}
