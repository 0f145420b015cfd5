package netns

import "github.com/minidock/minidock/steps"

// Undos returns how to take back what this package's steps make.
func Undos() steps.Undos { return steps.Merge(stateUndos(), kernelUndos(), DNSUndos()) }
