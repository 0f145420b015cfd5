package netns

import "github.com/minidock/minidock/steps"

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
