package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/minidock/minidock/steps"
)

// Publication leads a port of the host to a port of a container.
type Publication struct {
	Proto string // tcp or udp
	// HostIP is the one address of the host at which the port answers; 0.0.0.0,
	// or none, is every address.
	HostIP    netip.Addr
	Host      uint16
	Address   netip.Addr // the container's
	Container uint16
}

func (p Publication) atOneAddress() bool { return p.HostIP.IsValid() && !p.HostIP.IsUnspecified() }

func (p Publication) element() element {
	text := fmt.Sprintf("%s . %d : %s . %d", p.Proto, p.Host, p.Address, p.Container)
	if p.atOneAddress() {
		return element{publishedAt, p.HostIP.String() + partOf + text}
	}
	return element{published, text}
}

// Publish leads a port of the host to a container's. The caller has reserved it
// with [ReservePort], so whatever else leads from it, at its address or at one that
// overlaps, was left behind, and is replaced.
func (s *Store) Publish(ledger *steps.Ledger, p Publication) error {
	wanted := p.element()
	return lockedFirewall(s.place.Instance, func(f firewall) error {
		left, err := f.leftBehind(p)
		if err != nil {
			return err
		}
		calls, commands := elementCalls("NFT_MSG_NEWSETELEM", []element{wanted}), f.commands("add", []element{wanted})
		if len(left) > 0 {
			calls = slices.Concat(elementCalls("NFT_MSG_DELSETELEM", left), calls)
			commands = f.commands("delete", left) + "; " + commands
		}
		err = ledger.Do(steps.Step{
			Kind: KindPublished, Target: f.instance + " " + wanted.set + " " + wanted.text,
			Why:   fmt.Sprintf("Publish port %d: connections to it are given the container's address and port %d before they are routed.", p.Host, p.Container),
			Call:  []string{transactionCall(calls...)},
			Shell: []string{"nft " + steps.ShellQuote(commands)},
			Undo:  "nft " + steps.ShellQuote(f.commands("delete", []element{wanted})),
			See:   "nft list map ip " + f.instance + " " + wanted.set, Man: nftManual,
		}, func() error { return f.change(left, []element{wanted}) })
		return errors.Join(err, forgetStrayFlows(ledger, p))
	})
}

// Unpublish takes a port back before the end of the run.
func (s *Store) Unpublish(ledger *steps.Ledger, p Publication) error {
	e := p.element()
	return ledger.TakeBack(Undos(), KindPublished, s.place.Instance+" "+e.set+" "+e.text)
}

// leftBehind lists the entries for a publication's port that lead elsewhere.
func (f firewall) leftBehind(p Publication) ([]element, error) {
	led, err := f.led(p.HostIP, p.Proto, p.Host)
	if err != nil {
		return nil, err
	}
	var left []element
	for _, other := range led {
		if e := other.element(); e != p.element() {
			left = append(left, e)
		}
	}
	return left, nil
}

// led lists where the table, which has to be there, leads a port of the host at the
// addresses that overlap with the given one.
func (f firewall) led(host netip.Addr, proto string, port uint16) (all []Publication, err error) {
	everywhere := !host.IsValid() || host.IsUnspecified()
	for _, name := range []string{published, publishedAt} {
		known, err := f.elements(name)
		if err != nil {
			return nil, err
		}
		for text := range known {
			p, err := element{name, text}.publication()
			if err == nil && p.Proto == proto && p.Host == port && (everywhere || !p.atOneAddress() || p.HostIP == host) {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// undoPublished removes an entry that still leads where it led.
func undoPublished(target string) error {
	fields := strings.SplitN(target, " ", 3)
	if len(fields) != 3 || fields[1] != published && fields[1] != publishedAt {
		return fmt.Errorf("undo published port: %q is no entry of a map", target)
	}
	e := element{fields[1], fields[2]}
	return lockedFirewall(fields[0], func(f firewall) error {
		if there, err := f.exists(); err != nil || !there {
			return err
		}
		known, err := f.elements(e.set)
		if err != nil {
			return err
		}
		if _, there := known[e.text]; !there {
			return nil
		}
		if err := f.change([]element{{e.set, e.key()}}, nil); err != nil {
			return err
		}
		return e.forgetFlows()
	})
}

// forgetFlows has the kernel forget the flows that were led as the entry said.
func (e element) forgetFlows() error {
	p, err := e.publication()
	if err != nil || p.Proto != "udp" {
		return err
	}
	led, err := flowsOf(p, true)
	if err != nil {
		return err
	}
	return forgetFlows(led)
}

// publication reads what [Publication.element] writes.
func (e element) publication() (p Publication, err error) {
	words := strings.NewReplacer(partOf, " ", mapsTo, " ").Replace(e.text)
	host, address := netip.IPv4Unspecified().String(), ""
	if e.set == publishedAt {
		host, words, _ = strings.Cut(words, " ")
	}
	if _, err = fmt.Sscan(words, &p.Proto, &p.Host, &address, &p.Container); err != nil {
		return p, fmt.Errorf("read published port %q: %w", e.text, err)
	}
	p.HostIP, err = netip.ParseAddr(host)
	if err != nil {
		return p, fmt.Errorf("read published port %q: %w", e.text, err)
	}
	p.Address, err = netip.ParseAddr(address)
	return p, err
}
