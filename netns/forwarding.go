package netns

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/minidock/minidock/steps"
)

// KindForwarding turns the host into a router; it is turned back with the table.
const KindForwarding steps.Kind = "forwarding"

const forwarding = "net.ipv4.ip_forward"

// redirects is what the kernel changes along with forwarding: a router accepts no
// ICMP redirects, and whoever stops being one does (ip-sysctl.rst, ip_forward).
const redirects = "net.ipv4.conf.all.accept_redirects"

// Chains without a hook, which no packet meets: they are notes to whoever removes
// the table, about what was so before.
const (
	noteForwarding = "turned_forwarding_on"
	noteRedirects  = "redirects_were_refused"
)

// Forwards says whether the host passes on what is not for itself, in the namespace of
// the calling process.
func Forwards() bool { return sysctl(forwarding) == "1" }

// needForwarding turns the host into a router where it is none.
func (f firewall) needForwarding(ledger *steps.Ledger) error {
	if Forwards() {
		return nil
	}
	notes := []string{noteForwarding}
	if sysctl(redirects) == "0" {
		notes = append(notes, noteRedirects)
	}
	step := sysctlStep(KindForwarding, "", forwarding, "1",
		"Turn the host into a router: it is to pass packets between the bridges and the world. A note in the table says that it was none before, so that this is turned back with the last network.")
	step.Target = f.instance
	step.Undo = "sysctl -w " + forwarding + "=0"
	var messages, commands []string
	for _, n := range notes {
		messages = append(messages, fmt.Sprintf("NFT_MSG_NEWCHAIN %q", n))
		commands = append(commands, "add chain ip "+f.instance+" "+n)
	}
	step.Call = append([]string{transactionCall(messages...)}, step.Call...)
	step.Shell = append([]string{"nft " + steps.ShellQuote(strings.Join(commands, "; "))}, step.Shell...)
	return ledger.Do(step, func() error {
		if err := f.note(notes); err != nil {
			return err
		}
		return setSysctl(forwarding, "1")
	})
}

func (f firewall) note(names []string) error {
	for _, n := range names {
		f.conn.AddChain(&nftables.Chain{Table: f.table(), Name: n})
	}
	return f.conn.Flush()
}

// notes lists the notes that are in the table.
func (f firewall) notes() ([]string, error) {
	all, err := f.conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var notes []string
	for _, c := range all {
		if c.Table.Name == f.instance && slices.Contains([]string{noteForwarding, noteRedirects}, c.Name) {
			notes = append(notes, c.Name)
		}
	}
	return notes, nil
}

func undoTable(instance string) error {
	return lockedFirewall(instance, firewall.dropUnused)
}

// dropUnused removes the table when no network is in it, and turns forwarding
// back if it was this table's networks that needed it. The caller holds the lock.
func (f firewall) dropUnused() error {
	there, err := f.exists()
	if err != nil || !there {
		return err
	}
	networks, err := f.elements("bridges")
	if err != nil {
		return err
	}
	if len(networks) > 0 {
		return steps.ErrStays
	}
	notes, err := f.notes()
	if err != nil {
		return err
	}
	heir, err := f.heir(notes)
	if err != nil {
		return err
	}
	if heir == nil && slices.Contains(notes, noteForwarding) {
		if err := turnBack(notes); err != nil {
			return err
		}
	}
	return f.remove(heir, notes)
}

// heir is another installation's table, which still needs forwarding and takes
// over the notes.
func (f firewall) heir(notes []string) (*nftables.Table, error) {
	all, err := f.tables()
	if err != nil || len(notes) == 0 {
		return nil, err
	}
	for _, name := range all {
		if name != f.instance && (name == "minidock" || strings.HasPrefix(name, "minidock-")) {
			return tableOf(name), nil
		}
	}
	return nil, nil
}

// turnBack comes before the table goes: whoever is killed in between finds the
// note again.
func turnBack(notes []string) error {
	err := setSysctl(forwarding, "0")
	if slices.Contains(notes, noteRedirects) {
		err = errors.Join(err, setSysctl(redirects, "0"))
	}
	return err
}

func (f firewall) remove(heir *nftables.Table, notes []string) error {
	if heir != nil {
		for _, n := range notes {
			f.conn.AddChain(&nftables.Chain{Table: heir, Name: n})
		}
	}
	f.conn.DelTable(f.table())
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", f.instance, err)
	}
	return nil
}
