package runtime

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The names of libcontainer's processes on their way into a container (runc 1.5.2,
// nsexec.c), which they keep until they become the program. Its first one,
// runc:[0:PARENT], is always waited for.
var onTheWayIn = []string{"runc:[1:CHILD]", "runc:[2:INIT]"}

// reapOrphans waits for those children of this process that libcontainer started
// and lost when an exec failed half-way, as it does when the container is killed
// meanwhile. One that was born into the PID namespace keeps init from ending until
// it has been waited for (pid_namespaces(7); kernel/pid_namespace.c,
// zap_pid_ns_processes), and the monitor with it.
func (m *monitor) reapOrphans() {
	// While nobody else is on the way in, whoever bears such a name is lost.
	m.entering.Lock()
	defer m.entering.Unlock()
	for deadline := time.Now().Add(orphanPatience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if !reap(orphans(os.Getpid())) {
			return
		}
	}
}

// orphanPatience bounds the wait for processes that the kernel has killed.
const orphanPatience = 5 * time.Second

// reap waits for those that have ended, and says whether others still run.
func reap(pids []int) (left bool) {
	for _, pid := range pids {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		left = left || err == nil && got == 0
	}
	return left
}

// orphans lists the children of a process that are on their way into a container.
func orphans(parent int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if name, of := nameAndParent(dir); of == parent && (name == onTheWayIn[0] || name == onTheWayIn[1]) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// nameAndParent reads fields 2 and 4 of /proc/PID/stat, proc_pid_stat(5).
func nameAndParent(dir string) (name string, parent int) {
	text, _ := os.ReadFile(filepath.Join(dir, "stat"))
	begin, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	if begin < 0 || end < begin {
		return "", 0 // It is gone.
	}
	if fields := strings.Fields(string(text[end+1:])); len(fields) > 1 {
		parent, _ = strconv.Atoi(fields[1])
	}
	return string(text[begin+1 : end]), parent
}
