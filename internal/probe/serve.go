package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// serve answers each HTTP request with one line, by hand: net/http would make
// this file three times as big. Over UDP it sends each datagram back.
func serve(args []string) error {
	at := "8080"
	if len(args) > 0 {
		at = args[0]
	}
	place, datagrams := strings.CutSuffix(at, "/udp")
	if !strings.Contains(place, ":") {
		place = ":" + place
	}
	address, port, err := net.SplitHostPort(place)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usage("serve: " + at + " is no [ADDRESS:]PORT[/udp]")
	}
	signals := endings()
	if err := listen(net.JoinHostPort(address, port), datagrams); err != nil {
		return err
	}
	return endedBy(<-signals)
}

func listen(at string, datagrams bool) error {
	if datagrams {
		conn, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		fmt.Println("listening on", conn.LocalAddr())
		go sendBack(conn)
		return nil
	}
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())
	go accept(listener)
	return nil
}

func sendBack(conn net.PacketConn) {
	buffer := make([]byte, 65535) // the largest datagram (RFC 768)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err == nil {
			_, err = conn.WriteTo(buffer[:n], from)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "probe:", err)
			return
		}
	}
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
