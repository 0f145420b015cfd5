package steps

import (
	"errors"
	"fmt"
)

// Undo takes an object back, given the target of the step that made it. It must
// be harmless when repeated, and when the object was never made.
type Undo func(target string) error

// ErrStays is returned by an undo whose object others still use: it is neither
// taken back nor an error, and whoever uses it last takes it along.
var ErrStays = errors.New("still used by others")

// Undos maps the kinds that leave something behind to their undo. A kind that
// is not in it left nothing, or something that goes with another object.
type Undos map[Kind]Undo

// Merge returns one map with the entries of all.
func Merge(all ...Undos) Undos {
	merged := Undos{}
	for _, u := range all {
		for kind, undo := range u {
			merged[kind] = undo
		}
	}
	return merged
}

// Undo takes back what the ledger's steps of the given lifetimes made, newest
// first, and marks each in the ledger. It goes on after an error, so that one
// stubborn object does not keep the others, and returns all errors joined.
func (l *Ledger) Undo(undos Undos, lifetimes ...Lifetime) error {
	var errs []error
	for _, r := range l.Pending(undos, lifetimes...) {
		err := undos[r.Kind](r.Target)
		if errors.Is(err, ErrStays) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("undo %s %s: %w", r.Kind, r.Target, err))
			continue
		}
		errs = append(errs, l.mark([]int{r.N}, line{Undone: true}))
	}
	return errors.Join(errs...)
}

// Pending lists what [Ledger.Undo] would take back, in that order.
func (l *Ledger) Pending(undos Undos, lifetimes ...Lifetime) []Record {
	wanted := map[Lifetime]bool{}
	for _, t := range lifetimes {
		wanted[t] = true
	}
	var pending []Record
	all := l.Records()
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		// What was done inside goes with the container's namespaces.
		if r.mayExist() && !r.Inside && undos[r.Kind] != nil && wanted[r.Lifetime] {
			pending = append(pending, r)
		}
	}
	return pending
}

// TakeBack takes one object back before its turn, and marks its steps: what was made
// again under the same name is the same object.
func (l *Ledger) TakeBack(undos Undos, kind Kind, target string) error {
	var made []int
	for _, r := range l.Pending(undos, Boot, Kept) {
		if r.Kind == kind && r.Target == target {
			made = append(made, r.N)
		}
	}
	if len(made) == 0 {
		return nil
	}
	if err := undos[kind](target); err != nil {
		return fmt.Errorf("undo %s %s: %w", kind, target, err)
	}
	return l.mark(made, line{Undone: true})
}
