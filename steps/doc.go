// Package steps is the one mechanism behind every act on the kernel or the host.
//
// An act (a mount, a cgroup, a fifo, a directory, …) is described by a [Step]
// before it is done: what is asked of the kernel, why, the shell command that
// does the same by hand, and where to look at the result. [Ledger.Do] appends
// that description to a file, does the act, and appends how it went. From this
// one record come the told story (run --explain, explain), the context of
// errors, and clean-up after a killed process: an undo is found from the record
// alone, by its kind and target.
//
// A ledger is two append-only files of JSON lines, which cat can read:
//
//	/run/minidock/ledgers/ID.jsonl      objects that die with the boot (mounts, cgroups, fifos)
//	/var/lib/minidock/ledgers/ID.jsonl  objects that outlive it (directories, names)
//
// Two lines belong to each step: one before the act, one after it. A step
// without its second line was under way when its process died.
//
//	{"n":4,"begun":"2026-01-02T03:04:05.1Z","step":{"kind":"mount","target":"/var/lib/…/merged",…}}
//	{"n":4,"done":true,"took_us":312}
package steps
