package netns

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/minidock/minidock/steps"
)

// Place says where a store keeps its files, and after what it names kernel objects.
type Place struct{ Root, Run, Instance string }

// Network is one network, as network.json keeps it.
type Network struct {
	Name, ID string
	Created  time.Time
	// Driver is bridge, host or null.
	Driver          string
	Subnet, IPRange netip.Prefix `json:",omitzero"`
	Gateway         netip.Addr   `json:",omitzero"`
	Internal        bool
	Labels, Options map[string]string
}

// Endpoint is a container's place on a network: what config.json keeps of it.
type Endpoint struct {
	// Network is its name.
	Network string
	Address netip.Addr
	// Asked is the address that the user asked for; the zero Addr for none.
	Asked netip.Addr `json:",omitzero"`
	// MAC is as [net.HardwareAddr] writes it.
	MAC     string
	Aliases []string
	// Index numbers the container's interfaces: eth0, eth1, …
	Index int
}

// Port is a published port.
type Port struct {
	// Proto is tcp or udp.
	Proto     string
	Container uint16
	// HostIP is 0.0.0.0 for all addresses of the host.
	HostIP netip.Addr
	// Host is the host's port; 0 means any free one.
	Host uint16
	// HostLast, where it is not 0, ends a range that begins with Host: any free port
	// of it is meant.
	HostLast uint16 `json:",omitempty"`
}

// The names of the networks that are always there.
const (
	// Default is the network of containers that ask for none. It is made on first
	// need; see [Store.Need].
	Default = "bridge"
	// Host is the host's own network namespace.
	Host = "host"
	// None is a namespace with the loopback link alone.
	None = "none"
)

// Drivers of networks.
const (
	driverBridge = "bridge"
	driverHost   = "host"
	driverNull   = "null"
)

// BridgeNameOption is Docker's option that names a network's bridge.
const BridgeNameOption = "com.docker.network.bridge.name"

// Predefined says whether a network is always there, and so can neither be made nor
// removed. Docker also keeps the word default for the first of them.
func Predefined(name string) bool {
	return slices.Contains([]string{Default, Host, None, "default"}, name)
}

// ErrNoNetwork is part of every error about a network that does not exist.
var ErrNoNetwork = errors.New("no such network")

// Store keeps networks and their leases. Several processes may use one at the same
// time: addresses are taken by symbolic links, which only one can make, and whoever
// makes or removes a network holds a lock.
type Store struct {
	place Place
	// routes tells what the host routes already.
	routes func() ([]Claim, error)
	// makes and takesBack do what the host has of a network.
	makes     func(*steps.Ledger, Network) error
	takesBack func(Network) error
	// published is what [Store.WithPublished] has set.
	published func() []Publication
}

// Open names the store at a place. It neither reads nor makes anything.
func Open(place Place) *Store {
	s := &Store{place: place, routes: HostRoutes, published: func() []Publication { return nil }}
	s.makes, s.takesBack = s.Up, s.Down
	return s
}

func (s *Store) networks() string { return filepath.Join(s.place.Root, "networks") }

func (s *Store) dir(name string) string { return filepath.Join(s.networks(), name) }

func (s *Store) file(name string) string { return filepath.Join(s.dir(name), networkFile) }

func (s *Store) leases(name string) string { return filepath.Join(s.dir(name), "leases") }

// Residents is the directory that tells who is on a network now; see [Resident].
func (s *Store) residents(name string) string {
	return filepath.Join(s.place.Run, "networks", name)
}

const networkFile = "network.json"

// namePattern is what can be a directory, and a part of a DNS name, anywhere.
const namePattern = "[a-zA-Z0-9][a-zA-Z0-9_.-]*"

// maxName leaves room for what the ledger's file has beside the name: a file name
// has at most 255 bytes (NAME_MAX, limits.h).
const maxName = 255 - len(ledgerPrefix) - len(ledgerSuffix)

func validName(name string) bool { return len(name) <= maxName && isName(name) }

func isName(text string) bool { return regexp.MustCompile("^" + namePattern + "$").MatchString(text) }

// newID makes 64 random hex digits, 256 bits as Docker has them.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// fixedID names a network that has no file to keep an ID in: the same each time, and
// another for each instance.
func (s *Store) fixedID(name string) string {
	sum := sha256.Sum256([]byte(s.place.Instance + "/" + name))
	return hex.EncodeToString(sum[:])
}

// builtin returns a network that is there without files. Of [Default] that is what
// is known of it before it is first needed.
func (s *Store) builtin(name string) (Network, bool) {
	driver, known := map[string]string{Default: driverBridge, Host: driverHost, None: driverNull}[name]
	return Network{Name: name, ID: s.fixedID(name), Driver: driver}, known
}

// read reads one network; where it is not there, or only half, the error is
// [ErrNoNetwork].
func (s *Store) read(name string) (Network, error) {
	var n Network
	err := steps.ReadState(s.file(name), &n)
	if errors.Is(err, fs.ErrNotExist) {
		return n, notFound(name)
	}
	if err == nil && !n.describes(name) {
		err = steps.Damaged(s.file(name), "it does not describe network "+name)
	}
	return n, err
}

// describes says whether what a file holds can be a network of this name.
func (n Network) describes(name string) bool {
	o := CreateOptions{Subnet: n.Subnet, IPRange: n.IPRange, Gateway: n.Gateway}
	return n.Name == name && len(n.ID) == 64 && n.Driver == driverBridge && n.Subnet.IsValid() && n.Gateway.IsValid() && o.checkAddresses() == nil
}

// get finds a network by its whole name.
func (s *Store) get(name string) (Network, error) {
	if !validName(name) {
		return Network{}, notFound(name)
	}
	n, err := s.read(name)
	if b, known := s.builtin(name); known && errors.Is(err, ErrNoNetwork) {
		return b, nil
	}
	return n, err
}

// stored reads all networks that have files. Half made or half removed ones are left
// out; others' errors come back beside what was read.
func (s *Store) stored() ([]Network, error) {
	entries, err := os.ReadDir(s.networks())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, translate(s.place, fmt.Errorf("list networks: %w", err))
	}
	var all []Network
	var errs []error
	for _, e := range entries {
		n, err := s.read(e.Name())
		switch {
		case errors.Is(err, ErrNoNetwork):
		case err != nil:
			errs = append(errs, err)
		default:
			all = append(all, n)
		}
	}
	return all, translate(s.place, errors.Join(errs...))
}

// List returns all networks by their names, those that are always there among them;
// also beside an error, which tells of those that can't be read.
func (s *Store) List() ([]Network, error) {
	all, err := s.stored()
	for _, name := range []string{Default, Host, None} {
		known := slices.ContainsFunc(all, func(n Network) bool { return n.Name == name })
		if b, _ := s.builtin(name); !known {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Network) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// Find finds a network by its ID, its name, or the beginning of its ID that no other
// has. It makes nothing: [Default] may not be there yet, and then has no subnet.
func (s *Store) Find(ref string) (Network, error) {
	if n, err := s.get(ref); !errors.Is(err, ErrNoNetwork) {
		return n, translate(s.place, err)
	}
	all, err := s.List()
	if err != nil {
		return Network{}, err
	}
	found := slices.DeleteFunc(all, func(n Network) bool { return ref == "" || !strings.HasPrefix(n.ID, ref) })
	switch {
	case len(found) == 0:
		return Network{}, notFound(ref)
	case len(found) > 1:
		return Network{}, &steps.Fault{
			Msg:  fmt.Sprintf("network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found)),
			Hint: "Give more of its ID, or its name: `minidock network ls`.",
		}
	}
	return found[0], nil
}

func notFound(name string) error {
	return &steps.Fault{Msg: fmt.Sprintf("network %s not found", name), Hint: "List them with `minidock network ls`.", Err: ErrNoNetwork}
}

// short is how an ID is shown: its first 12 digits.
func short(id string) string { return id[:min(12, len(id))] }
