package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// tracedRun is one `minidock run` whose story is held against the kernel's log.
type tracedRun struct {
	name  string
	flags []string
	stdin string
	// limited runs need cgroup v2.
	limited bool
}

// tracedRuns use every flag of run between them.
func tracedRuns(dir string) []tracedRun {
	return []tracedRun{
		{name: "plain", flags: []string{"--hostname", "box", "--workdir", "/made/on/the/way", "-e", "A=1", "--env-file", dir + "/env", "--label", "l=1", "--log-driver", "json-file", "--log-opt", "max-size=10m"}},
		{name: "somebody", flags: []string{
			"-i", "--user", "app", "--entrypoint", "/probe", "--ulimit", "nofile=1024:2048", "--ulimit", "core=-1",
			"--cap-add", "NET_ADMIN", "--cap-drop", "CHOWN", "--security-opt", "seccomp=" + dir + "/profile.json",
		}, stdin: "said\n"},
		{name: "walled", flags: []string{"--read-only", "--init", "--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--user", "7:8"}},
		{name: "open", flags: []string{"--privileged"}},
		{name: "fleeting", flags: []string{"--rm", "--explain", "--security-opt", "seccomp=unconfined", "--cap-add", "ALL"}},
		{name: "named", flags: []string{
			"--dns", "192.0.2.53", "--dns-search", "example.org", "--dns-option", "ndots:2", "--domainname", "example.org", "--add-host", "db:192.0.2.1", "--add-host", "gw:host-gateway",
			"--mac-address", "02:00:00:00:00:09", "--publish", "8080:80", "-p", "127.0.0.1:5300-5301:53-54/udp", "--expose", "99/udp", "--publish-all",
		}},
		{name: "hosted", flags: []string{"--network", "host", "--dns", "192.0.2.53"}},
		{name: "alone", flags: []string{"--network", "none"}},
		{name: "limited", limited: true, flags: []string{
			"--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "-m", "64m", "--memory-swap", "96m",
			"--memory-reservation", "32m", "--memory-high", "48m", "--pids-limit", "50",
		}},
		{name: "unlimited", limited: true, flags: []string{"--cpu-period", "50000", "--cpu-quota", "25000", "-m", "64m", "--memory-swap", "-1", "--pids-limit", "-1"}},
	}
}

// told is a run that has been traced: its story, and what the kernel saw of it.
type told struct {
	story []steps.Record
	acts  []act
}

func TestToldStoryIsTrue(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay, require.Seccomp, require.Strace)
	w := newWorld(t)
	dir := t.TempDir()
	w.importTraced(dir)
	var stories [][]steps.Record
	for _, r := range tracedRuns(dir) {
		t.Run(r.name, func(t *testing.T) {
			if r.limited {
				require.Needs(t, require.CgroupV2)
			}
			if slices.Contains([]string{"plain", "somebody", "walled", "open", "fleeting", "named", "hosted", "alone"}, r.name) {
				require.Layers(t, "nothing in it depends on cgroup v2, and strace makes an emulated machine slow", "native")
			}
			if !slices.Contains(r.flags, "--explain") {
				w.needDefaultNetwork()
			}
			got := w.trace(t, dir, r)
			stories = append(stories, got.story)
			for _, complaint := range judge(got.story, got.acts) {
				t.Error(complaint)
			}
			if !t.Failed() {
				seesLies(t, got)
			}
		})
	}
	if err := unreadable(stories...); err != nil {
		t.Error(err)
	}
}

// needDefaultNetwork makes the network that is made with the first container: it has
// a story of its own, which only who makes it is told.
func (w *world) needDefaultNetwork() {
	w.t.Helper()
	w.must("rm", strings.TrimSpace(w.must("create", "traced", "true")))
}

// Whoever adds a flag adds it to a run, or the story of that flag is not tested.
func TestEveryFlagIsInATracedRun(t *testing.T) {
	used := map[string]bool{}
	for _, r := range tracedRuns("") {
		markFlags(used, r.flags)
	}
	for _, life := range tracedLives("") {
		for _, v := range life.verbs {
			if v.verb == "run" {
				markFlags(used, v.args)
			}
		}
	}
	for _, f := range runFlags() {
		if !slices.ContainsFunc(f.Names(), func(name string) bool { return used[name] }) {
			t.Errorf("no traced run uses --%s", f.Names()[0])
		}
	}
}

// seesLies makes a true story false, in every way, and wants to be told so.
func seesLies(t *testing.T, true told) {
	t.Helper()
	for i, r := range true.story {
		without := slices.Delete(slices.Clone(true.story), i, i+1)
		if len(judge(without, true.acts)) == 0 && needsTelling(r, true.acts) {
			t.Errorf("nobody misses step %d (%s %s)", r.N, r.Kind, r.Target)
		}
	}
	for kind, target := range map[steps.Kind]string{
		images.KindMount: "/nowhere", netns.KindNamespace: "/nowhere", netns.KindVeth: "vnowhere.0 -> nowhere 192.0.2.0/24 of nobody",
		netns.KindRules: "nowhere 192.0.2.0/24 of nobody", netns.KindPublished: "nobody published tcp . 1 : 192.0.2.1 . 1", netns.KindResident: "/nowhere/1.json",
	} {
		taken := append(slices.Clone(true.story), steps.Record{State: steps.Undone, Step: steps.Step{Kind: kind, Target: target}})
		if len(judge(taken, true.acts)) == 0 {
			t.Errorf("nobody minds that a %s is said to be taken back that never was", kind)
		}
	}
	for _, call := range []string{
		`mount("none", "/nowhere", "tmpfs", 0, NULL)`, `setuid(12345)`, `write("/proc/sys/kernel/panic", "1")`,
		`sendto(netlink, RTM_NEWLINK {IFLA_IFNAME="nowhere", IFF_UP})`, `sendto(netlink, RTM_NEWLINK {…})`,
		`sendmsg(netlink, [NFNL_MSG_BATCH_BEGIN, NFT_MSG_NEWTABLE ip "nowhere", NFNL_MSG_BATCH_END])`, `setns("/nowhere", CLONE_NEWNET)`,
	} {
		lie := append(slices.Clone(true.story), steps.Record{Step: steps.Step{Kind: "lie", Call: []string{call}}})
		if len(judge(lie, true.acts)) == 0 {
			t.Errorf("nobody minds a made-up %s", call)
		}
	}
	seesTwistedMessages(t, true)
}

// seesTwistedMessages leaves out one thing of each message that is told to be sent
// over netlink, and then tells of it as done in another network.
func seesTwistedMessages(t *testing.T, true told) {
	t.Helper()
	for i, r := range true.story {
		twist := func(what string, change func(*steps.Record)) {
			lie := slices.Clone(true.story)
			lie[i].Call, lie[i].Shell = slices.Clone(r.Call), slices.Clone(r.Shell)
			change(&lie[i])
			if len(judge(lie, true.acts)) == 0 {
				t.Errorf("nobody minds that step %d (%s %s) is told %s", r.N, r.Kind, r.Target, what)
			}
		}
		for j, call := range r.Call {
			_, message, sent := strings.Cut(call, "(netlink, ")
			if !sent {
				continue
			}
			last, end := strings.LastIndex(call, ", "), len(strings.TrimRight(call, "})]"))
			twist("without the end of "+message, func(lie *steps.Record) { lie.Call[j] = call[:last] + call[end:] })
			if !r.Inside {
				twist("of another network", func(lie *steps.Record) { lie.Shell = append([]string{"nsenter --net=/nowhere true"}, lie.Shell...) })
			}
		}
	}
}

// needsTelling says whether one of the step's calls is watched for.
func needsTelling(r steps.Record, acts []act) bool {
	calls, _ := toldCalls([]steps.Record{r})
	return slices.ContainsFunc(acts, func(a act) bool {
		return watched(a) && slices.ContainsFunc(calls, func(c toldCall) bool { return c.means(a) })
	})
}

// importTraced makes an image of the test program, with users to become and
// mount points of every sort: one that is there, one that a link leads to, and
// the rest missing.
func (w *world) importTraced(dir string) {
	w.t.Helper()
	program, err := os.ReadFile(w.probe)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, text := range map[string]string{
		"root/usr/bin/probe": string(program), "root/etc/passwd": "app:x:1000:1000::/:/probe\n", "root/etc/group": "app:x:1000:\nstaff:x:50:app\n",
		"root/run/net/.keep": "", "root/dev/.keep": "",
		"env": "B=2\n", "profile.json": `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]}`,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"root/etc/resolv.conf": "/run/net/resolv.conf", "root/bin": "usr/bin", "root/probe": "bin/probe"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.must("image", "import", filepath.Join(dir, "root"), "traced")
}

// quiet calls are of no interest here and are most of what a Go program makes.
const quiet = "!futex,nanosleep,epoll_pwait,epoll_ctl,rt_sigaction,rt_sigprocmask,rt_sigreturn,sigaltstack,mmap,munmap,mprotect,madvise,brk," +
	"newfstatat,fstat,statx,statfs,fstatfs,getdents64,read,pread64,readlinkat,gettid,getpid,tgkill,sched_yield,rseq,set_robust_list,sched_setaffinity,sched_getaffinity"

// traceDeadline is generous: an emulated machine takes half a minute.
const traceDeadline = 4 * time.Minute

// stracing is how a command is to be traced.
type stracing struct {
	log   string
	stdin string
	// terminal is for a terminal as standard input.
	terminal bool
}

// strace runs a command, and returns what it said on stderr, and what it and
// everyone that it started did.
func (w *world) strace(t *testing.T, s stracing, command ...string) (said string, acts []act) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), traceDeadline)
	defer cancel()
	// The longest string is an overlay mount's page of options.
	args := []string{"-f", "-y", "--decode-pids=pidns", "-s", "4096", "-e", "signal=none", "-e", "trace=" + quiet, "-o", s.log}
	// A network of their own keeps the commands off the machine's. strace, outside
	// of it, does not know what is sent in there, and so shows all of it as bytes.
	args = append(args, "unshare", "--net", "sh", "-c", `ip link set lo up && exec "$@"`, "sh")
	cmd := exec.CommandContext(ctx, "strace", append(args, command...)...)
	cmd.Env = append(os.Environ(), "MINIDOCK_ROOT="+w.layout.Root)
	cmd.Stdin = strings.NewReader(s.stdin)
	if s.terminal {
		cmd.Stdin = screenTerminal(t)
	}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &errOut)
	}
	text, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := strace.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return errOut.String(), follow(calls)
}

// screenTerminal returns one end of a new pseudo-terminal of 24 lines and 80
// columns (pty(7)); nobody types at the other.
func screenTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := errors.Join(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0), unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})); err != nil {
		t.Fatal(err)
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	terminal := os.NewFile(peer, "terminal")
	t.Cleanup(func() { terminal.Close() })
	return terminal
}

// trace runs a container under strace.
func (w *world) trace(t *testing.T, dir string, r tracedRun) told {
	t.Helper()
	said, acts := w.strace(t, stracing{log: filepath.Join(dir, r.name+".strace"), stdin: r.stdin},
		slices.Concat([]string{w.minidock, "run", "--name", r.name}, r.flags, []string{"traced"}, r.command())...)
	return told{w.story(t, r, said), relevant(acts, exemptions(w.layout))}
}

// command is what the container runs: with another entrypoint, its arguments.
func (r tracedRun) command() []string {
	if slices.Contains(r.flags, "--entrypoint") {
		return []string{"cat"}
	}
	return []string{"probe", "exit", "0"}
}

// story asks for a container's story, or reads the one that was told while it ran
// where the container is gone.
func (w *world) story(t *testing.T, r tracedRun, said string) []steps.Record {
	t.Helper()
	if slices.Contains(r.flags, "--rm") {
		return readStory(t, said)
	}
	var records []steps.Record
	if err := json.Unmarshal([]byte(w.must("explain", "--format", "json", r.name)), &records); err != nil {
		t.Fatal(err)
	}
	return records
}
