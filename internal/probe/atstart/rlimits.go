// Package atstart keeps what a Go program itself changes while it starts.
//
// Package syscall raises the soft limit of open files in its init
// (go.dev/issue/46279), so a report made later would show a limit that nobody
// set. Packages are initialised in the order of their import paths as soon as
// all that they import is ready (Go 1.21 release notes): this one imports
// nothing that has an init and sorts before syscall, so it runs first. It must
// never import syscall, nor what imports it: hence the borrowed function.
package atstart

import "unsafe"

// Limit is one resource limit; the kernel's RLIM_INFINITY is all bits set
// (getrlimit(2)).
type Limit struct {
	Soft, Hard uint64
	// Known is false where the kernel refused to tell.
	Known bool
}

// count is the number of resources in Linux: RLIMIT_CPU (0) to RLIMIT_RTTIME
// (15) (include/uapi/asm-generic/resource.h, RLIM_NLIMITS).
const count = 16

// Limits holds the resource limits as the process was given them, by the
// kernel's number.
var Limits = read()

func read() (all [count]Limit) {
	for i := range all {
		var l struct{ soft, hard uint64 }
		_, _, errno := rawSyscall6(sysPrlimit64, 0, uintptr(i), 0, uintptr(unsafe.Pointer(&l)), 0, 0)
		if errno == 0 {
			all[i] = Limit{Soft: l.soft, Hard: l.hard, Known: true}
		}
	}
	return all
}

//go:linkname rawSyscall6 syscall.RawSyscall6
func rawSyscall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2, errno uintptr)
