package netns

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minidock/minidock/steps"
)

// CreateOptions say what a new network is to be. Zero values leave it to minidock.
type CreateOptions struct {
	Name, Driver    string
	Subnet, IPRange netip.Prefix
	Gateway         netip.Addr
	// Internal networks have no way out.
	Internal        bool
	Labels, Options map[string]string
}

// Create makes a network. tell, when not nil, hears every step. Errors are
// *[steps.Fault], in Docker's words; that of a range that is in use names by whom.
func (s *Store) Create(o CreateOptions, tell func(steps.Record)) (Network, error) {
	if err := o.check(); err != nil {
		return Network{}, err
	}
	release, err := s.lock()
	if err != nil {
		return Network{}, err
	}
	defer release()
	if _, err := s.read(o.Name); err == nil {
		return Network{}, alreadyExists(o.Name)
	} else if !errors.Is(err, ErrNoNetwork) {
		return Network{}, err
	}
	return s.create(o, tell)
}

func alreadyExists(name string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("network with name %s already exists", name),
		Hint: "Remove it with `minidock network rm " + name + "`, or choose another name.",
	}
}

// Need finds a network as [Store.Find] does, and makes [Default] where it is not
// there yet. tell, when not nil, hears the steps of that.
func (s *Store) Need(ref string, tell func(steps.Record)) (Network, error) {
	n, err := s.Find(ref)
	if err != nil || n.Name != Default || n.Subnet.IsValid() {
		return n, err
	}
	release, err := s.lock()
	if err != nil {
		return Network{}, err
	}
	defer release()
	n, err = s.read(Default)
	if !errors.Is(err, ErrNoNetwork) {
		return n, err
	}
	return s.create(CreateOptions{Name: Default, Driver: driverBridge}, tell)
}

// create makes a network that is not there; the caller holds the lock, so what is
// there of one is what a killed command left.
func (s *Store) create(o CreateOptions, tell func(steps.Record)) (Network, error) {
	if _, err := s.mend(o.Name, false); err != nil {
		return Network{}, translate(s.place, err)
	}
	n, err := s.draw(o)
	if err != nil {
		return Network{}, err
	}
	ledger, err := steps.Open(s.Ledger(n.Name), tell)
	if err != nil {
		return Network{}, translate(s.place, err)
	}
	if err := s.build(ledger, n); err != nil {
		undone := ledger.Undo(Undos(), steps.Boot, steps.Kept)
		return Network{}, errors.Join(translate(s.place, err), undone, ledger.Remove())
	}
	return n, ledger.Close()
}

// build makes what a network is: its name, and what the host has of it, but for the
// default network's, which its containers make and take along. network.json comes
// last: without it there is no network, so a killed create leaves nothing that looks
// like one.
func (s *Store) build(ledger *steps.Ledger, n Network) error {
	if err := s.takeName(ledger, n.Name); err != nil {
		return err
	}
	if n.held() == lasting {
		if err := s.makes(ledger, n); err != nil {
			return err
		}
	}
	return s.record(ledger, n)
}

// takeName makes the network's directory, and in it the one of the leases.
func (s *Store) takeName(ledger *steps.Ledger, name string) error {
	if err := os.MkdirAll(s.networks(), 0o700); err != nil {
		return fmt.Errorf("make state directory: %w", err)
	}
	dir, leases := s.dir(name), s.leases(name)
	return ledger.Do(steps.Step{
		Kind: KindNetwork, Target: dir, Lifetime: steps.Kept,
		Why:   "Take the network's name by making its directory; in another one the addresses of its containers will stand, a symbolic link for each.",
		Call:  []string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", dir), fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", leases)},
		Shell: []string{"mkdir -m 700 " + steps.ShellQuote(dir) + " " + steps.ShellQuote(leases)},
		Undo:  "rm -r " + steps.ShellQuote(dir),
		See:   "ls -l " + steps.ShellQuote(dir), Man: "mkdir(2)",
	}, func() error {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		return os.Mkdir(leases, 0o700)
	})
}

// record writes network.json.
func (s *Store) record(ledger *steps.Ledger, n Network) error {
	text, err := encode(n)
	if err != nil {
		return fmt.Errorf("encode network: %w", err)
	}
	step := writeStep(s.file(n.Name), text, true)
	step.Lifetime, step.Why = steps.Kept, "Write down what the network is; from this moment on it exists."
	return ledger.Do(step, func() error { return steps.ReplaceFile(s.file(n.Name), text, true) })
}

// draw decides everything about a new network before anything is made.
func (s *Store) draw(o CreateOptions) (Network, error) {
	n := Network{
		Name: o.Name, ID: newID(), Created: time.Now().UTC(), Driver: driverBridge,
		Subnet: o.Subnet, IPRange: o.IPRange, Gateway: o.Gateway, Internal: o.Internal,
		Labels: o.Labels, Options: o.Options,
	}
	if b, known := s.builtin(o.Name); known {
		n.ID = b.ID
	}
	others, err := s.stored()
	if err != nil {
		return n, err
	}
	if err := n.checkBridgeName(others); err != nil {
		return n, err
	}
	if n.Subnet, err = s.settleSubnet(o, others); err != nil {
		return n, err
	}
	if !n.Gateway.IsValid() {
		n.Gateway = defaultGateway(n.Subnet, n.IPRange)
	}
	return n, nil
}

// settleSubnet picks a range, or checks that the wanted one is free.
func (s *Store) settleSubnet(o CreateOptions, others []Network) (netip.Prefix, error) {
	claimed, err := s.routes()
	if err != nil {
		return netip.Prefix{}, err
	}
	// Networks first: the host routes their ranges, too, and their names say more.
	claimed = append(claimsOf(others), claimed...)
	if !o.Subnet.IsValid() {
		return pickSubnet(o.Name, claimed)
	}
	if c, taken := conflict(o.Subnet, claimed); taken {
		return o.Subnet, &steps.Fault{
			Msg:  "invalid pool request: Pool overlaps with other one on this address space",
			Hint: fmt.Sprintf("%s overlaps %s, which is %s; choose another --subnet, or give none.", o.Subnet, c.Range, c.By),
		}
	}
	return o.Subnet, nil
}

func claimsOf(networks []Network) (claimed []Claim) {
	for _, n := range networks {
		claimed = append(claimed, Claim{n.Subnet, "network " + n.Name})
	}
	return claimed
}

// check refuses what can't work whatever else there is.
func (o CreateOptions) check() error {
	switch {
	case strings.TrimSpace(o.Name) == "":
		return &steps.Fault{Msg: "invalid name: name is empty", Hint: "Give the network a name."}
	case Predefined(o.Name):
		return &steps.Fault{
			Msg:  fmt.Sprintf("operation is not permitted on predefined %s network", o.Name),
			Hint: "It is always there; choose another name.",
		}
	case !validName(o.Name):
		return &steps.Fault{
			Msg:  fmt.Sprintf("invalid network name (%s), only %s are allowed", o.Name, namePattern),
			Hint: fmt.Sprintf("Use letters, digits, '_', '.' and '-', at most %d characters, the first a letter or digit.", maxName),
		}
	}
	if err := o.checkDriver(); err != nil {
		return err
	}
	if err := o.checkOptions(); err != nil {
		return err
	}
	return o.checkAddresses()
}

func (o CreateOptions) checkDriver() error {
	switch o.Driver {
	case "", driverBridge:
		return nil
	case driverHost, driverNull:
		return &steps.Fault{
			Msg:  fmt.Sprintf("only one instance of %q network is allowed", o.Driver),
			Hint: "It is there already: see `minidock network ls`.",
		}
	}
	return &steps.Fault{Msg: fmt.Sprintf("plugin %q not found", o.Driver), Hint: "minidock's networks are of the driver bridge."}
}

// checkOptions refuses the options that nobody would heed.
func (o CreateOptions) checkOptions() error {
	for name, value := range o.Options {
		check, known := driverOptions()[name]
		if !known {
			return &steps.Fault{
				Msg:  fmt.Sprintf("unsupported option %q of driver bridge", name),
				Hint: "The options that there are: " + strings.Join(slices.Sorted(maps.Keys(driverOptions())), ", ") + ".",
			}
		}
		if err := check(value); err != nil {
			return err
		}
	}
	return nil
}

// driverOptions are those of Docker's driver bridge that are heeded here, each with
// what it may be set to.
func driverOptions() map[string]func(value string) error {
	return map[string]func(string) error{
		BridgeNameOption: checkLinkName,
		optionMasquerade: func(value string) error {
			if _, err := strconv.ParseBool(value); err != nil {
				return &steps.Fault{Msg: fmt.Sprintf("invalid value for masquerading: %s", value), Hint: "It is true or false.", Err: err}
			}
			return nil
		},
		optionMTU: func(value string) error {
			_, err := parseMTU(value)
			return err
		},
	}
}

// checkLinkName takes fewer names than the kernel does: one also stands in commands
// for the shell and nft. The kernel has settings under two names that no link can have.
func checkLinkName(name string) error {
	if len(name) <= maxLinkName && isName(name) && name != "all" && name != "default" {
		return nil
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("invalid bridge name %q", name),
		Hint: fmt.Sprintf("Use at most %d letters, digits, '_', '.' and '-', the first a letter or digit; all and default are names of settings.", maxLinkName),
	}
}

// checkBridgeName refuses a bridge that another network has.
func (n Network) checkBridgeName(others []Network) error {
	name := n.Options[BridgeNameOption]
	i := slices.IndexFunc(others, func(o Network) bool { return name != "" && o.Options[BridgeNameOption] == name })
	if i < 0 {
		return nil
	}
	return &steps.Fault{
		Msg: fmt.Sprintf("cannot create network %s (%s): conflicts with network %s (%s): networks have same bridge name",
			n.ID, name, others[i].ID, name),
		Hint: fmt.Sprintf("It is that of network %s; choose another for -o %s.", others[i].Name, BridgeNameOption),
	}
}

// longestSubnet is the prefix length of the smallest network: its own address, a
// gateway, one container, and broadcast.
const longestSubnet = 30

func (o CreateOptions) checkAddresses() error {
	if !o.Subnet.IsValid() {
		if o.IPRange.IsValid() || o.Gateway.IsValid() {
			return &steps.Fault{Msg: "every ip-range or gateway must have a corresponding subnet", Hint: "Give a --subnet, too."}
		}
		return nil
	}
	base := o.Subnet.Masked().Addr()
	switch {
	case !base.Is4():
		return noIPv6(fmt.Sprintf("subnet %s", o.Subnet))
	case o.Subnet != o.Subnet.Masked():
		return invalidConfig("subnet", o.Subnet, "it should be "+o.Subnet.Masked().String())
	case base.As4()[0] == 0 || base.IsLoopback() || base.IsMulticast() || lastAddress(o.Subnet).IsLoopback():
		return invalidConfig("subnet", o.Subnet, "its addresses are not those of hosts")
	case o.Subnet.Bits() > longestSubnet:
		return &steps.Fault{
			Msg:  "failed to allocate gateway (): No available addresses on this pool",
			Hint: fmt.Sprintf("The smallest network is a /%d: its own address, a gateway, one container, and broadcast.", longestSubnet),
		}
	}
	if err := o.checkRange(); err != nil {
		return err
	}
	return o.checkGateway()
}

func (o CreateOptions) checkRange() error {
	switch r := o.IPRange; {
	case !r.IsValid():
		return nil
	case !r.Addr().Is4():
		return invalidConfig("ip-range", r, "parent subnet is an IPv4 block")
	case r.Bits() < o.Subnet.Bits():
		return invalidConfig("ip-range", r, fmt.Sprintf("CIDR block is bigger than its parent subnet %s", o.Subnet))
	case r != r.Masked():
		return invalidConfig("ip-range", r, "it should be "+r.Masked().String())
	case !o.Subnet.Overlaps(r):
		return invalidConfig("ip-range", r, fmt.Sprintf("parent subnet %s doesn't contain ip-range", o.Subnet))
	}
	return nil
}

func (o CreateOptions) checkGateway() error {
	g := o.Gateway
	if !g.IsValid() {
		g = defaultGateway(o.Subnet, o.IPRange)
	}
	switch {
	case !g.Is4():
		return invalidConfig("gateway", g, "parent subnet is an IPv4 block")
	case !o.Subnet.Contains(g):
		return invalidConfig("gateway", g, fmt.Sprintf("parent subnet %s doesn't contain this address", o.Subnet))
	case !usable(o.Subnet, g):
		return &steps.Fault{
			Msg:  fmt.Sprintf("failed to allocate gateway (%s): Address already in use", g),
			Hint: "The first address of a network means the network, and the last one everybody on it.",
		}
	}
	return nil
}

// invalidConfig is Docker's complaint of a network's addresses.
func invalidConfig(what string, value fmt.Stringer, why string) error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("invalid network config: invalid %s %s: %s", what, value, why),
		Hint: "As in --subnet 10.20.0.0/16 --ip-range 10.20.1.0/24 --gateway 10.20.0.1.",
	}
}

func noIPv6(what string) error {
	return &steps.Fault{Msg: what + ": minidock has no IPv6 yet", Hint: "Use IPv4, or leave it out."}
}
