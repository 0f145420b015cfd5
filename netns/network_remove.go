package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minidock/minidock/steps"
)

// The kinds of step of this package that are about files.
const (
	// KindNetwork is a network's directory.
	KindNetwork steps.Kind = "network"
	// KindLease is the symbolic link that takes an address.
	KindLease steps.Kind = "lease"
	// kindFile goes with its directory.
	kindFile steps.Kind = "file"
)

// stateUndos tells how what this package makes on the disk is taken back.
func stateUndos() steps.Undos {
	return steps.Undos{KindNetwork: undoDirectory, KindLease: undoLease}
}

const (
	ledgerPrefix = "network-"
	ledgerSuffix = ".jsonl"
)

// Owns says whether the ledger of this ID belongs to a network, and not to a
// container; [Store.Cleanup] looks after it.
func Owns(ledgerID string) bool { return strings.HasPrefix(ledgerID, ledgerPrefix) }

// Ledger names the two files of a network's ledger, which lives as long as the
// network. Whoever writes to it holds the store's lock.
func (s *Store) Ledger(name string) steps.Paths {
	return steps.Paths{
		Boot: filepath.Join(s.place.Run, "ledgers", ledgerPrefix+name+ledgerSuffix),
		Kept: filepath.Join(s.place.Root, "ledgers", ledgerPrefix+name+ledgerSuffix),
	}
}

// leaving ends the name of network.json while the network is being removed: then it
// is no network any more, and can become one again should a container have been
// faster.
const leaving = ".leaving"

// undoDirectory removes a network's directory. network.json goes first: whoever takes an
// address after that looks, finds that the network is gone, and does not have it (see
// [Store.Lease]). That may be under way: so the directory of the leases gets another
// name, under which nobody makes any, before it is emptied.
func undoDirectory(dir string) error {
	leases := filepath.Join(dir, "leases")
	var errs []error
	for _, name := range []string{networkFile, networkFile + steps.PartSuffix, networkFile + leaving} {
		errs = append(errs, os.Remove(filepath.Join(dir, name)))
	}
	errs = append(errs, os.Rename(leases, leases+leaving), os.RemoveAll(leases+leaving), os.Remove(dir))
	for _, err := range errs {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove network: %w", err)
		}
	}
	return nil
}

// leavingOrThere reads what a network is that may be half removed.
func (s *Store) leavingOrThere(name string) (n Network, known bool) {
	for _, file := range []string{s.file(name), s.file(name) + leaving} {
		if steps.ReadState(file, &n) == nil && n.Subnet.IsValid() {
			return n, true
		}
	}
	return n, false
}

// Remove removes a network that no container has an address on. tell, when not nil,
// hears what is taken back. Errors are in Docker's words.
func (s *Store) Remove(ref string, tell func(steps.Record)) (Network, error) {
	n, err := s.Find(ref)
	if err != nil {
		return n, err
	}
	if Predefined(n.Name) {
		return n, &steps.Fault{
			Msg:  n.Name + " is a pre-defined network and cannot be removed",
			Hint: "It is always there, and costs nothing while no container is on it.",
		}
	}
	return n, s.removeOnly(n, tell)
}

// removeOnly removes this network, and no other that has got its name meanwhile.
func (s *Store) removeOnly(n Network, tell func(steps.Record)) error {
	release, err := s.lock()
	if err != nil {
		return err
	}
	defer release()
	return translate(s.place, s.remove(n, tell))
}

// remove works in an order in which a container that gets an address meanwhile is
// either seen here, or sees that the network is gone (see [Store.Lease]).
func (s *Store) remove(n Network, tell func(steps.Record)) error {
	if now, err := s.read(n.Name); err != nil || now.ID != n.ID {
		return errors.Join(err, replaced(n, now))
	}
	if err := s.refuseLeased(n); err != nil {
		return err
	}
	if err := os.Rename(s.file(n.Name), s.file(n.Name)+leaving); err != nil {
		return fmt.Errorf("remove network: %w", err)
	}
	if err := s.refuseLeased(n); err != nil {
		return errors.Join(err, os.Rename(s.file(n.Name)+leaving, s.file(n.Name)))
	}
	ledger, err := steps.Open(s.Ledger(n.Name), tell)
	if err != nil {
		return err
	}
	return s.takeBack(n.Name, ledger)
}

// replaced says that another network has got the name.
func replaced(n, now Network) error {
	if now.ID == "" {
		return nil
	}
	return notFound(n.ID)
}

// takeBack undoes all that a network's ledger holds, and removes the ledger. Should
// a power cut have taken the ledger, the directory still goes.
func (s *Store) takeBack(name string, ledger *steps.Ledger) error {
	n, known := s.leavingOrThere(name)
	err := ledger.Undo(Undos(), steps.Boot, steps.Kept)
	if err == nil && known {
		err = s.takesBack(n) // After a reboot a container made it again.
	}
	if err == nil {
		err = undoDirectory(s.dir(name))
	}
	if err != nil {
		return errors.Join(err, ledger.Close())
	}
	// A container's monitor may be about to remove its own file there.
	if err := os.Remove(s.residents(name)); err != nil && !errors.Is(err, fs.ErrNotExist) && !isNotEmpty(err) {
		return errors.Join(fmt.Errorf("remove network: %w", err), ledger.Close())
	}
	return ledger.Remove()
}

// refuseLeased fails where containers have addresses on a network. Those of
// containers that are gone are given back.
func (s *Store) refuseLeased(n Network) error {
	if _, err := s.reap(n.Name, false); err != nil {
		return err
	}
	leases, err := s.Leases(n.Name)
	if err != nil || len(leases) == 0 {
		return err
	}
	var holders []string
	for _, l := range leases {
		holders = append(holders, short(l.Container))
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("error while removing network: network %s id %s has active endpoints", n.Name, n.ID),
		Hint: "First remove the containers on it: minidock rm -f " + strings.Join(holders, " "),
	}
}

// Prune removes every network that no container has an address on, that is not
// always there, and that wanted agrees to. It returns their names; also beside an
// error, which tells of those that could not be removed.
func (s *Store) Prune(wanted func(Network) bool) (removed []string, err error) {
	all, err := s.stored()
	errs := []error{err}
	for _, n := range all {
		if Predefined(n.Name) || !wanted(n) {
			continue
		}
		if leases, err := s.live(n.Name); err != nil || len(leases) > 0 {
			errs = append(errs, err)
			continue
		}
		switch err := s.removeOnly(n, nil); {
		case errors.Is(err, ErrNoNetwork): // Somebody else was faster.
		case err != nil:
			errs = append(errs, err)
		default:
			removed = append(removed, n.Name)
		}
	}
	return removed, errors.Join(errs...)
}

// Cleanup undoes what killed commands left of networks: half made and half removed
// ones, and the addresses of containers that are gone. It returns the records of
// that; with dry it only returns them.
func (s *Store) Cleanup(dry bool) ([]steps.Record, error) {
	names, err := s.traces()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	release, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer release()
	var all []steps.Record
	errs := []error{err}
	for _, name := range names {
		records, err := s.mend(name, dry)
		all, errs = append(all, records...), append(errs, err)
	}
	return all, translate(s.place, errors.Join(errs...))
}

// traces lists the names of all networks of which anything is there.
func (s *Store) traces() ([]string, error) {
	names := map[string]bool{}
	ledger := s.Ledger("")
	for _, dir := range []string{s.networks(), filepath.Dir(ledger.Boot), filepath.Dir(ledger.Kept)} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, translate(s.place, fmt.Errorf("list networks: %w", err))
		}
		for _, e := range entries {
			name, isLedger := strings.CutPrefix(strings.TrimSuffix(e.Name(), ledgerSuffix), ledgerPrefix)
			if isLedger || dir == s.networks() {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// anything says whether there is anything of a network.
func (s *Store) anything(name string) bool {
	ledger := s.Ledger(name)
	return slices.ContainsFunc([]string{s.dir(name), ledger.Kept, ledger.Boot}, func(path string) bool {
		_, err := os.Lstat(path)
		return !errors.Is(err, fs.ErrNotExist)
	})
}

// mend takes back what is left of a network that is half there, and the addresses on
// it that are nobody's. The caller holds the lock: nobody is at work on it.
func (s *Store) mend(name string, dry bool) ([]steps.Record, error) {
	records, err := s.reap(name, dry)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.file(name)); err == nil || !s.anything(name) {
		return records, nil
	}
	if held, err := s.live(name); err != nil || len(held) > 0 {
		return records, errors.Join(err, s.comeBack(name, dry))
	}
	ledger, err := steps.Open(s.Ledger(name), nil)
	if err != nil {
		return nil, err
	}
	records = append(records, s.pending(name, ledger)...)
	if dry {
		return records, ledger.Close()
	}
	return records, s.takeBack(name, ledger)
}

// pending lists what is to be taken back of a network; its directory, too, should a
// power cut have taken the ledger.
func (s *Store) pending(name string, ledger *steps.Ledger) []steps.Record {
	records := ledger.Pending(Undos(), steps.Boot, steps.Kept)
	if _, err := os.Stat(s.dir(name)); err != nil || len(records) > 0 {
		return records
	}
	return []steps.Record{{State: steps.Done, Step: steps.Step{
		Kind: KindNetwork, Target: s.dir(name), Lifetime: steps.Kept, Undo: "rm -r " + steps.ShellQuote(s.dir(name)),
	}}}
}

// comeBack makes a network out of one whose removal was killed at the moment when a
// container got an address on it.
func (s *Store) comeBack(name string, dry bool) error {
	if dry {
		return nil
	}
	return os.Rename(s.file(name)+leaving, s.file(name))
}
