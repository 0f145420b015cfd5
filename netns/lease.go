package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Lease is an address that a container has, whether it runs or not.
type Lease struct {
	Address netip.Addr
	// Container is its ID.
	Container string
}

// heldBy joins a lease's link and its holder in a step's target, so that the undo
// never takes an address that another container holds.
const heldBy = " -> "

// Lease gives a container an address on a network, as a step of the container's
// ledger: wanted, or where that is the zero address, the lowest free one of the
// network's range. It is never the network's own, the broadcast or the gateway's
// address. The address is taken by making a symbolic link to the container's
// directory, which only one can do, and stays until the step is undone. Errors are
// *[steps.Fault], in Docker's words.
func (s *Store) Lease(ledger *steps.Ledger, n Network, container string, wanted netip.Addr) (netip.Addr, error) {
	if !n.Subnet.IsValid() {
		return netip.Addr{}, fmt.Errorf("lease address: network %s has no addresses", n.Name)
	}
	if wanted.IsValid() {
		return wanted, s.leaseWanted(ledger, n, container, wanted)
	}
	for reaped := false; ; {
		taken, err := s.taken(n.Name)
		if err != nil {
			return netip.Addr{}, err
		}
		address, found := lowestFree(n, taken)
		switch {
		case found:
			err := s.take(ledger, n.Name, container, address)
			if err == nil {
				return address, nil
			}
			if !errors.Is(err, fs.ErrExist) {
				return netip.Addr{}, translate(s.place, err)
			}
		case reaped:
			return netip.Addr{}, exhausted(n)
		default:
			reaped = true
			if err := s.reapLocked(n.Name); err != nil {
				return netip.Addr{}, err
			}
		}
	}
}

func exhausted(n Network) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("no available IPv4 addresses on this network's address pools: %s (%s)", n.Name, n.ID),
		Hint: "Remove containers that it does not need (`minidock rm`), or use a network with a larger --subnet or --ip-range.",
		Code: 125,
	}
}

func (s *Store) leaseWanted(ledger *steps.Ledger, n Network, container string, wanted netip.Addr) error {
	if n.Name == Default {
		return &steps.Fault{
			Msg:  "user specified IP address is supported on user defined networks only",
			Hint: "Make one: minidock network create --subnet 10.20.0.0/24 NAME", Code: 125,
		}
	}
	if !n.Subnet.Contains(wanted) {
		return &steps.Fault{
			Msg:  fmt.Sprintf("invalid config for network %s: invalid endpoint settings: no configured subnet or ip-range contain the IP address %s", n.Name, wanted),
			Hint: fmt.Sprintf("The network has %s.", n.Subnet), Code: 125,
		}
	}
	if !usable(n.Subnet, wanted) || wanted == n.Gateway {
		return inUse("It is the address of the network itself, its gateway's, or that of everybody on it.")
	}
	err := s.take(ledger, n.Name, container, wanted)
	if errors.Is(err, fs.ErrExist) {
		if err := s.reapLocked(n.Name); err != nil {
			return err
		}
		err = s.take(ledger, n.Name, container, wanted)
	}
	if errors.Is(err, fs.ErrExist) {
		holder, _ := os.Readlink(s.leasePath(n.Name, wanted)) // It may be gone by now.
		return inUse(fmt.Sprintf("Container %s has it; choose another --ip, or give none.", short(filepath.Base(holder))))
	}
	return err
}

func inUse(hint string) error {
	return &steps.Fault{Msg: "Address already in use", Hint: hint, Code: 125}
}

// lowestFree finds the lowest address of a network that a container can get.
func lowestFree(n Network, taken map[netip.Addr]string) (netip.Addr, bool) {
	from := n.Subnet
	if n.IPRange.IsValid() {
		from = n.IPRange
	}
	for a := from.Masked().Addr(); from.Contains(a); a = a.Next() {
		if _, held := taken[a]; !held && a != n.Gateway && usable(n.Subnet, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (s *Store) leasePath(name string, a netip.Addr) string {
	return filepath.Join(s.leases(name), a.String())
}

// take is the step that takes an address; where another container has it, the error
// is [fs.ErrExist].
func (s *Store) take(ledger *steps.Ledger, name, container string, a netip.Addr) error {
	link, target := s.leasePath(name, a), filepath.Join("..", "..", "..", "containers", container)
	return ledger.Do(steps.Step{
		Kind: KindLease, Target: s.LeaseTarget(name, container, a), Lifetime: steps.Kept,
		Why:   "Take an address on the network: making a symbolic link fails if it is there, so no two containers can get the same, however close their start.",
		Call:  []string{fmt.Sprintf("symlinkat(%q, AT_FDCWD, %q)", target, link)},
		Shell: []string{"ln -s " + steps.ShellQuote(target) + " " + steps.ShellQuote(link)},
		Undo:  "rm " + steps.ShellQuote(link),
		See:   "ls -l " + steps.ShellQuote(s.leases(name)), Man: "symlink(2)",
	}, func() error {
		err := os.Symlink(target, link)
		if held, _ := os.Readlink(link); held != target {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				return notFound(name)
			}
			return err
		}
		// Whoever removes the network takes network.json away first, and then looks
		// for addresses: one of the two sees the other.
		if _, err := os.Stat(s.file(name)); errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(link) // Whoever removes the network may be faster.
			return notFound(name)
		}
		return nil
	})
}

// Release gives an address back before the container goes, by undoing its step.
func (s *Store) Release(ledger *steps.Ledger, name, container string, a netip.Addr) error {
	return ledger.TakeBack(Undos(), KindLease, s.LeaseTarget(name, container, a))
}

// LeaseTarget is the target of the step by which a container takes an address.
func (s *Store) LeaseTarget(name, container string, a netip.Addr) string {
	return s.leasePath(name, a) + heldBy + container
}

// undoLease gives an address back if this container is the one that holds it.
func undoLease(target string) error {
	at := strings.LastIndex(target, heldBy)
	if at < 0 {
		return fmt.Errorf("undo lease: %q has no holder", target)
	}
	link, id := target[:at], target[at+len(heldBy):]
	if holder, err := os.Readlink(link); err != nil || filepath.Base(holder) != id {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("undo lease: %w", err)
	}
	return nil
}

// taken maps the addresses of a network that are taken to their holders; a network
// that is not there has none. Names that are no addresses are not ours.
func (s *Store) taken(name string) (map[netip.Addr]string, error) {
	entries, err := os.ReadDir(s.leases(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, translate(s.place, fmt.Errorf("list leases: %w", err))
	}
	taken := map[netip.Addr]string{}
	for _, e := range entries {
		a, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue
		}
		holder, err := os.Readlink(s.leasePath(name, a))
		if errors.Is(err, fs.ErrNotExist) {
			continue // Given back meanwhile.
		}
		if err != nil {
			return nil, fmt.Errorf("read lease: %w", err)
		}
		taken[a] = filepath.Base(holder)
	}
	return taken, nil
}

// Leases lists the addresses of a network that are taken, the lowest first.
func (s *Store) Leases(name string) ([]Lease, error) {
	taken, err := s.taken(name)
	var all []Lease
	for a, holder := range taken {
		all = append(all, Lease{a, holder})
	}
	slices.SortFunc(all, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return all, err
}

// live lists the leases of containers that are there.
func (s *Store) live(name string) ([]Lease, error) {
	all, err := s.Leases(name)
	return slices.DeleteFunc(all, s.abandoned), err
}

// abandoned says whether a lease's container is gone: a power cut may take a
// container's directory, or its ledger, and leave the lease. A container's directory
// is made before its first lease, and removed after its last.
func (s *Store) abandoned(l Lease) bool {
	_, err := os.Stat(filepath.Join(s.place.Root, "containers", l.Container))
	return errors.Is(err, fs.ErrNotExist)
}

// reap gives back the addresses of containers that are gone, and returns the records
// of that; with dry it only returns them. The caller holds the lock: so no two find
// the same one abandoned, of whom the second would take away what a container has
// got meanwhile.
func (s *Store) reap(name string, dry bool) ([]steps.Record, error) {
	leases, err := s.Leases(name)
	if err != nil {
		return nil, err
	}
	var records []steps.Record
	for _, l := range leases {
		if !s.abandoned(l) {
			continue
		}
		link := s.leasePath(name, l.Address)
		records = append(records, steps.Record{State: steps.Done, Step: steps.Step{
			Kind: KindLease, Target: link + heldBy + l.Container, Lifetime: steps.Kept, Undo: "rm " + steps.ShellQuote(link),
		}})
		if dry {
			continue
		}
		if err := undoLease(link + heldBy + l.Container); err != nil {
			return records, err
		}
	}
	return records, nil
}

func (s *Store) reapLocked(name string) error {
	release, err := s.lock()
	if err != nil {
		return err
	}
	defer release()
	_, err = s.reap(name, false)
	return err
}

// isNotEmpty says that a directory was not removed since something is in it
// (rmdir(2): EEXIST or ENOTEMPTY).
func isNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) }
