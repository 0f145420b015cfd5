// Package runtime tells a container's life in order: create, start, end, remove.
//
// Read it along `minidock run`:
//
//	create.go   Create: a name, an ID, a directory, a config.json
//	launch.go   Launch: fork the monitor, attach to it, carry streams and signals
//	monitor.go  the process that outlives the command, starts the container and waits for it
//	start.go    the ordered sequence from an empty directory to a waiting init
//	inside.go   what init then does inside its new namespaces, up to execve
//
// Everything that touches the kernel goes through package steps. State is plain
// JSON; docs/layout.md names every file, its owner and its lock.
package runtime
