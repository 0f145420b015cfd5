package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// alive says whether the process that had this pid and start time still runs.
// A zombie is dead: it can't do anything any more.
func alive(pid int, start uint64) bool {
	got, state, err := processStart(pid)
	return err == nil && got == start && state != "Z" && state != "X"
}

// processStart reads start time (clock ticks since boot, field 22) and state
// (field 3) from /proc/PID/stat, proc_pid_stat(5).
func processStart(pid int) (start uint64, state string, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, "", fmt.Errorf("read process state: %w", err)
	}
	// The command name may hold spaces and brackets: count from its last bracket,
	// behind which field 3 comes.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	const stateAt, startAt = 0, 22 - 3
	if len(fields) <= startAt {
		return 0, "", fmt.Errorf("read process state of %d: %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[startAt], 10, 64)
	return start, fields[stateAt], err
}

// waiting says whether this process is still libcontainer's init, which carries
// the monitor's argv[0], and not yet the container's program.
func waiting(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && strings.HasPrefix(string(text), monitorTitle)
}

// killWait sends SIGKILL to exactly this process and waits for its end.
func killWait(pid int, start uint64, deadline time.Duration) error {
	fd, err := openProcess(pid, start)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	if err := signalPidfd(fd, pid, unix.SIGKILL); err != nil {
		return err
	}
	return waitPidfd(fd, deadline)
}

// signalProcess sends a signal to exactly this process; gone says that it has
// ended.
func signalProcess(pid int, start uint64, s unix.Signal) (gone bool, err error) {
	fd, err := openProcess(pid, start)
	if err != nil || fd < 0 {
		return true, err
	}
	defer unix.Close(fd)
	return false, signalPidfd(fd, pid, s)
}

func signalPidfd(fd, pid int, s unix.Signal) error {
	if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send signal %d to process %d: %w", s, pid, err)
	}
	return nil
}

// openProcess opens a pidfd of exactly this process; without an error it is -1
// where the process has ended.
func openProcess(pid int, start uint64) (int, error) {
	if !alive(pid, start) {
		return -1, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	// Between reading the start time and opening the pidfd the pid may have
	// changed hands: look again, now that the pidfd pins it.
	if !alive(pid, start) {
		return -1, unix.Close(fd)
	}
	return fd, nil
}

// longestPoll keeps poll's argument within its 31 bits of milliseconds (poll(2)).
const longestPoll = 24 * time.Hour

// waitPidfd waits until the process behind a pidfd has ended (pidfd_open(2): it
// then polls readable).
func waitPidfd(fd int, deadline time.Duration) error {
	end := time.Now().Add(deadline)
	for {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("wait for process: still there after %s", deadline)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(min(left, longestPoll).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
}
