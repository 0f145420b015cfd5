package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// lines are what a running probe has written.
type lines struct {
	c     chan string
	first string
}

func follow(r io.Reader) *lines {
	l := &lines{c: make(chan string)}
	go func() {
		defer close(l.c)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			l.c <- scan.Text()
		}
	}()
	return l
}

func (l *lines) next(t *testing.T) string {
	t.Helper()
	select {
	case line := <-l.c:
		if l.first == "" {
			l.first = line
		}
		return line
	case <-time.After(patience):
		t.Fatal("the probe says nothing")
		return ""
	}
}

func get(t *testing.T, address, path string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: probe\r\n\r\n", path)
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
