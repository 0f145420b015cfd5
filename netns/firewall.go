package netns

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/minidock/minidock/steps"
)

// The kinds of this package's steps on the firewall.
const (
	// KindTable is the firewall table of this installation; its undo removes it
	// when no network is in it.
	KindTable steps.Kind = "shared-table"
	// KindRules, KindSharedRules and KindLastingRules are a network's entries in
	// the table; they are taken back as its bridge is.
	KindRules        steps.Kind = "rules"
	KindSharedRules  steps.Kind = "shared-rules"
	KindLastingRules steps.Kind = "lasting-rules"
	// KindPublished leads a port of the host to a container; its undo removes the
	// entry if it still leads there.
	KindPublished steps.Kind = "published"
)

const nftManual = "nft(8), https://wiki.nftables.org"

// firewall is the one table of an installation, of the family ip, and a connection
// to nftables in the network namespace of the thread that opened it.
type firewall struct {
	instance string
	conn     *nftables.Conn
}

func openFirewall(instance string) (firewall, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return firewall{}, fmt.Errorf("open nftables: %w", err)
	}
	return firewall{instance, conn}, nil
}

func (f firewall) close() { _ = f.conn.CloseLasting() }

// lockedFirewall runs do with the table while nobody else changes what is shared.
func lockedFirewall(instance string, do func(firewall) error) error {
	return locked(func() error {
		f, err := openFirewall(instance)
		if err != nil {
			return err
		}
		defer f.close()
		return do(f)
	})
}

func tableOf(instance string) *nftables.Table {
	return &nftables.Table{Name: instance, Family: nftables.TableFamilyIPv4}
}

func (f firewall) table() *nftables.Table { return tableOf(f.instance) }

// transactionCall tells a transaction by its messages.
func transactionCall(messages ...string) string {
	return "sendmsg(netlink, [NFNL_MSG_BATCH_BEGIN, " + strings.Join(messages, ", ") + ", NFNL_MSG_BATCH_END])"
}

// tables lists the names of the tables of the family ip.
func (f firewall) tables() ([]string, error) {
	found, err := f.conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var names []string
	for _, t := range found {
		names = append(names, t.Name)
	}
	return names, nil
}

func (f firewall) exists() (bool, error) {
	all, err := f.tables()
	return slices.Contains(all, f.instance), err
}

// need makes the table where it is missing, and says whether it was.
func (f firewall) need(ledger *steps.Ledger) (made bool, err error) {
	if there, err := f.exists(); err != nil || there {
		return false, err
	}
	whole := f.whole()
	return true, ledger.Do(steps.Step{
		Kind: KindTable, Target: f.instance,
		Why:   "Make the one firewall table of all networks, in one transaction: its rules stay as they are; which networks and ports there are is in its sets and maps. Other tables are left alone.",
		Call:  []string{transactionCall(whole.messages()...)},
		Shell: []string{"nft " + steps.ShellQuote(whole.text())},
		Undo:  "nft delete table ip " + f.instance,
		See:   "nft list table ip " + f.instance, Man: nftManual,
	}, f.create)
}

// whole is the table with all that is in it from the beginning.
func (f firewall) whole() table {
	return table{"ip", nftables.TableFamilyIPv4, f.instance, sets(), chains(), rules()}
}

// create sends the whole table as one transaction: all of it happens, or nothing.
func (f firewall) create() error {
	if err := f.whole().add(f.conn); err != nil {
		return err
	}
	return f.conn.Flush()
}

// setOf is a set of the table by its name.
func (f firewall) setOf(name string) (set, *nftables.Set) {
	all := sets()
	at := slices.IndexFunc(all, func(s set) bool { return s.name == name })
	return all[at], all[at].in(f.table(), at)
}

// elements reads a set or map of the table, which has to be there.
func (f firewall) elements(name string) (map[string]nftables.SetElement, error) {
	ours, theirs := f.setOf(name)
	found, err := f.conn.GetSetElements(theirs)
	if err != nil {
		return nil, fmt.Errorf("read set %s: %w", name, err)
	}
	all := map[string]nftables.SetElement{}
	for _, e := range found {
		if !e.IntervalEnd { // Of an interval its first address stands for it.
			all[ours.decode(e)] = e
		}
	}
	return all, nil
}

// change deletes some elements and adds others, in one transaction.
func (f firewall) change(leave, come []element) error {
	if err := errors.Join(f.send(leave, f.conn.SetDeleteElements), f.send(come, f.conn.SetAddElements)); err != nil {
		return err
	}
	return f.conn.Flush()
}

func (f firewall) send(list []element, how func(*nftables.Set, []nftables.SetElement) error) error {
	for _, e := range list {
		encoded, err := e.encode()
		if err != nil {
			return err
		}
		_, in := f.setOf(e.set)
		if err := how(in, encoded); err != nil {
			return fmt.Errorf("describe element of %s: %w", e.set, err)
		}
	}
	return nil
}

// entries are what the table has to know of a network.
func entries(n Network, t trace) []element {
	bridge := fmt.Sprintf("%q", t.bridge)
	all := []element{{"bridges", bridge}, {"same", bridge + partOf + bridge}}
	if n.Internal {
		all = append(all, element{"internal", bridge})
	}
	if n.masquerades() {
		all = append(all, element{"subnets", t.subnet.String()})
	}
	return all
}

// needNetwork puts a network into the table where it is missing.
func (f firewall) needNetwork(ledger *steps.Ledger, n Network, by holding, t trace) error {
	wanted := entries(n, t)
	known, err := f.elements("bridges")
	if err != nil {
		return err
	}
	if _, there := known[wanted[0].text]; there {
		return nil
	}
	return ledger.Do(steps.Step{
		Kind: by.kind(KindRules), Target: t.String(),
		Why:   fmt.Sprintf("Tell the firewall about network %s: which bridge it is, and whose packets get the host's address on the way out.", n.Name),
		Call:  []string{transactionCall(elementCalls("NFT_MSG_NEWSETELEM", wanted)...)},
		Shell: []string{"nft " + steps.ShellQuote(f.commands("add", wanted))},
		Undo:  "nft " + steps.ShellQuote(f.commands("delete", wanted)),
		See:   "nft list set ip " + f.instance + " bridges", Man: nftManual,
	}, func() error { return f.change(nil, wanted) })
}

func elementCalls(message string, list []element) []string {
	var calls []string
	for _, e := range list {
		calls = append(calls, fmt.Sprintf("%s %q {%s}", message, e.set, e.text))
	}
	return calls
}

// commands are what nft is told to add or delete elements, as one transaction.
func (f firewall) commands(verb string, list []element) string {
	var all []string
	for _, e := range list {
		text := e.text
		if verb == "delete" {
			text = e.key()
		}
		all = append(all, fmt.Sprintf("%s element ip %s %s { %s }", verb, f.instance, e.set, text))
	}
	return strings.Join(all, "; ")
}

// forget takes a network out of the table, as far as it is there.
func (f firewall) forget(t trace) error {
	if there, err := f.exists(); err != nil || !there {
		return err
	}
	everything := append(entries(Network{}, t), element{"internal", fmt.Sprintf("%q", t.bridge)})
	var there []element
	for _, e := range everything {
		known, err := f.elements(e.set)
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(e.text, "/")
		if _, found := known[first]; found {
			there = append(there, e)
		}
	}
	if len(there) == 0 {
		return nil
	}
	if err := f.change(there, nil); err != nil {
		return fmt.Errorf("forget network of %s: %w", t.bridge, err)
	}
	return nil
}
