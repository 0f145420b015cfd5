package netns

import (
	"errors"

	"github.com/minidock/minidock/steps"
)

// kernelUndos tells how what this package makes of the kernel is taken back; see the kinds.
func kernelUndos() steps.Undos {
	return steps.Undos{
		KindNamespace:    undoNamespace,
		KindVeth:         undoVeth,
		KindSharedVeth:   undoSharedVeth,
		KindBridge:       undoNetwork,
		KindSharedBridge: undoSharedNetwork,
		KindRules:        undoNetwork,
		KindSharedRules:  undoSharedNetwork,
		KindTable:        undoTable,
		KindForwarding:   undoTable,
		KindPublished:    undoPublished,
	}
}

// OwnUndos is [Undos] without what containers share, which [Store.RemoveUnused]
// takes back later: removing a bridge takes the kernel some 30 ms, in which it does
// nothing but wait for itself (unregister_netdevice, rcu_barrier).
func OwnUndos() steps.Undos {
	own := Undos()
	own[KindSharedVeth] = undoVeth
	for _, kind := range []steps.Kind{KindSharedBridge, KindSharedRules, KindTable, KindForwarding} {
		own[kind] = func(string) error { return steps.ErrStays }
	}
	return own
}

// RemoveUnused takes back what the host has of a network that its containers hold,
// the default one, if none is on it.
func (s *Store) RemoveUnused(n Network) error {
	if err := undoSharedNetwork(s.traceOf(n).String()); !errors.Is(err, steps.ErrStays) {
		return err
	}
	return nil
}
