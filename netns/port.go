package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// KindPort holds a port of the host; the kernel frees it with its process.
const KindPort steps.Kind = "port"

// Reservation is a port of the host that nobody else can have while it is open.
type Reservation struct {
	// Port is the port's number, also where any free one was asked for.
	Port   uint16
	socket *os.File
}

// Close gives the port back.
func (r *Reservation) Close() error { return r.socket.Close() }

// ReservePort takes a port of the host by a socket that is bound and nothing else:
// no connection ever gets to it, since the firewall gives them to the container.
// Port 0 takes any free one of the kernel's range (ip(7), ip_local_port_range:
// from 32768 on). A port that is taken gives a Fault with Docker's words.
func (s *Store) ReservePort(ledger *steps.Ledger, host netip.Addr, proto string, port uint16) (*Reservation, error) {
	if !host.IsValid() {
		host = netip.IPv4Unspecified()
	}
	kinds := map[string]int{"tcp": unix.SOCK_STREAM, "udp": unix.SOCK_DGRAM}
	kind, known := kinds[proto]
	if !known || !host.Is4() {
		return nil, fmt.Errorf("reserve port %s:%d/%s: only IPv4, tcp and udp are published", host, port, proto)
	}
	r := &Reservation{}
	err := ledger.Do(portStep(host, proto, port), func() (err error) {
		r.socket, r.Port, err = bind(host, kind, port)
		if errors.Is(err, unix.EADDRINUSE) {
			return s.portTaken(host, proto, port, err)
		}
		return explainBind(host, proto, port, err)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func portStep(host netip.Addr, proto string, port uint16) steps.Step {
	kind := map[string]string{"tcp": "SOCK_STREAM", "udp": "SOCK_DGRAM"}[proto]
	return steps.Step{
		Kind: KindPort, Target: fmt.Sprintf("%s:%d/%s", host, port, proto),
		Why: "Take the port: a socket that is bound, and does nothing else, keeps every other program and container from taking the same.",
		Call: []string{
			"socket(AF_INET, " + kind + "|SOCK_CLOEXEC, IPPROTO_IP)",
			fmt.Sprintf("bind(FD, {sa_family=AF_INET, sin_port=htons(%d), sin_addr=inet_addr(%q)}, 16)", port, host.String()),
		},
		See: "ls -l /proc/PID/fd", Man: "bind(2), ip(7)",
	}
}

func bind(host netip.Addr, kind int, port uint16) (*os.File, uint16, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, 0, err
	}
	socket := os.NewFile(uintptr(fd), fmt.Sprintf("port %d", port))
	err = unix.Bind(fd, &unix.SockaddrInet4{Addr: host.As4(), Port: int(port)})
	if err != nil {
		return nil, 0, errors.Join(err, socket.Close())
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return nil, 0, errors.Join(err, socket.Close())
	}
	return socket, uint16(bound.(*unix.SockaddrInet4).Port), nil
}

// portTaken says by whom: a container, or a program of the host's.
func (s *Store) portTaken(host netip.Addr, proto string, port uint16, cause error) error {
	if led, _ := s.Published(host, proto, port); len(led) > 0 { // What can't be read is not known to be ours.
		return AllocatedPort(host, port)
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("failed to bind host port %s:%d/%s: address already in use", host, port, proto),
		Hint: fmt.Sprintf("A program on the host has it, or had a connection at it within the last minute (TIME-WAIT): `ss -tuanp 'sport = :%d'` shows which.", port),
		Code: 125, Err: cause,
	}
}

// AllocatedPort is the error about a port that another container has; it is
// [unix.EADDRINUSE].
func AllocatedPort(host netip.Addr, port uint16) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("Bind for %s:%d failed: port is already allocated", host, port),
		Hint: "Another container has it: `minidock ps` shows which. Publish another port, or remove that container.",
		Code: 125, Err: unix.EADDRINUSE,
	}
}

// Published lists where the table leads a port of the host, at an address that the
// given one overlaps with. Whoever is led to may be dead: what a killed process left
// behind stays there until it is taken back.
func (s *Store) Published(host netip.Addr, proto string, port uint16) (all []Publication, err error) {
	f, err := openFirewall(s.place.Instance)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if there, err := f.exists(); err != nil || !there {
		return nil, err
	}
	return f.led(host, proto, port)
}

// explainBind says what is wrong with an address that can't be bound to.
func explainBind(host netip.Addr, proto string, port uint16, err error) error {
	if err == nil {
		return nil
	}
	hint := "Publish another port, or at another address."
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		hint = "The host has no such address: `ip address` lists those that it has."
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("failed to bind host port %s:%d/%s: %v", host, port, proto, err),
		Hint: hint, Code: 125, Err: err,
	}
}
