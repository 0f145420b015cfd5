package netns

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestEchoIsKnownByWhatItQuotes(t *testing.T) {
	request := echoRequest(7)
	if sum := checksum(request); sum != 0 {
		t.Errorf("the sum over a message with its checksum is %#x, not 0 (RFC 1071)", sum)
	}
	reply := append([]byte{icmpReply, 0, 0, 0}, request[4:]...)
	if !answersEcho(reply, request) || answersEcho(request, request) || answersEcho(reply[:7], request) || answersEcho(reply, echoRequest(8)) {
		t.Error("replies are not told from other messages")
	}
	quote := func(kind, code byte, header []byte, of []byte) []byte {
		return append(append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, header...), of...)
	}
	plain, options := append([]byte{0x45}, make([]byte, 19)...), append([]byte{0x46}, make([]byte, 23)...)
	for name, c := range map[string]struct {
		message []byte
		want    error
	}{
		"net":          {quote(3, 0, plain, request), unix.ENETUNREACH},
		"host":         {quote(3, 1, plain, request), unix.EHOSTUNREACH},
		"with options": {quote(3, 13, options, request), unix.EHOSTUNREACH},
		"another's":    {quote(3, 1, plain, echoRequest(8)), nil},
		"cut short":    {quote(3, 1, plain, request)[:30], nil},
		"header lies":  {quote(3, 1, append([]byte{0x4f}, make([]byte, 19)...), request), nil},
		"an answer":    {reply, nil},
	} {
		if err := refusesEcho(c.message, request); err != c.want { //nolint:errorlint // it is the value itself
			t.Errorf("%s: %v", name, err)
		}
	}
}

// word is an address as /proc/net/tcp writes it on this machine.
func word(address string) string {
	a := netip.MustParseAddr(address).AsSlice()
	text := ""
	for ; len(a) > 0; a = a[4:] {
		text += strings.ToUpper(hexOf(binary.NativeEndian.Uint32(a)))
	}
	return text
}

func hexOf(n uint32) string {
	const digits = "0123456789abcdef"
	text := make([]byte, 8)
	for i := range text {
		text[7-i] = digits[n&15]
		n >>= 4
	}
	return string(text)
}

func TestListeningSocketsAreRead(t *testing.T) {
	text := "  sl  local_address rem_address   st tx_queue\n" +
		"   0: " + word("0.0.0.0") + ":0050 00000000:0000 0A 00000000:00000000\n" +
		"   1: " + word("127.0.0.1") + ":0063 00000000:0000 0A 00000000:00000000\n" +
		"   2: " + word("10.0.0.1") + ":0064 00000000:0000 01 00000000:00000000\n" +
		"   3: " + word("127.0.0.11") + ":9000 00000000:0000 0A 00000000:00000000\n" +
		"   4: " + word("::1") + ":1F90 0:0 0A 0:0\n" +
		"   5: nonsense:0050 0:0 0A\n   6: 00:0050 0:0 0A\n   7: \n"
	var got []string
	for _, at := range listeningIn(text, listeningState("tcp")) {
		got = append(got, at.String())
	}
	if diff := cmp.Diff([]string{"0.0.0.0:80", "127.0.0.1:99", "[::1]:8080"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesOfMapsAreReadAsPublications(t *testing.T) {
	for _, want := range []Publication{
		{Proto: "tcp", HostIP: netip.IPv4Unspecified(), Host: 8080, Address: netip.MustParseAddr("172.18.0.2"), Container: 80},
		{Proto: "udp", HostIP: netip.MustParseAddr("127.0.0.1"), Host: 53, Address: netip.MustParseAddr("172.18.0.3"), Container: 5353},
	} {
		e := want.element()
		got, ok := RuleCounter{Chain: e.set, Comment: e.text}.Publication()
		if !ok || got != want {
			t.Errorf("%s: %+v, %v", e.text, got, ok)
		}
	}
	for _, c := range []RuleCounter{{Chain: "forward", Comment: "published ports"}, {Chain: published}, {Chain: published, Comment: "tcp . x : 172.18.0.2 . 80"}} {
		if got, ok := c.Publication(); ok {
			t.Errorf("%+v is read as %+v", c, got)
		}
	}
}
