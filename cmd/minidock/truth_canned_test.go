package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// cannedTrace is a run in short: a command, its monitor, its init, the program.
const cannedTrace = `100 execve("/usr/bin/minidock", ["minidock", "run", "x"], 0x7f /* 9 vars */) = 0
100 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>
101 setsid()                        = 101
101 execve("/proc/self/exe", ["minidock: monitor x", "monitor", "/r"], 0x1 /* 1 var */ <unfinished ...>
100 <... clone resumed>, parent_tid=[5<anon_inode:[pidfd]>]) = 101
101 <... execve resumed>)           = 0
101 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[102]}, 88) = 102
102 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = 103
103 execve("/proc/self/fd/6", ["minidock: monitor x", "init"], 0x1 /* 5 vars */) = 0
102 mkdir("/sys/fs/cgroup/x", 0755) = 0
102 write(7</sys/fs/cgroup/x/cgroup.procs>, "103", 3) = 3
103 clone(child_stack=0x7f, flags=CLONE_PARENT|SIGCHLD) = 104
104 openat2(11</r/merged>, "proc", {flags=O_PATH, resolve=0}, 24) = 12</r/merged/proc>
104 mount("proc", "/proc/thread-self/fd/12", "proc", MS_NODEV|MS_NOSUID, NULL) = 0
104 mknodat(13</r/merged/dev>, "tty", S_IFCHR|0666, makedev(0x5, 0)) = 0
104 pivot_root(".", ".")            = 0
104 fsopen("proc", FSOPEN_CLOEXEC)  = 3<anon_inode:[fscontext]>
104 fsmount(3<anon_inode:[fscontext]>, FSMOUNT_CLOEXEC, 0) = 4</>
104 openat2(4</>, "./sys/kernel/x", {flags=O_PATH, resolve=0}, 24) = 5</sys/kernel/x>
104 openat2(4</>, "thread-self/fd/", {flags=O_PATH, resolve=0}, 24) = 8</1/task/1/fd>
104 openat(8</1/task/1/fd>, "5", O_WRONLY|O_CLOEXEC) = 9</sys/kernel/x>
104 write(9</sys/kernel/x>, "1\n", 2) = 2
104 mkdirat(AT_FDCWD</>, "/refused", 0755) = -1 EACCES (Permission denied)
104 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[2 /* 6 in strace's PID NS */]}, 88) = 2 /* 6 in strace's PID NS */
6 setuid(7)                         = 0
104 setuid(7)                       = 0
104 capset({version=3, pid=0}, {effective=1<<CAP_KILL|1<<CAP_CHOWN, permitted=0, inheritable=0}) = 0
104 prlimit64(0, RLIMIT_NOFILE, {rlim_cur=1024, rlim_max=64*1024}, NULL) = 0
104 execve("/bin/true", ["true"], 0x1 /* 2 vars */) = 0
104 mount("none", "/x", "tmpfs", 0, NULL) = 0
102 umount2("/r/merged", MNT_DETACH) = 0
102 unlinkat(AT_FDCWD, "/gone", 0) = 0
102 rmdir("/sys/fs/cgroup/i/x") = 0
`

// cannedStory tells cannedTrace.
func cannedStory() []steps.Record {
	step := func(kind steps.Kind, inside bool, calls ...string) steps.Record {
		return steps.Record{State: steps.Done, Step: steps.Step{Kind: kind, Inside: inside, Call: calls}}
	}
	story := []steps.Record{
		step("monitor", false, "clone(CLONE_VM|CLONE_VFORK|SIGCHLD)", "setsid()", `execve("/proc/self/exe", ["minidock: monitor x", "monitor", "/r"], …)`),
		step("mount", false),
		step("process", false, "clone(CLONE_VM|CLONE_VFORK|SIGCHLD)", `execve("/proc/self/fd/FD", …)`),
		step("cgroup", false, `mkdirat(AT_FDCWD, "/sys/fs/cgroup/x", 0755)`),
		step("join", false, `write("/sys/fs/cgroup/x/cgroup.procs", "PID")`),
		step("namespace", true, "clone(CLONE_PARENT|SIGCHLD)"),
		step("mount", true, `mount("proc", "/r/merged/proc", "proc", MS_NOSUID|MS_NODEV, NULL)`),
		step("device", true, `mknodat("/r/merged/dev", "tty", S_IFCHR|0666, makedev(0x5, 0))`),
		step("pivot_root", true, `pivot_root(".", ".")`),
		step("sysctl", true, `write("/proc/sys/kernel/x", "1\n")`),
		step("identity", true, "setuid(7)"),
		step("capability", true, "capset({…}, {effective=CAP_CHOWN|CAP_KILL, permitted=0, inheritable=0})"),
		step("rlimit", true, "prlimit64(0, RLIMIT_NOFILE, {rlim_cur=1024, rlim_max=65536}, NULL)"),
		step("exec", true, `execve("/bin/true", ["true"], …)`),
	}
	story[1].State, story[1].Target = steps.Undone, "/r/merged"
	story[3].State, story[3].Target = steps.Undone, "/i/x"
	for i := range story {
		story[i].N = i + 1
	}
	return story
}

func cannedActs(t *testing.T) []act {
	t.Helper()
	calls, err := strace.Parse(cannedTrace)
	if err != nil {
		t.Fatal(err)
	}
	return relevant(follow(calls), cannedExempt())
}

// cannedExempt is what the canned run does besides.
func cannedExempt() []exemption {
	return []exemption{{"", func(a act) bool {
		return a.name == "clone" && strings.Contains(a.args[0], "CLONE_THREAD") || a.name == "fsopen" || a.name == "fsmount" || a.is("execve", `"/usr/bin/minidock"`)
	}}}
}

func TestTracedCallsAreAttributedAndTheirDescriptorsFollowed(t *testing.T) {
	var got []string
	calls, err := strace.Parse(cannedTrace)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range follow(calls) {
		if watched(a) && a.name != "execve" && a.name != "clone" && a.failed == "" {
			got = append(got, a.String())
		}
	}
	want := []string{
		`command: setsid()`,
		`monitor: mkdirat("/sys/fs/cgroup/x", 0755)`,
		`monitor: write("/sys/fs/cgroup/x/cgroup.procs", "103")`,
		`init: mount("proc", "/r/merged/proc", "proc", MS_NODEV|MS_NOSUID, NULL)`,
		`init: mknodat("/r/merged/dev/tty", S_IFCHR|0666, makedev(0x5, 0))`,
		`init: pivot_root(".", ".")`,
		`init: fsopen("proc", FSOPEN_CLOEXEC)`,
		`init: fsmount(3<anon_inode:[fscontext]>, FSMOUNT_CLOEXEC, 0)`,
		`init: write("/proc/sys/kernel/x", "1\n")`,
		`init: setuid(7)`,
		`init: setuid(7)`,
		`init: capset({version=3, pid=0}, {effective=1<<CAP_KILL|1<<CAP_CHOWN, permitted=0, inheritable=0})`,
		`init: prlimit64(0, RLIMIT_NOFILE, {rlim_cur=1024, rlim_max=64*1024}, NULL)`,
		`program: mount("none", "/x", "tmpfs", 0, NULL)`,
		`monitor: umount2("/r/merged", MNT_DETACH)`,
		`monitor: unlinkat("/sys/fs/cgroup/i/x", AT_REMOVEDIR)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
}

func TestTrueStoryIsBelieved(t *testing.T) {
	if complaints := judge(cannedStory(), cannedActs(t)); len(complaints) > 0 {
		t.Errorf("%q", complaints)
	}
}

func TestMissingStepIsMissed(t *testing.T) {
	acts := cannedActs(t)
	for i, r := range cannedStory() {
		story := slices.Delete(cannedStory(), i, i+1)
		if complaints := judge(story, acts); len(complaints) == 0 || !strings.HasPrefix(complaints[len(complaints)-1], "not told: ") {
			t.Errorf("without step %d (%s): %q", r.N, r.Kind, complaints)
		}
	}
}

func TestMadeUpStepIsNoticed(t *testing.T) {
	for _, call := range []string{
		`mount("none", "/x", "tmpfs", 0, NULL)`, // Done, but by the program.
		`mkdirat(AT_FDCWD, "/refused", 0755)`,   // Tried, but refused.
		`pivot_root(".", ".")`,                  // Done, but not twice.
		`capset({…}, {effective=CAP_CHOWN, permitted=0, inheritable=0})`,
		`mount("proc", "/r/merged/proc", "proc", MS_NOSUID, NULL)`,
		`write("/sys/kernel/x", "1\n")`,
		`execve("/bin/true", ["false"], …)`,
		`setgid(7)`,
	} {
		story := append(cannedStory(), steps.Record{N: 99, Step: steps.Step{Kind: "lie", Call: []string{call}}})
		complaints := judge(story, cannedActs(t))
		if !slices.ContainsFunc(complaints, func(c string) bool { return strings.HasPrefix(c, "not done: step 99") }) {
			t.Errorf("%s is believed: %q", call, complaints)
		}
	}
}

func TestFailedStepHasFailed(t *testing.T) {
	for call, made := range map[string]bool{
		`mkdirat(AT_FDCWD, "/refused", 0755)`: true,
		`mkdirat(AT_FDCWD, "/other", 0755)`:   false,
	} {
		failed := steps.Record{N: 99, State: steps.Failed, Step: steps.Step{Kind: "directory", Call: []string{call, `setgid(7)`}}}
		if complaints := judge(slices.Insert(cannedStory(), 10, failed), cannedActs(t)); (len(complaints) == 0) != made {
			t.Errorf("%s: %q", call, complaints)
		}
	}
}

func TestStepOutOfTurnIsNoticed(t *testing.T) {
	story := cannedStory()
	story[8], story[10] = story[10], story[8]
	complaints := judge(story, cannedActs(t))
	if !slices.ContainsFunc(complaints, func(c string) bool { return strings.HasPrefix(c, "out of turn: step 9 (pivot_root") }) {
		t.Errorf("identity before pivot_root is believed: %q", complaints)
	}
}

func TestWhatIsSaidToBeTakenBackHasToBe(t *testing.T) {
	for _, r := range []steps.Step{
		{Kind: images.KindMount, Target: "/other"},
		{Kind: "fifo", Target: "/r/merged"},
		{Kind: "fifo", Target: "/gon"},
		{Kind: cgroups.KindGroup, Target: "/y"},
	} {
		story := append(cannedStory(), steps.Record{N: 99, State: steps.Undone, Step: r})
		complaints := judge(story, cannedActs(t))
		if len(complaints) != 1 || !strings.HasPrefix(complaints[0], "not taken back: step 99") {
			t.Errorf("%s %s is believed to be taken back: %q", r.Kind, r.Target, complaints)
		}
	}
	story := append(cannedStory(), steps.Record{N: 99, State: steps.Undone, Step: steps.Step{Kind: "fifo", Target: "/gone"}})
	if complaints := judge(story, cannedActs(t)); len(complaints) > 0 {
		t.Errorf("%q", complaints)
	}
}

func TestUntoldUndoingIsNoticed(t *testing.T) {
	story := cannedStory()
	story[1].State = steps.Done
	complaints := judge(story, cannedActs(t))
	if len(complaints) != 1 || !strings.HasPrefix(complaints[0], "not told: ") || !strings.Contains(complaints[0], "umount2") {
		t.Errorf("%q", complaints)
	}
}

func TestCommandsOfAShellAreToldApart(t *testing.T) {
	calls, err := strace.Parse(`1 execve("/bin/sh", ["sh"], 0x1 /* 0 vars */) = 0
1 clone(child_stack=NULL, flags=SIGCHLD) = 2
2 execve("/m/minidock", ["/m/minidock", "run"], 0x1 /* 0 vars */) = 0
2 clone(child_stack=NULL, flags=SIGCHLD) = 3
3 execve("/proc/self/exe", ["minidock: monitor x", "monitor", "/r"], 0x1 /* 0 vars */) = 0
3 clone(child_stack=NULL, flags=SIGCHLD) = 4
1 clone(child_stack=NULL, flags=SIGCHLD) = 5
5 execve("/m/minidock", ["/m/minidock", "stop"], 0x1 /* 0 vars */) = 0
4 execve("/proc/self/fd/6", ["minidock: monitor x", "init"], 0x1 /* 0 vars */) = 0
4 execve("/bin/true", ["true"], 0x1 /* 0 vars */) = 0
3 umount2("/x", 0) = 0
5 mkdirat(AT_FDCWD, "/y", 0700) = 0
9 mkdirat(AT_FDCWD, "/z", 0700) = 0
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range follow(calls) {
		if a.name != "clone" && a.role != asShell {
			got = append(got, fmt.Sprintf("%d %s %s", a.command, a.role, a.name))
		}
	}
	want := []string{
		"1 command execve", "1 monitor execve", "2 command execve", "1 init execve", "1 init execve", "2 monitor umount2", "2 command mkdirat", "0 unknown mkdirat",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("acts (-want +got):\n%s", diff)
	}
}

// A number is another file's until the call that returns it has ended, and again when
// it has been closed.
func TestNumbersMeanTheFileOfTheirMoment(t *testing.T) {
	calls, err := strace.Parse(`1 execve("/bin/sh", ["sh"], 0x1 /* 0 vars */) = 0
1 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[2]}, 88) = 2
1 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[3]}, 88) = 3
1 openat(AT_FDCWD, "/second", O_PATH <unfinished ...>
2 write(9</first>, "1", 1) = 1
2 mount("/proc/self/fd/9", "/a", NULL, MS_BIND, NULL) = 0
2 close(9</first>) = 0
1 <... openat resumed>) = 9</second>
3 openat(AT_FDCWD, "/third", O_PATH <unfinished ...>
1 mount("/proc/self/fd/9", "/b", NULL, MS_BIND, NULL) = 0
1 close(9</second>) = 0
3 <... openat resumed>) = 9</third>
3 mount("/proc/self/fd/9", "/c", NULL, MS_BIND, NULL) = 0
`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range follow(calls) {
		if a.name == "mount" {
			got = append(got, a.args[0]+" "+a.args[1])
		}
	}
	if want := []string{`"/first" "/a"`, `"/second" "/b"`, `"/third" "/c"`}; !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

func TestInsideStepIsNotDoneByAnother(t *testing.T) {
	story := cannedStory()
	story[4].Inside = true
	if complaints := judge(story, cannedActs(t)); len(complaints) == 0 {
		t.Error("init is believed to have done what the monitor did")
	}
}

func TestToldCallForEachStandsForSeveral(t *testing.T) {
	calls := eachCall("prctl(PR_CAPBSET_DROP, cap) for cap in CAP_A CAP_B")
	if want := []string{"prctl(PR_CAPBSET_DROP, CAP_A)", "prctl(PR_CAPBSET_DROP, CAP_B)"}; !slices.Equal(calls, want) {
		t.Errorf("%q", calls)
	}
}

// cannedNetwork is a thread of a monitor that makes a network namespace, and in it
// brings eth0 up, which an answer has called link 2; and one that takes a cable away.
const cannedNetwork = `101 execve("/proc/self/exe", ["minidock: monitor x", "monitor", "/r"], 0x1 /* 1 var */) = 0
101 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[102]}, 88) = 102
102 unshare(CLONE_NEWNET)           = 0
102 mount("/proc/thread-self/ns/net", "/r/netns/x", 0xc000, MS_BIND, NULL) = 0
102 socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 3<socket:[9]>
102 recvfrom(3<socket:[9]>, [{nlmsg_len=44, nlmsg_type=0x10, nlmsg_flags=0, nlmsg_seq=1, nlmsg_pid=101}, "\x00\x00\x01\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x03\x00eth0\x00\x00\x00\x00"], 65536, 0, NULL, NULL) = 44
102 sendto(3<socket:[9]>, [{nlmsg_len=32, nlmsg_type=0x10, nlmsg_flags=0, nlmsg_seq=2, nlmsg_pid=0}, "\x00\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00"], 32, 0, NULL, 0) = 32
102 sendto(3<socket:[9]>, [{nlmsg_len=32, nlmsg_type=0x11, nlmsg_flags=0, nlmsg_seq=3, nlmsg_pid=0}, "\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"], 32, 0, NULL, 0) = 32
102 recvfrom(3<socket:[9]>, [{nlmsg_len=52, nlmsg_type=NLMSG_ERROR, nlmsg_flags=0, nlmsg_seq=3, nlmsg_pid=101}, {error=-ENODEV, msg=[{nlmsg_len=32, nlmsg_type=0x11, nlmsg_flags=0, nlmsg_seq=3, nlmsg_pid=0}, "\x00"]}], 65536, 0, NULL, NULL) = 52
102 write(8</proc/sys/net/ipv4/ip_forward>, "0", 1) = 1
101 socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 3<socket:[10]>
101 sendto(3<socket:[10]>, [{nlmsg_len=40, nlmsg_type=0x11, nlmsg_flags=0, nlmsg_seq=4, nlmsg_pid=0}, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x00\x03\x00v1\x00\x00"], 40, 0, NULL, 0) = 40
`

// cannedNetworkStory tells cannedNetwork.
func cannedNetworkStory() []steps.Record {
	step := func(kind steps.Kind, shell string, calls ...string) steps.Record {
		return steps.Record{State: steps.Done, Step: steps.Step{Kind: kind, Call: calls, Shell: []string{shell}}}
	}
	story := []steps.Record{
		step("monitor", "", `execve("/proc/self/exe", ["minidock: monitor x", "monitor", "/r"], …)`),
		step("netns", "unshare --net=/r/netns/x true", "unshare(CLONE_NEWNET)", `mount("/proc/thread-self/ns/net", "/r/netns/x", NULL, MS_BIND, NULL)`),
		step("link-up", "nsenter --net=/r/netns/x ip link set eth0 up", `sendto(netlink, RTM_NEWLINK {IFF_UP, ifi_index=if_nametoindex("eth0")})`),
		step("sysctl", "nsenter --net=/r/netns/x sysctl -w net.ipv4.ip_forward=0", `write("/proc/sys/net/ipv4/ip_forward", "0")`),
		step("veth", ""),
	}
	story[4].State, story[4].Target = steps.Undone, "v1 -> br0 192.0.2.0/24 of minidock"
	for i := range story {
		story[i].N = i + 1
	}
	return story
}

func cannedNetworkActs(t *testing.T) []act {
	t.Helper()
	calls, err := strace.Parse(cannedNetwork)
	if err != nil {
		t.Fatal(err)
	}
	// The monitor has a parent, which would have made it so.
	begun := strace.Call{Line: 0, Thread: 100, Name: "execve", Args: []string{`"/usr/bin/minidock"`, `["minidock", "run"]`}, Result: "0"}
	cloned := strace.Call{Line: 0, Thread: 100, Name: "clone", Args: []string{"flags=CLONE_VFORK"}, Result: "101"}
	return relevant(follow(append([]strace.Call{begun, cloned}, calls...)), append(cannedExempt(), exemption{"", func(a act) bool { return a.line == 0 }}))
}

func TestTrueStoryOfANetworkIsBelieved(t *testing.T) {
	if complaints := judge(cannedNetworkStory(), cannedNetworkActs(t)); len(complaints) > 0 {
		t.Errorf("%q", complaints)
	}
}

// Networks are connected while libcontainer does what was told before; nothing else is.
func TestOnlyNetworksAreConnectedMeanwhile(t *testing.T) {
	acts := cannedNetworkActs(t)
	for kind, believed := range map[steps.Kind]bool{netns.KindUp: true, "limit": false} {
		story := cannedNetworkStory()
		story[2].Kind, story[3].Together = kind, true
		story[2], story[3] = story[3], story[2]
		if complaints := judge(story, acts); (len(complaints) == 0) != believed {
			t.Errorf("%s after what comes later: %q", kind, complaints)
		}
	}
}

func TestWhatIsMissingOfANetworkIsMissed(t *testing.T) {
	for i, r := range cannedNetworkStory() {
		if complaints := judge(slices.Delete(cannedNetworkStory(), i, i+1), cannedNetworkActs(t)); len(complaints) == 0 {
			t.Errorf("nobody misses step %d (%s)", r.N, r.Kind)
		}
	}
}

func TestMadeUpMessagesAreNoticed(t *testing.T) {
	for why, lie := range map[string]func(story []steps.Record){
		"not done":     func(story []steps.Record) { story[4].Call = []string{"sendto(netlink, RTM_NEWLINK {IFF_UP})"} },
		"refused":      func(story []steps.Record) { story[4].Call = []string{"sendto(netlink, RTM_DELLINK {ifi_index=5})"} },
		"another link": func(story []steps.Record) { story[2].Call[0] = strings.Replace(story[2].Call[0], "eth0", "eth1", 1) },
		"too little":   func(story []steps.Record) { story[2].Call[0] = "sendto(netlink, RTM_NEWLINK {IFF_UP})" },
		"too much": func(story []steps.Record) {
			story[2].Call[0] = strings.Replace(story[2].Call[0], "IFF_UP", "IFF_UP, IFLA_MTU=1400", 1)
		},
		"another network":  func(story []steps.Record) { story[2].Shell[0] = "ip link set eth0 up" },
		"setting of hosts": func(story []steps.Record) { story[3].Shell[0] = "sysctl -w net.ipv4.ip_forward=0" },
		"another cable":    func(story []steps.Record) { story[4].Target = "v2 -> br0 192.0.2.0/24 of minidock" },
		"not of the host":  func(story []steps.Record) { story[4].Kind, story[4].Target = "forwarding", "minidock" },
	} {
		story := cannedNetworkStory()
		lie(story)
		if complaints := judge(story, cannedNetworkActs(t)); len(complaints) == 0 {
			t.Errorf("%s: believed", why)
		}
	}
}
