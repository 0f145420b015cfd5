package hosts

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Serve listens at an address of the host, and answers whoever calls with the
// host's name and the address that the call came from, until the test's end.
func (h *Host) Serve(proto, address string) {
	h.t.Helper()
	h.Must(func() error {
		if proto == "udp" {
			return h.serveUDP(address)
		}
		return h.serveTCP(address)
	})
}

func (h *Host) serveTCP(address string) error {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	h.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s saw %s\n", h.Name, host(conn.RemoteAddr()))
			_ = conn.Close()
		}
	}()
	return nil
}

func (h *Host) serveUDP(address string) error {
	conn, err := net.ListenPacket("udp4", address)
	if err != nil {
		return err
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 64)
		for {
			_, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(writerTo{conn, from}, "%s saw %s\n", h.Name, host(from))
		}
	}()
	return nil
}

type writerTo struct {
	conn net.PacketConn
	to   net.Addr
}

func (w writerTo) Write(text []byte) (int, error) { return w.conn.WriteTo(text, w.to) }

func host(address net.Addr) string {
	name, _, _ := net.SplitHostPort(address.String())
	return name
}

// Call calls an address from the host, and returns the answer of [Host.Serve];
// an error when there is none in time.
func (h *Host) Call(proto, address string, patience time.Duration) (answer string, err error) {
	return h.CallFrom(proto, "", address, patience)
}

// CallFrom is Call from an address and port of the host's.
func (h *Host) CallFrom(proto, local, address string, patience time.Duration) (answer string, err error) {
	err = h.Do(func() error {
		dialer := net.Dialer{Timeout: patience}
		if local != "" {
			dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
			if proto == "tcp" {
				dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
			}
		}
		conn, err := dialer.Dial(proto+"4", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if proto == "udp" {
			if _, err := conn.Write([]byte("?")); err != nil {
				return err
			}
		}
		answer, err = bufio.NewReader(conn).ReadString('\n')
		return err
	})
	return strings.TrimSpace(answer), err
}
