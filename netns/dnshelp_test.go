package netns

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// The tests speak DNS through miekg/dns, which shares no code with what they test.

// asks packs a question.
func asks(t testing.TB, name string, kind uint16, change ...func(*dns.Msg)) []byte {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	for _, c := range change {
		c(m)
	}
	packet, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

// reads unpacks a reply and holds it against the question's ID.
func reads(t testing.TB, question, reply []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("reply %x: %v", reply, err)
	}
	if !m.Response || m.Id != uint16(question[0])<<8|uint16(question[1]) {
		t.Fatalf("no reply to %x: %v", question, m)
	}
	return m
}

// given lists the addresses of a reply, in order.
func given(m *dns.Msg) (list []string) {
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			list = append(list, a.A.String())
		}
	}
	return list
}

func resident(name, address string, aliases ...string) Resident {
	id := name + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return Resident{ID: id[:64], Name: name, Hostname: "host-" + name, Aliases: aliases, Address: netip.MustParseAddr(address)}
}

// twoNetworks is what a container on networks front and back sees.
func twoNetworks() *Table {
	return NewTable(
		View{Network: "front", Subnet: netip.MustParsePrefix("172.18.0.0/16"), Residents: []Resident{
			resident("web", "172.18.0.2", "site", "pool", "UPPER"), resident("web_2", "172.18.0.3", "pool"), resident("both", "172.18.0.4"),
		}},
		View{Network: "back", Internal: true, Residents: []Resident{
			resident("db", "172.19.0.2", "pool"), resident("both", "172.19.0.4"),
		}},
	)
}

// upstream is a server of the test's that does to each question what the test says.
func upstream(t testing.TB, udp, tcp dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := packets.LocalAddr().(*net.UDPAddr).AddrPort()
	servers := []*dns.Server{{PacketConn: packets, Handler: udp}}
	if tcp != nil {
		streams, err := net.Listen("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, &dns.Server{Listener: streams, Handler: tcp})
	}
	for _, s := range servers {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return at
}

// replies answers every question with one address.
func replies(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(repliesTo(m, "192.0.2.1")) }

func repliesTo(m *dns.Msg, list ...string) *dns.Msg {
	r := new(dns.Msg).SetReply(m)
	for _, address := range list {
		r.Answer = append(r.Answer, &dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 7}, A: net.ParseIP(address)})
	}
	return r
}

// fails answers every question with a response code.
func fails(rcode int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(m, rcode)) }
}

// served starts a server on the loopback of this namespace.
func served(t testing.TB, table *Table, forward *Forwarder, change ...func(*Server)) (s *Server, at string) {
	t.Helper()
	packets, streams := onePort(t)
	s = NewServer(packets, streams, table, forward)
	for _, c := range change {
		c(s)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close server: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, packets.LocalAddr().String()
}

// onePort opens both sockets at the same port: one that the kernel draws for UDP may
// be taken for TCP, so it draws again.
func onePort(t testing.TB) (*net.UDPConn, net.Listener) {
	t.Helper()
	var last error
	for range 50 {
		packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		streams, err := net.Listen("tcp4", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		last = errors.Join(err, packets.Close())
	}
	t.Fatal(last)
	return nil, nil
}
