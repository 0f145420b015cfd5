package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// serve answers each HTTP request with one line, by hand: net/http would make
// this file three times as big.
func serve(args []string) error {
	port := "8080"
	if len(args) > 0 {
		if _, err := number(args, "serve"); err != nil {
			return err
		}
		port = args[0]
	}
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	signals := endings()
	fmt.Println("listening on", listener.Addr())
	go accept(listener)
	return endedBy(<-signals)
}

func accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			return
		}
		go answer(conn)
	}
}

// answer reads up to the empty line that ends the head of a request (RFC 9112,
// section 2.1); a caller that sends none is told so after 5 s.
func answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	scan := bufio.NewScanner(conn)
	request := ""
	for scan.Scan() && scan.Text() != "" {
		if request == "" {
			request = scan.Text()
		}
	}
	host, _ := os.Hostname()
	body := fmt.Sprintf("%s answers %s: %s\n", host, conn.RemoteAddr(), request)
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: "+
		strconv.Itoa(len(body))+"\r\n\r\n"+body)
	fmt.Println(request)
}
