package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A child that nobody waits for, with the name of one on its way into a
// container, is reaped; one with another name is somebody's, and stays.
func TestLostChildrenAreReaped(t *testing.T) {
	lost, other := unwaited(t, onTheWayIn[0]), unwaited(t, "program")
	t.Cleanup(func() { _, _ = syscall.Wait4(other, nil, 0, nil) })
	if found := orphans(os.Getpid()); !slices.Equal(found, []int{lost}) {
		t.Fatalf("found %v, not %d", found, lost)
	}
	newMonitor(Layout{}, nil).reapOrphans()
	if found := orphans(os.Getpid()); len(found) > 0 {
		t.Errorf("still there: %v", found)
	}
	if _, state, err := processStart(other); err != nil || state != "Z" {
		t.Errorf("the other one is in state %q: %v", state, err)
	}
}

// unwaited starts a program under a name, and lets it become a zombie.
func unwaited(t *testing.T, name string) (pid int) {
	t.Helper()
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	if pid, err = syscall.ForkExec(link, []string{"true"}, nil); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, state, _ := processStart(pid); state == "Z" {
			return pid
		}
	}
	t.Fatalf("%s does not end", name)
	return 0
}
