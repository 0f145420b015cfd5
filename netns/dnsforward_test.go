package netns

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/minidock/minidock/internal/require"
)

// quick has servers that say nothing cost a test little, and those that answer get
// the time that a busy or an emulated machine takes for it.
func quick() time.Duration {
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		return 3 * time.Second
	}
	return 500 * time.Millisecond
}

func quickForwarder(upstreams ...netip.AddrPort) *Forwarder {
	f := NewForwarder(false, upstreams...)
	f.timeout = quick()
	return f
}

// forwards asks through a forwarder, as the server does.
func forwards(t *testing.T, f *Forwarder, packet []byte, stream bool) *dns.Msg {
	t.Helper()
	return reads(t, packet, answer(packet, stream, twoNetworks(), func(q *query) []byte {
		if reply := f.keeps(q, true); reply != nil {
			return reply
		}
		return f.ask(context.Background(), q)
	}))
}

// silent is a server that never answers.
func silent(t *testing.T) netip.AddrPort {
	return upstream(t, func(dns.ResponseWriter, *dns.Msg) {}, nil)
}

// closed is an address at which nobody listens.
func closed(t *testing.T) netip.AddrPort {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestUnknownNamesAreAskedOfTheFirstServerThatAnswers(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	good := upstream(t, replies, nil)
	for name, test := range map[string]struct {
		servers []netip.AddrPort
		want    []string
		rcode   int
	}{
		"first":                 {[]netip.AddrPort{good}, []string{"192.0.2.1"}, dns.RcodeSuccess},
		"after a failure":       {[]netip.AddrPort{upstream(t, fails(dns.RcodeServerFailure), nil), good}, []string{"192.0.2.1"}, dns.RcodeSuccess},
		"after a refusal":       {[]netip.AddrPort{upstream(t, fails(dns.RcodeRefused), nil), good}, []string{"192.0.2.1"}, dns.RcodeSuccess},
		"after silence":         {[]netip.AddrPort{silent(t), good}, []string{"192.0.2.1"}, dns.RcodeSuccess},
		"after a closed port":   {[]netip.AddrPort{closed(t), good}, []string{"192.0.2.1"}, dns.RcodeSuccess},
		"no such name is final": {[]netip.AddrPort{upstream(t, fails(dns.RcodeNameError), nil), good}, nil, dns.RcodeNameError},
		"the third":             {[]netip.AddrPort{closed(t), closed(t), good}, []string{"192.0.2.1"}, dns.RcodeSuccess},
		"not the fourth":        {[]netip.AddrPort{closed(t), closed(t), closed(t), good}, nil, dns.RcodeServerFailure},
		"nobody answers":        {[]netip.AddrPort{silent(t)}, nil, dns.RcodeServerFailure},
		"nobody to ask":         {nil, nil, dns.RcodeServerFailure},
	} {
		m := forwards(t, quickForwarder(test.servers...), asks(t, "far.test", dns.TypeA), false)
		if diff := cmp.Diff(test.want, given(m)); diff != "" || m.Rcode != test.rcode {
			t.Errorf("%s: %v (-want +got):\n%s", name, m, diff)
		}
	}
}

func TestEachServerHasItsOwnTime(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	start := time.Now()
	m := forwards(t, quickForwarder(silent(t), silent(t), silent(t)), asks(t, "far.test", dns.TypeA), false)
	if took := time.Since(start); m.Rcode != dns.RcodeServerFailure || took < 3*quick() || took > 3*quick()+5*time.Second {
		t.Errorf("%v after %v", m.Rcode, took)
	}
	if NewForwarder(false).timeout != 4*time.Second {
		t.Error("a server does not get Docker's 4 s")
	}
}

// The question goes out as it came, but for the ID; the reply comes back as it was.
func TestQuestionsAndRepliesPassUnchanged(t *testing.T) {
	var heard atomic.Pointer[dns.Msg]
	at := upstream(t, func(w dns.ResponseWriter, m *dns.Msg) {
		heard.Store(m.Copy())
		r := repliesTo(m, "192.0.2.1")
		r.AuthenticatedData, r.Authoritative, r.RecursionAvailable = true, true, true
		r.Extra = append(r.Extra, &dns.TXT{Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{"kept"}})
		r.SetEdns0(4096, true)
		_ = w.WriteMsg(r)
	}, nil)
	ids := map[uint16]bool{}
	for range 20 {
		packet := asks(t, "MiXed.far.test", dns.TypeNAPTR, func(m *dns.Msg) {
			m.Id, m.CheckingDisabled = 7, true
			m.SetEdns0(1400, true)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
		})
		m := forwards(t, quickForwarder(at), packet, false)
		if !m.AuthenticatedData || !m.Authoritative || len(m.Extra) != 2 || m.IsEdns0() == nil || m.Question[0].Name != "MiXed.far.test." {
			t.Fatalf("reply: %v", m)
		}
		got := heard.Load()
		ids[got.Id] = true
		opt := got.IsEdns0()
		if got.Question[0].Name != "MiXed.far.test." || !got.CheckingDisabled || opt == nil || opt.UDPSize() != 1400 || !opt.Do() || len(opt.Option) != 1 {
			t.Fatalf("question: %v", got)
		}
	}
	if len(ids) < 15 {
		t.Errorf("IDs can be guessed: %v", ids)
	}
}

// forgeries are replies that an attacker could send, of whom each is wrong in one way.
func forgeries(m *dns.Msg) [][]byte {
	var all [][]byte
	for _, forge := range []func(*dns.Msg){
		func(r *dns.Msg) { r.Id++ },
		func(r *dns.Msg) { r.Question[0].Name = "other.test." },
		func(r *dns.Msg) { r.Question[0].Qtype = dns.TypeAAAA },
		func(r *dns.Msg) { r.Question[0].Qclass = dns.ClassCHAOS },
		func(r *dns.Msg) { r.Question = nil },
		func(r *dns.Msg) { r.Response = false },
		func(r *dns.Msg) { r.Opcode = dns.OpcodeNotify },
	} {
		r := repliesTo(m, "203.0.113.66")
		r.Answer[0].Header().Name = "far.test."
		forge(r)
		packet, _ := r.Pack()
		all = append(all, packet)
	}
	right, _ := repliesTo(m, "203.0.113.66").Pack()
	claims := slices.Clone(right)
	claims[7] = 9 // answers of which there is one
	return append(all, right[:10], nil, right[:len(right)-3], claims, []byte("garbage that is long enough to have a header"))
}

func TestForgedRepliesAreDroppedAndTheRightOneAwaited(t *testing.T) {
	var sent atomic.Int32
	at := upstream(t, func(w dns.ResponseWriter, m *dns.Msg) {
		for _, forged := range forgeries(m) {
			sent.Add(1)
			_, _ = w.Write(forged)
		}
		_ = w.WriteMsg(repliesTo(m, "192.0.2.1"))
	}, nil)
	for range 10 {
		if got := given(forwards(t, quickForwarder(at), asks(t, "far.test", dns.TypeA), false)); !slices.Equal(got, []string{"192.0.2.1"}) {
			t.Fatalf("believed %v", got)
		}
	}
	if sent.Load() < 100 {
		t.Errorf("only %d forgeries were sent", sent.Load())
	}
	alone := upstream(t, func(w dns.ResponseWriter, m *dns.Msg) {
		for _, forged := range forgeries(m) {
			_, _ = w.Write(forged)
		}
	}, nil)
	if m := forwards(t, quickForwarder(alone), asks(t, "far.test", dns.TypeA), false); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("believed %v", m)
	}
}

// A reply with everything right, but from another port or address, is not the server's.
func TestRepliesFromElsewhereAreDropped(t *testing.T) {
	elsewhere := []string{"127.0.0.1:0", "127.0.0.2:0"}
	var told atomic.Int32
	at := upstream(t, func(w dns.ResponseWriter, m *dns.Msg) {
		packet, _ := repliesTo(m, "203.0.113.66").Pack()
		for _, from := range elsewhere {
			conn, err := net.ListenPacket("udp4", from)
			if err != nil {
				continue
			}
			if _, err := conn.WriteTo(packet, w.RemoteAddr()); err == nil {
				told.Add(1)
			}
			conn.Close()
		}
		_ = w.WriteMsg(repliesTo(m, "192.0.2.1"))
	}, nil)
	for range 10 {
		if got := given(forwards(t, quickForwarder(at), asks(t, "far.test", dns.TypeA), false)); !slices.Equal(got, []string{"192.0.2.1"}) {
			t.Fatalf("believed %v", got)
		}
	}
	if told.Load() < 20 {
		t.Errorf("only %d were sent", told.Load())
	}
}

// shortens answers over UDP that there is more over TCP.
func shortens(w dns.ResponseWriter, m *dns.Msg) {
	r := new(dns.Msg).SetReply(m)
	r.Truncated = true
	_ = w.WriteMsg(r)
}

func TestWhatDoesNotFitIsFetchedOverTCP(t *testing.T) {
	long := func(w dns.ResponseWriter, m *dns.Msg) {
		var all []string
		for i := range 100 {
			all = append(all, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String())
		}
		r := repliesTo(m, all...)
		r.Compress = true
		_ = w.WriteMsg(r)
	}
	whole := upstream(t, shortens, long)
	half := upstream(t, shortens, nil)
	overlong := upstream(t, func(w dns.ResponseWriter, m *dns.Msg) {
		r := repliesTo(m)
		for range 60 {
			r.Answer = append(r.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{strings.Repeat("x", 200)}})
		}
		_ = w.WriteMsg(r)
	}, long)
	sized := func(size uint16) func(*dns.Msg) {
		return func(m *dns.Msg) {
			if size > 0 {
				m.SetEdns0(size, false)
			}
		}
	}
	for name, test := range map[string]struct {
		server  netip.AddrPort
		size    uint16
		stream  bool
		answers int
		cut     bool
		rcode   int
	}{
		"the asker came over TCP":        {whole, 0, true, 100, false, 0},
		"the asker takes 512 bytes":      {whole, 0, false, 0, true, 0},
		"the asker takes enough":         {whole, 4096, false, 100, false, 0},
		"the asker takes too little":     {whole, 1232, false, 0, true, 0},
		"no TCP there":                   {half, 4096, false, 0, true, 0},
		"no TCP there, and none to wait": {half, 0, true, 0, false, dns.RcodeServerFailure},
		"longer than is read":            {overlong, 4096, false, 100, false, 0},
		"longer, for who takes 512":      {overlong, 0, false, 0, true, 0},
	} {
		packet := asks(t, "far.test", dns.TypeA, sized(test.size))
		m := forwards(t, quickForwarder(test.server), packet, test.stream)
		if len(m.Answer) != test.answers || m.Truncated != test.cut || m.Rcode != test.rcode {
			t.Errorf("%s: %d answers, truncated %v, %s", name, len(m.Answer), m.Truncated, dns.RcodeToString[m.Rcode])
		}
	}
}

// Over TCP a wrong reply ends it: nobody else can have sent it.
func TestNonsenseOverTCPIsAFailure(t *testing.T) {
	for name, says := range map[string][]byte{
		"another question": withLength(asks(t, "other.test", dns.TypeA, func(m *dns.Msg) { m.Response = true })),
		"garbage":          []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"nothing":          nil,
	} {
		packets := upstream(t, shortens, nil)
		streams, err := net.Listen("tcp4", packets.String())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := streams.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write(says)
				conn.Close()
			}
		}()
		if m := forwards(t, quickForwarder(packets), asks(t, "far.test", dns.TypeA), true); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %v", name, m)
		}
		streams.Close()
	}
}

func TestSingleNamesAreKeptWhereTheyAreToBeCompleted(t *testing.T) {
	f := quickForwarder(upstream(t, replies, nil))
	f.Single = true
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		if m := forwards(t, f, asks(t, "single", kind), false); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 {
			t.Errorf("%v", m)
		}
	}
	for name, packet := range map[string][]byte{"dotted": asks(t, "far.test", dns.TypeA), "another type": asks(t, "single", dns.TypeTXT)} {
		if m := forwards(t, f, packet, false); len(m.Answer) != 1 {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestAnInternalContainerForwardsNothing(t *testing.T) {
	var asked atomic.Int32
	f := quickForwarder(upstream(t, func(w dns.ResponseWriter, m *dns.Msg) { asked.Add(1); replies(w, m) }, nil))
	internal := NewTable(View{Network: "n", Internal: true, Residents: []Resident{resident("web", "10.0.0.2")}})
	s, at := served(t, internal, f)
	for _, network := range []string{"udp", "tcp"} {
		m, _, err := (&dns.Client{Net: network}).Exchange(new(dns.Msg).SetQuestion("far.test.", dns.TypeA), at)
		if err != nil || m.Rcode != dns.RcodeServerFailure {
			t.Errorf("%s: %v, %v", network, m, err)
		}
		m, _, err = (&dns.Client{Net: network}).Exchange(new(dns.Msg).SetQuestion("web.", dns.TypeA), at)
		if err != nil || len(m.Answer) != 1 {
			t.Errorf("%s: %v, %v", network, m, err)
		}
	}
	if asked.Load() != 0 {
		t.Error("a question got out")
	}
	s.Swap(twoNetworks())
	if m, _, err := new(dns.Client).Exchange(new(dns.Msg).SetQuestion("far.test.", dns.TypeA), at); err != nil || len(m.Answer) != 1 {
		t.Errorf("a network with a way out came: %v, %v", m, err)
	}
}

// Whatever an upstream sends, no more than a right reply is believed.
func FuzzAnsweredBy(f *testing.F) {
	packet := asks(f, "far.test", dns.TypeA)
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		f.Fatal(err)
	}
	right, _ := repliesTo(m, "192.0.2.1").Pack()
	f.Add(right)
	for _, forged := range forgeries(m) {
		f.Add(forged)
	}
	q, _, err := readQuery(packet, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		if !q.answeredBy(packet, reply) {
			return
		}
		if binary.BigEndian.Uint16(reply) != binary.BigEndian.Uint16(packet) || reply[2]&0x80 == 0 || !strings.EqualFold(string(reply[12:22]), string(packet[12:22])) {
			t.Errorf("believed %x", reply)
		}
		if fitted := q.fit(reply); len(fitted) > 512 {
			t.Errorf("%d bytes", len(fitted))
		}
	})
}
