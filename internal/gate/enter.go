package gate

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// marker is the environment variable that tells our own executable to become a
// command behind a gate: the number of the socket that takes the listener.
const marker = "MINIDOCK_GATE_SOCKET"

// Enter becomes the command that [Start] was given, when this process was
// started for that, and returns at once otherwise. It belongs at the very
// beginning of TestMain.
func Enter() {
	socket, err := strconv.Atoi(os.Getenv(marker))
	if err != nil || len(os.Args) < 3 {
		return
	}
	fmt.Fprintln(os.Stderr, "gate:", enter(socket, os.Args[1], os.Args[2:]))
	os.Exit(126)
}

// enter puts the filter on this thread alone: with execve(2) it becomes the
// process's only one. Another thread hands the listener over, since nobody can
// let our own calls go on before that is done.
func enter(socket int, path string, args []string) error {
	unix.CloseOnExec(socket)
	if err := os.Unsetenv(marker); err != nil {
		return err
	}
	listener, handed := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread()
		listener <- -1 // This thread exists, from before the filter.
		// A byte has to go with it (unix(7), SCM_RIGHTS).
		handed <- unix.Sendmsg(socket, []byte{0}, unix.UnixRights(<-listener), nil, 0)
	}()
	<-listener
	runtime.LockOSThread()
	fd, err := install(filter(calls()))
	if err != nil {
		return fmt.Errorf("put on filter: %w", err)
	}
	listener <- fd
	if err := <-handed; err != nil {
		return fmt.Errorf("hand over listener: %w", err)
	}
	return fmt.Errorf("become %s: %w", path, unix.Exec(path, args, os.Environ()))
}

// install needs no "no new privileges" of root (seccomp(2)). Once the listener
// has seen a call, only a deadly signal takes the process out of it: else every
// SIGCHLD would make it call a second time.
func install(program []unix.SockFilter) (listener int, err error) {
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// Offsets into struct seccomp_data (linux/seccomp.h).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// filter stops the calls of the table and allows all others. Creating threads
// and opening what exists is so frequent, and tells so much by its flags, that
// the filter itself lets it pass. Calls of another architecture pass, too: no
// program under test makes any.
func filter(table table) []unix.SockFilter {
	stop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := []unix.SockFilter{load(offsetArch), jump(unix.BPF_JEQ, auditArch, 1, 0), allow, load(offsetNumber)}
	for number, call := range table {
		if call.flagsAt < 0 {
			program = append(program, jump(unix.BPF_JEQ, uint32(number), 0, 1), stop)
			continue
		}
		onSet, onClear := stop, allow
		if !call.flagsStop {
			onSet, onClear = allow, stop
		}
		program = append(program, jump(unix.BPF_JEQ, uint32(number), 0, 4),
			load(offsetArgs+8*uint32(call.flagsAt)), jump(unix.BPF_JSET, call.flags, 0, 1), onSet, onClear)
	}
	return append(program, allow)
}

// load reads the low half of an argument where it is one: both architectures are
// little-endian.
func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(condition uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, Jt: yes, Jf: no, K: k}
}
