package netns

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/minidock/minidock/internal/require"
)

// patient gives a busy machine its time.
const patient = 30 * time.Second

func exchange(t *testing.T, network, at, name string) *dns.Msg {
	t.Helper()
	m, _, err := (&dns.Client{Net: network, Timeout: patient}).Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), at)
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return m
}

func TestServerAnswersOverBothAndFollowsTheTable(t *testing.T) {
	s, at := served(t, twoNetworks(), quickForwarder(upstream(t, replies, replies)))
	for _, network := range []string{"udp", "tcp"} {
		if got := given(exchange(t, network, at, "web")); len(got) != 1 || got[0] != "172.18.0.2" {
			t.Errorf("%s: %v", network, got)
		}
		if got := given(exchange(t, network, at, "far.test")); len(got) != 1 || got[0] != "192.0.2.1" {
			t.Errorf("%s: %v", network, got)
		}
	}
	s.Swap(NewTable(View{Network: "front", Residents: []Resident{resident("web", "172.18.0.9")}}))
	if got := given(exchange(t, "udp", at, "web")); len(got) != 1 || got[0] != "172.18.0.9" {
		t.Errorf("after the swap: %v", got)
	}
}

// crowd asks for 10,000 names at once, each its own socket's question until it is
// answered, as a resolver does; and some nonsense between them.
func TestTenThousandQuestionsAtOnceGetTheirOwnAnswers(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	const askers, each = 500, 20
	var views View
	views.Network = "n"
	for i := range askers * each {
		views.Residents = append(views.Residents, Resident{ID: fmt.Sprintf("%064d", i), Name: fmt.Sprintf("c%d", i), Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})})
	}
	_, at := served(t, NewTable(views), quickForwarder())
	before := memory()
	var all sync.WaitGroup
	var wrong, highest atomic.Int64
	for a := range askers {
		all.Go(func() {
			if err := askMany(at, a*each, each); err != nil {
				wrong.Add(1)
				t.Error(err)
			}
			highest.Store(max(highest.Load(), int64(goruntime.NumGoroutine())))
		})
	}
	all.Wait()
	// The askers are in this process, too: 10 KiB each is theirs.
	if grown := memory() - before; grown > 24<<20 {
		t.Errorf("memory grew by %d KiB", grown>>10)
	}
	if limit := int64(askers + 50); highest.Load() > limit {
		t.Errorf("%d goroutines, more than a server and %d askers have", highest.Load(), askers)
	}
}

func memory() uint64 {
	goruntime.GC()
	var m goruntime.MemStats
	goruntime.ReadMemStats(&m)
	return m.HeapInuse
}

// askMany has all its questions out before it reads, and asks again for what got lost.
func askMany(at string, first, count int) error {
	conn, err := net.Dial("udp4", at)
	if err != nil {
		return err
	}
	defer conn.Close()
	missing := map[uint16]bool{}
	for i := range count {
		missing[uint16(first+i)] = true
	}
	buffer := make([]byte, 512)
	for deadline := time.Now().Add(2 * patient); len(missing) > 0 && time.Now().Before(deadline); {
		for i := range missing {
			m := new(dns.Msg).SetQuestion(fmt.Sprintf("C%d.n.", i), dns.TypeA)
			m.Id = i
			packet, err := m.Pack()
			if err != nil {
				return err
			}
			_, _ = conn.Write(packet)
			_, _ = conn.Write(packet[:15]) // and nonsense
		}
		_ = conn.SetReadDeadline(time.Now().Add(quick()))
		for len(missing) > 0 {
			n, err := conn.Read(buffer)
			if err != nil {
				break
			}
			m := new(dns.Msg)
			if err := m.Unpack(buffer[:n]); err != nil {
				return err
			}
			if m.Rcode == dns.RcodeFormatError {
				continue
			}
			want := netip.AddrFrom4([4]byte{10, 1, byte(m.Id >> 8), byte(m.Id)}).String()
			if got := given(m); len(got) != 1 || got[0] != want || m.Question[0].Name != fmt.Sprintf("C%d.n.", m.Id) {
				return fmt.Errorf("%d: got %v, want %s", m.Id, m, want)
			}
			delete(missing, m.Id)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%d questions were never answered", len(missing))
	}
	return nil
}

// What is over the limit fails at once, and nobody else waits for it.
func TestForwardingIsBounded(t *testing.T) {
	f := quickForwarder(silent(t))
	f.timeout = patient
	_, at := served(t, twoNetworks(), f)
	conn, err := net.Dial("udp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Until all places are taken there is silence; what is lost on the way is sent again.
	// One at a time: a flood would leave no room in the socket for what comes after it.
	for deadline := time.Now().Add(patient); len(f.busy) < maxForwarded; {
		if time.Now().After(deadline) {
			t.Fatalf("only %d are forwarded", len(f.busy))
		}
		taken := len(f.busy)
		if _, err := conn.Write(asks(t, "far.test", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		for lost := time.Now().Add(patient / 100); len(f.busy) == taken && time.Now().Before(lost); {
			goruntime.Gosched()
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		start := time.Now()
		if m := exchange(t, network, at, "one.more.test"); m.Rcode != dns.RcodeServerFailure || time.Since(start) > patient/3 {
			t.Errorf("%s: %v after %v", network, m.Rcode, time.Since(start))
		}
		if got := given(exchange(t, network, at, "web")); len(got) != 1 {
			t.Errorf("%s: a container's name waits for others' servers: %v", network, got)
		}
	}
	if n := goruntime.NumGoroutine(); n > maxForwarded*2+100 {
		t.Errorf("%d goroutines", n)
	}
}

// Close does not wait for servers that say nothing.
func TestCloseEndsWhatWaits(t *testing.T) {
	f := quickForwarder(silent(t))
	f.timeout = 10 * patient
	s, at := served(t, twoNetworks(), f)
	packets, err := net.Dial("udp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	stream, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for deadline := time.Now().Add(patient); len(f.busy) < 2 || len(s.open) == 0; goruntime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nothing is forwarded")
		}
		if len(f.busy) == 0 {
			_, _ = packets.Write(asks(t, "far.test", dns.TypeA))
			_, _ = stream.Write(withLength(asks(t, "far.test", dns.TypeA)))
		}
	}
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > patient {
		t.Errorf("closed after %v", took)
	}
}

func TestStreamsCarryManyQuestionsAndNoNonsense(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	_, at := served(t, crowded(253), quickForwarder(), impatient)
	conn, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	one, two := asks(t, "pool", dns.TypeA), asks(t, "c7", dns.TypeA)
	// Both at once, and cut where TCP may cut.
	text := append(withLength(one), withLength(two)...)
	for _, part := range [][]byte{text[:1], text[1:9], text[9:]} {
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	for _, expected := range []struct {
		question []byte
		answers  int
	}{{one, 253}, {two, 1}} {
		reply, err := readMessage(conn, streamSize)
		if err != nil {
			t.Fatal(err)
		}
		if m := reads(t, expected.question, reply); len(m.Answer) != expected.answers || m.Truncated {
			t.Errorf("%d answers", len(m.Answer))
		}
	}
	wantClosed(t, conn, "after nothing was said")
	for name, says := range map[string][]byte{
		"too long": binary.BigEndian.AppendUint16(nil, 65535), "too long, and whole": withLength(append(asks(t, "web", dns.TypeA), make([]byte, querySize)...)), "no header": {0, 3, 1, 2, 3}, "half a length": {0}, "half a message": text[:9], "a reply": withLength(asks(t, "x", dns.TypeA, func(m *dns.Msg) { m.Response = true })),
	} {
		conn, err := net.Dial("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(says); err != nil {
			t.Error(err)
		}
		wantClosed(t, conn, name)
		conn.Close()
	}
}

// impatient has connections that say nothing cost a test little.
func impatient(s *Server) { s.idle = quick() }

func wantClosed(t *testing.T, conn net.Conn, why string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patient))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("%s the connection stays open: %d bytes, %v", why, n, err)
	}
}

// Connections that say nothing keep the others out for a moment, not for ever.
func TestStreamsAreBounded(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	s, at := served(t, twoNetworks(), quickForwarder(), impatient)
	for range maxStreams * 2 {
		conn, err := net.Dial("tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if got := given(exchange(t, "tcp", at, "web")); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if len(s.open) > maxStreams {
		t.Errorf("%d connections", len(s.open))
	}
}

// A server that nobody asks does nothing: the kernel's counters of its process say so.
// That is another one than the tests', in which much else goes on.
func TestIdleServerSleeps(t *testing.T) {
	require.Layers(t, "asks nothing of the machine", "unit")
	if os.Getenv("MINIDOCK_IDLE_SERVER") != "" {
		_, at := served(t, twoNetworks(), quickForwarder())
		fmt.Println(at)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleServerSleeps$")
	cmd.Env = append(os.Environ(), "MINIDOCK_IDLE_SERVER=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	at, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, "udp", strings.TrimSpace(at), "web")
	exchange(t, "tcp", strings.TrimSpace(at), "web")
	// Go's own threads take some seconds to come to rest.
	least := 1 << 30
	for range 10 {
		before := switches(t, cmd.Process.Pid)
		<-time.After(2 * time.Second)
		if least = min(least, switches(t, cmd.Process.Pid)-before); least == 0 {
			return
		}
	}
	t.Errorf("woke up at least %d times in 2 s", least)
}

// switches counts how often any thread of a process gave up the CPU by itself.
func switches(t *testing.T, pid int) (n int) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for line := range strings.Lines(string(text)) {
			if value, found := strings.CutPrefix(line, "voluntary_ctxt_switches:"); found {
				count, err := strconv.Atoi(strings.TrimSpace(value))
				if err != nil {
					t.Fatal(err)
				}
				n += count
			}
		}
	}
	return n
}

// A server whose socket fails under it says so.
func TestServeTellsOfASocketThatIsGone(t *testing.T) {
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(packets, streams, twoNetworks(), quickForwarder())
	ended := make(chan error)
	go func() { ended <- s.Serve() }()
	packets.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "read DNS query") {
		t.Errorf("serve: %v", err)
	}
	if _, err := streams.Accept(); err == nil {
		t.Error("the other socket is still open")
	}
}

var _ io.Closer = (*Server)(nil)

func BenchmarkAnswer(b *testing.B) {
	packet, table := asks(b, "web.front", dns.TypeA), twoNetworks()
	b.ReportAllocs()
	for b.Loop() {
		answer(packet, false, table, nil)
	}
}
