package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
)

// Limits of the server.
const (
	// batchSize is how many datagrams are read, and answered, by one system call when
	// that many are there: at 16 a call's cost is small beside that of the rest.
	batchSize = 16
	// maxStreams is how many TCP connections are served at a time; others wait in the
	// kernel's queue. dnsmasq serves 20; glibc opens one for each truncated answer.
	maxStreams = 64
	// idleTimeout is what a TCP connection gets for each message: "a few seconds"
	// (RFC 7766, 6.2.3).
	idleTimeout = 5 * time.Second
	// acceptPause is the rest after an accept that failed for lack of descriptors or
	// memory (accept(2)), so that waiting for them doesn't take a whole CPU.
	acceptPause = 100 * time.Millisecond
)

// Server answers a container's questions at two sockets. Its work is bounded: what
// is too much gets a failure at once (forwarding), waits in the kernel (TCP), or is
// dropped by the kernel when its queue is full (UDP), as the protocol allows.
type Server struct {
	packets *net.UDPConn
	streams net.Listener
	forward *Forwarder
	// table has the names as they are when it is called.
	table atomic.Pointer[func() *Table]

	idle time.Duration
	open chan struct{} // a place for each TCP connection
	ctx  context.Context
	work sync.WaitGroup
	// stop closes the sockets and ends what waits, once.
	stop func() error
}

// NewServer returns a server at these sockets, which it closes in the end.
func NewServer(packets *net.UDPConn, streams net.Listener, table *Table, forward *Forwarder) *Server {
	s := &Server{packets: packets, streams: streams, forward: forward, idle: idleTimeout, open: make(chan struct{}, maxStreams)}
	ctx, end := context.WithCancel(context.Background())
	s.ctx, s.stop = ctx, sync.OnceValue(func() error {
		end()
		return errors.Join(packets.Close(), streams.Close())
	})
	s.Swap(table)
	return s
}

// Swap puts another table in place; questions that are being answered keep theirs.
func (s *Server) Swap(table *Table) { s.Consult(func() *Table { return table }) }

// Consult has the server ask for the table whenever it has questions to answer, from
// several goroutines.
func (s *Server) Consult(table func() *Table) { s.table.Store(&table) }

func (s *Server) names() *Table { return (*s.table.Load())() }

// Serve answers until Close is called, and then returns nil when all work is done.
// While nobody asks, nothing of it wakes up.
func (s *Server) Serve() error {
	errs := make(chan error, 2)
	s.work.Go(func() { errs <- s.servePackets() })
	s.work.Go(func() { errs <- s.serveStreams() })
	var all error
	for range 2 {
		if err := <-errs; err != nil && s.ctx.Err() == nil {
			all = errors.Join(all, err)
		}
		// Half a server is none: a client would wait for the other half.
		_ = s.stop() // Close reports it.
	}
	s.work.Wait()
	return all
}

// Close ends the server and waits for what it is doing.
func (s *Server) Close() error {
	err := s.stop()
	s.work.Wait()
	return err
}

// servePackets answers what the table knows at once, and leaves the rest to others.
// It is one goroutine: several would wake each other up for each datagram, which
// costs more than the answer.
func (s *Server) servePackets() error {
	conn := ipv4.NewPacketConn(s.packets)
	queries, replies := batch(querySize), batch(0)
	for {
		n, err := conn.ReadBatch(queries, 0)
		if err != nil {
			return fmt.Errorf("read DNS query: %w", err)
		}
		answered, table := 0, s.names()
		for _, q := range queries[:n] {
			if reply := s.receive(q.Buffers[0][:q.N], q.Addr, table); reply != nil {
				replies[answered].Buffers[0], replies[answered].Addr = reply, q.Addr
				answered++
			}
		}
		sendAll(conn, replies[:answered])
	}
}

func batch(size int) []ipv4.Message {
	all := make([]ipv4.Message, batchSize)
	for i := range all {
		all[i].Buffers = [][]byte{make([]byte, size)}
	}
	return all
}

// sendAll sends what can be sent: who does not hear it asks again, and may be gone.
func sendAll(conn *ipv4.PacketConn, replies []ipv4.Message) {
	for len(replies) > 0 {
		n, err := conn.WriteBatch(replies, 0)
		if err != nil {
			n = max(n, 0) + 1 // The first that was not sent is the one that can't be.
		}
		replies = replies[min(n, len(replies)):]
	}
}

// receive returns the reply to a datagram, or nil when it gets none or gets it later.
func (s *Server) receive(packet []byte, from net.Addr, table *Table) []byte {
	q, refusal, err := readQuery(packet, false)
	if err != nil || refusal != nil {
		return refusal
	}
	if reply := q.fromTable(table); reply != nil {
		return reply
	}
	if reply := s.forward.keeps(q, table.Forwards()); reply != nil {
		return reply
	}
	if !s.forward.reserve() {
		return q.error(dnsmessage.RCodeServerFailure)
	}
	q.packet = bytes.Clone(packet)
	s.work.Go(func() {
		defer s.forward.release()
		// Who does not hear it asks again, and may be gone by now.
		_, _ = s.packets.WriteTo(q.fit(s.forward.ask(s.ctx, q)), from)
	})
	return nil
}

// serveStreams takes connections as long as there is a place for them.
func (s *Server) serveStreams() error {
	for {
		select {
		case s.open <- struct{}{}:
		case <-s.ctx.Done():
			return nil
		}
		conn, err := s.streams.Accept()
		if err == nil {
			s.work.Go(func() {
				defer func() { <-s.open }()
				s.serveStream(conn)
			})
			continue
		}
		<-s.open
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept DNS connection: %w", err)
		}
		select {
		case <-time.After(acceptPause):
		case <-s.ctx.Done():
		}
	}
}

// serveStream answers one message after the other, in order, until the other side
// closes, says nothing for too long, or talks nonsense.
func (s *Server) serveStream(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	for {
		if conn.SetDeadline(time.Now().Add(s.idle)) != nil {
			return
		}
		packet, err := readMessage(conn, querySize)
		if err != nil {
			return
		}
		reply := s.answerStream(packet)
		if reply == nil || conn.SetDeadline(time.Now().Add(s.idle)) != nil {
			return
		}
		if _, err := conn.Write(withLength(reply)); err != nil {
			return
		}
	}
}

func (s *Server) answerStream(packet []byte) []byte {
	table := s.names()
	return answer(packet, true, table, func(q *query) []byte {
		if reply := s.forward.keeps(q, table.Forwards()); reply != nil {
			return reply
		}
		if !s.forward.reserve() {
			return nil
		}
		defer s.forward.release()
		return s.forward.ask(s.ctx, q)
	})
}
