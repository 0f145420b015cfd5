package gate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
)

func TestMain(m *testing.M) {
	Enter()
	if kinds := os.Getenv(sendsNetlink); kinds != "" {
		sendNetlink(kinds)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sendsNetlink makes the test's own program one that sends netlink messages of these
// types, as in "16 18".
const sendsNetlink = "GATE_SENDS_NETLINK"

// sendNetlink sends nothing but heads (netlink(7)): what the kernel says to them makes
// no difference.
func sendNetlink(kinds string) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	for kind := range strings.FieldsSeq(kinds) {
		number, _ := strconv.ParseUint(kind, 0, 16)
		head := make([]byte, unix.NLMSG_HDRLEN)
		binary.NativeEndian.PutUint32(head, uint32(len(head)))
		binary.NativeEndian.PutUint16(head[4:], uint16(number))
		err = errors.Join(err, unix.Sendto(socket, head, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	}
	if err != nil {
		panic(err)
	}
}

// patience is generous: an emulated machine is twenty times slower.
const patience = 60 * time.Second

// gated runs a shell script in a directory of its own, and returns the
// directory, the acts in it, and what the shell said.
func gated(t *testing.T, script string, before func(Act)) (dir string, acts []Act, said string) {
	t.Helper()
	require.Needs(t, require.Linux, require.Root, require.Seccomp)
	dir = t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	g, err := Start(cmd, func(a Act) bool {
		target := a.Target() // Afterwards there is nobody to ask.
		a.target = func() string { return target }
		acts = append(acts, a)
		if before != nil {
			before(a)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // The shell may have been killed.
	if gone, err := g.Gone(patience); !gone || err != nil {
		t.Fatalf("the tree is gone: %v, %v", gone, err)
	}
	return dir, acts, out.String()
}

// targets are those of the acts with this call, without the directory.
func targets(dir string, acts []Act, calls ...string) []string {
	var list []string
	for _, a := range acts {
		if slices.Contains(calls, a.Call) {
			list = append(list, strings.TrimPrefix(a.Target(), dir+"/"))
		}
	}
	return list
}

func TestEveryActIsSeenBeforeItHappens(t *testing.T) {
	dir, acts, said := gated(t, "mkdir a && echo text > a/file && mv a/file a/moved && cat a/moved && rm -r a && ln -s x y", nil)
	for _, c := range []struct {
		calls []string
		want  []string
	}{
		{[]string{"mkdir", "mkdirat"}, []string{"a"}},
		{[]string{"open", "openat"}, []string{"a/file"}},
		{[]string{"write"}, []string{"a/file"}},
		{[]string{"rename", "renameat", "renameat2"}, []string{"a/moved"}},
		{[]string{"unlink", "unlinkat", "rmdir"}, []string{"a/moved", "a"}},
		{[]string{"symlink", "symlinkat"}, []string{"y"}},
	} {
		if got := targets(dir, acts, c.calls...); !slices.Equal(got, c.want) {
			t.Errorf("%v of %v, not of %v", c.calls, got, c.want)
		}
	}
	if said != "text\n" {
		t.Errorf("the shell said %q", said)
	}
	var processes []int
	for _, a := range acts {
		processes = append(processes, a.Pid)
	}
	slices.Sort(processes)
	// The last command of a list may take the shell's place.
	if n := len(slices.Compact(processes)); n < 5 {
		t.Errorf("acts of only %d processes", n)
	}
}

func TestKillingBeforeAnActPreventsItAndAllLaterOnes(t *testing.T) {
	for n := 1; n <= 4; n++ {
		seen := 0
		dir, _, _ := gated(t, "for i in 1 2 3 4; do mkdir d$i || exit; done", func(a Act) {
			if !strings.HasPrefix(a.Call, "mkdir") {
				return
			}
			if seen++; seen == n {
				// The shell, and with it the next mkdir; then who makes this one.
				for _, pid := range []int{parentOf(t, a.Pid), a.Pid} {
					if err := Kill(pid, patience); err != nil {
						t.Error(err)
					}
				}
			}
		})
		made, err := filepath.Glob(dir + "/d*")
		if err != nil || len(made) != n-1 || seen != n {
			t.Errorf("killed before directory %d of %d seen: %d are there, %v", n, seen, len(made), err)
		}
	}
}

// parentOf reads field 4 of /proc/PID/stat, the second behind the name in
// brackets (proc_pid_stat(5)).
func parentOf(t *testing.T, pid int) (parent int) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	var state string
	if _, scanErr := fmt.Sscan(rest, &state, &parent); err != nil || scanErr != nil {
		t.Error(err, scanErr)
	}
	return parent
}

func TestAHeldActHasNotHappened(t *testing.T) {
	var early []string
	dir := ""
	_, acts, _ := gated(t, "mkdir here && touch here/file", func(a Act) {
		if filepath.Base(a.Target()) != "here" && filepath.Base(a.Target()) != "file" {
			return
		}
		dir = a.Target()
		if _, err := os.Lstat(a.Target()); err == nil {
			early = append(early, a.String())
		}
	})
	if dir == "" || len(early) > 0 {
		t.Errorf("of %v these had happened when they were told: %v", acts, early)
	}
}

// What ends up behind the gate is the command as it would be without, but for
// the filter.
func TestTheCommandKnowsNothingOfTheGate(t *testing.T) {
	// Whoever runs this test may have left descriptor 3 open, where the gate was.
	script := "exec 3<&-; ls /proc/$$/fd; env | sort | grep -v ^PWD=; echo $0; cat /proc/$$/comm /proc/$$/cmdline; grep Seccomp: /proc/$$/status"
	_, _, behind := gated(t, script, nil)
	free, err := exec.Command("/bin/sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(string(free), "Seccomp:\t0", "Seccomp:\t2", 1); behind != want {
		t.Errorf("behind the gate:\n%s\nfree:\n%s", behind, want)
	}
}

func TestAfterNoMoreTheTreeRunsFreely(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Seccomp)
	cmd := exec.Command("/bin/sh", "-c", "for i in 1 2 3; do mkdir d$i; done")
	cmd.Dir = t.TempDir()
	asked := 0
	g, err := Start(cmd, func(a Act) bool { asked++; return false })
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if gone, err := g.Gone(patience); !gone || err != nil || asked != 1 {
		t.Errorf("gone %v, %v; asked %d times", gone, err, asked)
	}
	if made, _ := filepath.Glob(cmd.Dir + "/d*"); len(made) != 3 {
		t.Errorf("made %v", made)
	}
}

func TestASurvivorIsNoticed(t *testing.T) {
	require.Needs(t, require.Linux, require.Root, require.Seccomp)
	cmd := exec.Command("/bin/sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!")
	var out bytes.Buffer
	cmd.Stdout = &out
	g, err := Start(cmd, func(Act) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if gone, _ := g.Gone(50 * time.Millisecond); gone {
		t.Error("a process is left, and the tree is said to be gone")
	}
	var pid int
	if _, err := fmt.Sscan(out.String(), &pid); err != nil {
		t.Fatal(err)
	}
	if err := Kill(pid, patience); err != nil {
		t.Error(err)
	}
	if gone, err := g.Gone(patience); !gone || err != nil {
		t.Errorf("gone %v, %v", gone, err)
	}
}

func TestACommandThatIsNotThereIsAnError(t *testing.T) {
	_, acts, said := gated(t, "exec /no/such/program", nil)
	if !strings.Contains(said, "/no/such/program") || len(acts) == 0 {
		t.Errorf("said %q, acts %v", said, acts)
	}
}

// What changes links, rules and tracked connections is held; what reads them is not.
func TestNetlinkThatChangesIsHeld(t *testing.T) {
	for _, c := range []struct{ sent, held string }{
		{"16 17 18 19", "16 17 19"},            // RTM_NEWLINK, DELLINK, GETLINK, SETLINK; a batch begins with 16, too
		{"0x100 0x101 0x102 0x103", "256 258"}, // IPCTNL_MSG_CT_NEW, GET, DELETE, GET_CTRZERO
		{"0xa01 0xa0d 0xa10 2 3", ""},          // NFT_MSG_GETTABLE, GETSETELEM, GETGEN; NLMSG_ERROR, NLMSG_DONE
	} {
		_, acts, said := gated(t, fmt.Sprintf("export %s='%s'; exec unshare --net %s", sendsNetlink, c.sent, os.Args[0]), nil)
		var held []string
		for _, a := range acts {
			if kind, ok := strings.CutPrefix(a.Target(), "netlink "); ok {
				held = append(held, kind)
			}
		}
		if got := strings.Join(held, " "); got != c.held || said != "" {
			t.Errorf("of %s held: %q, not %q\n%s", c.sent, got, c.held, said)
		}
	}
}
