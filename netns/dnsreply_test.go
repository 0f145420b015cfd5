package netns

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// unforwarded says that a question was none for the table.
func unforwarded(t testing.TB) func(*query) []byte {
	return func(q *query) []byte {
		t.Errorf("%q %d was forwarded", q.name, q.kind)
		return nil
	}
}

func TestKnownNamesAreAnswered(t *testing.T) {
	for _, name := range []string{"web", "WeB", "site", "web_2", "web.front", "db.back"} {
		q := asks(t, name, dns.TypeA)
		m := reads(t, q, answer(q, false, twoNetworks(), unforwarded(t)))
		if m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 || !m.RecursionAvailable || !m.RecursionDesired || m.Truncated {
			t.Fatalf("%s: %v", name, m)
		}
		if h := m.Answer[0].Header(); h.Ttl != 600 || h.Class != dns.ClassINET || h.Name != name+"." {
			t.Errorf("%s: %v", name, m.Answer[0])
		}
		if m.Question[0].Name != name+"." {
			t.Errorf("%s is not asked as it was: %v", name, m.Question)
		}
	}
}

func TestAllHoldersAreAnsweredInEveryOrder(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		q := asks(t, "pool", dns.TypeA)
		list := given(reads(t, q, answer(q, false, twoNetworks(), unforwarded(t))))
		seen[strings.Join(list, " ")] = true
		slices.Sort(list)
		if diff := cmp.Diff([]string{"172.18.0.2", "172.18.0.3"}, list); diff != "" {
			t.Fatal(diff)
		}
	}
	if len(seen) != 2 {
		t.Errorf("always in the same order: %v", seen)
	}
}

// Whatever else is asked of a known name: there is none of it, and nobody else is
// asked, also where the public has the same name.
func TestOtherTypesOfAKnownNameAreEmpty(t *testing.T) {
	table := NewTable(View{Network: "n", Residents: []Resident{resident("example.com", "10.0.0.2")}})
	for _, kind := range []uint16{dns.TypeAAAA, dns.TypeMX, dns.TypeTXT, dns.TypeHTTPS, dns.TypeSRV, dns.TypeNS, dns.TypeSOA, dns.TypePTR, 65280} {
		q := asks(t, "example.com", kind)
		m := reads(t, q, answer(q, false, table, unforwarded(t)))
		if m.Rcode != dns.RcodeSuccess || len(m.Answer)+len(m.Ns)+len(m.Extra) != 0 {
			t.Errorf("type %d: %v", kind, m)
		}
	}
	q := asks(t, "example.com", dns.TypeANY)
	if got := given(reads(t, q, answer(q, false, table, unforwarded(t)))); len(got) != 1 || got[0] != "10.0.0.2" {
		t.Errorf("any: %v", got)
	}
}

func TestPointersAreAnswered(t *testing.T) {
	q := asks(t, "3.0.18.172.in-ADDR.arpa", dns.TypePTR)
	m := reads(t, q, answer(q, false, twoNetworks(), unforwarded(t)))
	if len(m.Answer) != 1 || m.Answer[0].(*dns.PTR).Ptr != "web_2.front." || m.Answer[0].Header().Ttl != 600 {
		t.Errorf("%v", m)
	}
	for _, name := range []string{"9.0.18.172.in-addr.arpa", "0.18.172.in-addr.arpa", "x.0.18.172.in-addr.arpa", "300.0.18.172.in-addr.arpa", "in-addr.arpa", "3.0.18.172.in-addr.arpa.x", "1.3.0.18.172.in-addr.arpa"} {
		if !goesOn(asks(t, name, dns.TypePTR)) {
			t.Errorf("%s is not forwarded", name)
		}
	}
}

// goesOn says whether a question is forwarded.
func goesOn(packet []byte) (forwarded bool) {
	answer(packet, false, twoNetworks(), func(*query) []byte { forwarded = true; return nil })
	return forwarded
}

func TestNamesOfAllLengthsAreTakenAsDNSTakesThem(t *testing.T) {
	longest := strings.Repeat("x", 63)
	table := NewTable(View{Network: "n", Residents: []Resident{
		resident(longest, "10.0.0.2"), resident(longest+"y", "10.0.0.3"), resident("a..b", "10.0.0.4"), resident("_", "10.0.0.5"),
	}})
	for name, want := range map[string]string{longest: "10.0.0.2", strings.ToUpper(longest) + ".n": "10.0.0.2", "_": "10.0.0.5"} {
		q := asks(t, name, dns.TypeA)
		if got := given(reads(t, q, answer(q, false, table, unforwarded(t)))); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// No DNS name can be made of these containers' names.
	for _, address := range []string{"3.0.0.10", "4.0.0.10"} {
		q := asks(t, address+".in-addr.arpa", dns.TypePTR)
		if m := reads(t, q, answer(q, false, table, unforwarded(t))); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 {
			t.Errorf("%s: %v", address, m)
		}
	}
}

// A dot within a label is not one between labels.
func TestADotInALabelMakesAnotherName(t *testing.T) {
	for _, name := range []string{`web\.front`, `web\.front.example`} {
		if !goesOn(asks(t, name, dns.TypeA)) {
			t.Errorf("%s is taken for web.front", name)
		}
	}
	if !goesOn(asks(t, ".", dns.TypeNS)) {
		t.Error("the root is not forwarded")
	}
	if !goesOn(asks(t, "web", dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })) {
		t.Error("another class is taken for the Internet's")
	}
}

func TestWhatCannotBeAnsweredIsRefusedAsTheRFCsSay(t *testing.T) {
	plain := asks(t, "web", dns.TypeA)
	edns := func(m *dns.Msg) { m.SetEdns0(1232, false) }
	for name, test := range map[string]struct {
		packet []byte
		rcode  int
	}{
		"another operation":     {asks(t, "web", dns.TypeA, func(m *dns.Msg) { m.Opcode = dns.OpcodeStatus }), dns.RcodeNotImplemented},
		"an update":             {asks(t, "web", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"no question":           {asks(t, "web", dns.TypeA, func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		"two questions":         {asks(t, "web", dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"header only":           {plain[:12], dns.RcodeFormatError},
		"cut in the name":       {plain[:14], dns.RcodeFormatError},
		"cut in the type":       {plain[:len(plain)-3], dns.RcodeFormatError},
		"cut in OPT":            {asks(t, "web", dns.TypeA, edns)[:len(plain)+6], dns.RcodeFormatError},
		"looping compression":   {slices.Concat(plain[:12], []byte{0xc0, 12, 0, 1, 0, 1}), dns.RcodeFormatError},
		"compression ahead":     {slices.Concat(plain[:12], []byte{0xc0, 18, 0, 1, 0, 1, 3, 'w', 'e', 'b', 0}), dns.RcodeFormatError},
		"a label of 64":         {slices.Concat(plain[:12], []byte{64}, bytes.Repeat([]byte{'x'}, 64), []byte{0, 0, 1, 0, 1}), dns.RcodeFormatError},
		"a name of 256":         {slices.Concat(plain[:12], bytes.Repeat([]byte{1, 'x'}, 127), []byte{1, 'x', 0, 0, 1, 0, 1}), dns.RcodeFormatError},
		"records that are none": {slices.Concat(plain[:7], []byte{9}, plain[8:]), dns.RcodeFormatError},
		"two OPT records":       {asks(t, "web", dns.TypeA, edns, func(m *dns.Msg) { m.Extra = append(m.Extra, m.Extra[0]) }), dns.RcodeFormatError},
		"another EDNS":          {asks(t, "web", dns.TypeA, edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		"a transfer":            {asks(t, "web", dns.TypeAXFR), dns.RcodeRefused},
		"part of a transfer":    {asks(t, "web", dns.TypeIXFR), dns.RcodeRefused},
	} {
		for _, stream := range []bool{false, true} {
			m := reads(t, test.packet, answer(test.packet, stream, twoNetworks(), unforwarded(t)))
			if m.Rcode != test.rcode || len(m.Answer) != 0 {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

func TestNoReplyToWhatIsNoQuery(t *testing.T) {
	plain := asks(t, "web", dns.TypeA)
	for name, packet := range map[string][]byte{
		"nothing": nil, "less than a header": plain[:11], "a reply": asks(t, "web", dns.TypeA, func(m *dns.Msg) { m.Response = true }),
	} {
		if reply := answer(packet, false, twoNetworks(), unforwarded(t)); reply != nil {
			t.Errorf("%s: %x", name, reply)
		}
	}
	longest := slices.Concat(plain[:12], bytes.Repeat([]byte{1, 'x'}, 127), []byte{0, 0, 1, 0, 1})
	if !goesOn(longest) {
		t.Error("a name of 255 bytes is refused")
	}
}

func TestEDNSIsAnsweredOnlyWhereAsked(t *testing.T) {
	q := asks(t, "web", dns.TypeA)
	if m := reads(t, q, answer(q, false, twoNetworks(), nil)); m.IsEdns0() != nil {
		t.Errorf("not asked: %v", m)
	}
	for _, dnssec := range []bool{false, true} {
		q = asks(t, "web", dns.TypeA, func(m *dns.Msg) {
			m.SetEdns0(4096, dnssec)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0011223344556677"})
		})
		opt := reads(t, q, answer(q, false, twoNetworks(), nil)).IsEdns0()
		if opt == nil || opt.UDPSize() != 1232 || opt.Do() != dnssec || opt.Version() != 0 || len(opt.Option) != 0 {
			t.Errorf("dnssec %v: %v", dnssec, opt)
		}
	}
	q = asks(t, "web", dns.TypeA, func(m *dns.Msg) { m.CheckingDisabled, m.RecursionDesired = true, false })
	if m := reads(t, q, answer(q, false, twoNetworks(), nil)); !m.CheckingDisabled || m.RecursionDesired || m.AuthenticatedData {
		t.Errorf("flags: %v", m)
	}
}

// crowded has n holders of one name.
func crowded(n int) *Table {
	v := View{Network: "n"}
	for i := range n {
		v.Residents = append(v.Residents, Resident{ID: fmt.Sprintf("%064d", i), Name: fmt.Sprintf("c%d", i), Aliases: []string{"pool"}, Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})})
	}
	return NewTable(v)
}

func TestAnswersAreCutToTheAskersSize(t *testing.T) {
	for name, test := range map[string]struct {
		holders, size int
		stream        bool
		cut           bool
	}{
		"fits just":            {29, 0, false, false},
		"one more":             {30, 0, false, true},
		"EDNS fits":            {70, 1232, false, false},
		"EDNS does not":        {80, 1232, false, true},
		"less than is allowed": {20, 10, false, false},
		"a whole network":      {253, 4096, false, false},
		"TCP":                  {253, 0, true, false},
		"TCP minds no EDNS":    {253, 512, true, false},
		"too many for TCP":     {5000, 0, true, false}, // who could ask again?
		"largest datagram":     {5000, 65535, false, true},
	} {
		q := asks(t, "pool", dns.TypeA, func(m *dns.Msg) {
			if test.size > 0 {
				m.SetEdns0(uint16(test.size), false)
			}
		})
		reply := answer(q, test.stream, crowded(test.holders), unforwarded(t))
		m := reads(t, q, reply)
		limit := max(512, test.size)
		if test.stream {
			limit = 65535
		}
		if m.Truncated != test.cut || len(reply) > limit || (m.IsEdns0() != nil) != (test.size > 0) {
			t.Errorf("%s: truncated %v, %d bytes, %d answers", name, m.Truncated, len(reply), len(m.Answer))
		}
		if !test.cut && test.holders < 1000 && len(m.Answer) != test.holders || len(m.Answer) == 0 {
			t.Errorf("%s: %d answers of %d", name, len(m.Answer), test.holders)
		}
	}
}

func TestATooLargeForwardedReplyIsCut(t *testing.T) {
	q := asks(t, "far.test", dns.TypeTXT)
	large := bytes.Repeat([]byte{3}, 600)
	m := reads(t, q, answer(q, false, twoNetworks(), func(*query) []byte { return large }))
	if !m.Truncated || m.Rcode != 3 || len(m.Answer) != 0 || m.Question[0].Name != "far.test." {
		t.Errorf("%v", m)
	}
	if got := answer(q, true, twoNetworks(), func(*query) []byte { return large }); !bytes.Equal(got, large) {
		t.Error("cut over TCP too")
	}
	m = reads(t, q, answer(q, false, twoNetworks(), func(*query) []byte { return nil }))
	if m.Rcode != dns.RcodeServerFailure {
		t.Errorf("nobody knows: %v", m)
	}
}

// Whatever comes, the reply is one, to this question, and no larger than allowed.
func FuzzAnswer(f *testing.F) {
	plain := asks(f, "web.front", dns.TypeA)
	f.Add(plain, false)
	f.Add(asks(f, "pool", dns.TypeANY, func(m *dns.Msg) { m.SetEdns0(600, true) }), false)
	f.Add(asks(f, "3.0.18.172.in-addr.arpa", dns.TypePTR), true)
	f.Add(slices.Concat(plain[:12], []byte{0xc0, 12, 0, 1, 0, 1}), false)
	table := twoNetworks()
	f.Fuzz(func(t *testing.T, packet []byte, stream bool) {
		before := bytes.Clone(packet)
		forwarded := false
		reply := answer(packet, stream, table, func(q *query) []byte { forwarded = true; return nil })
		if !bytes.Equal(before, packet) {
			t.Error("the question was changed")
		}
		if reply == nil {
			if len(packet) >= 12 && packet[2]&0x80 == 0 {
				t.Errorf("no reply to %x", packet)
			}
			return
		}
		m := reads(t, packet, reply)
		if limit := map[bool]int{false: 65507, true: 65535}[stream]; len(reply) > limit || len(reply) > 512 && m.IsEdns0() == nil && !stream {
			t.Errorf("%d bytes", len(reply))
		}
		if forwarded && m.Rcode != dns.RcodeServerFailure {
			t.Errorf("made up: %v", m)
		}
	})
}
