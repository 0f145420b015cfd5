package netns

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/steps"
)

// tracedDir tells this binary, run once more, to do everything in the network
// namespace that it is in, and to print the calls that it tells.
const tracedDir = "NETNS_TRACED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(tracedDir); dir != "" {
		if err := tellEverything(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func tellEverything(dir string) error {
	ledger, err := steps.Open(steps.Paths{Boot: filepath.Join(dir, "boot.jsonl")}, func(r steps.Record) {
		if r.State == steps.Begun {
			fmt.Println(strings.Join(r.Call, "\n"))
		}
	})
	if err != nil {
		return err
	}
	w := &world{dir: dir, ledger: ledger, store: Open(Place{Instance: "minidock"})}
	if err := w.everything(); err != nil {
		return err
	}
	// An entry that was left behind is replaced in the same transaction.
	err = w.store.Publish(ledger, Publication{Proto: "tcp", Host: 8080, Address: netip.MustParseAddr("172.18.0.9"), Container: 80})
	if err != nil {
		return err
	}
	sockets, err := ListenDNS(ledger, filepath.Join(dir, "netns", "0"))
	if err != nil {
		return err
	}
	defer sockets.Close()
	_, err = w.store.ReservePort(ledger, netip.IPv4Unspecified(), "udp", 8080)
	return err
}

// The calls that are told are those that are made, all of them, in their order. strace
// stays outside of the network namespace, and so shows all of netlink as bytes.
func TestToldCallsAreMade(t *testing.T) {
	needsHosts(t)
	require.Needs(t, require.Strace)
	dir := t.TempDir()
	t.Cleanup(func() {
		for _, name := range []string{"0", "1"} {
			if err := undoNamespace(filepath.Join(dir, "netns", name)); err != nil {
				t.Error(err)
			}
		}
	})
	log := filepath.Join(dir, "log")
	cmd := exec.Command("strace", "-f", "-y", "-s", "65536", "-o", log, "-e", "signal=none",
		"-e", "trace=execve,clone,clone3,socket,recvfrom,recvmsg,sendto,sendmsg,unshare,setns,mount,write,bind,listen,mkdirat,openat",
		"unshare", "--net", "sh", "-c", `ip link set lo up; sysctl -qw net.ipv4.ip_forward=0; exec "$@"`, "sh", os.Args[0])
	cmd.Env = append(os.Environ(), tracedDir+"="+dir)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	said, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	told, made := toldActs(t, string(said)), madeActs(t, dir, string(text))
	for i := range max(len(told), len(made)) {
		if i >= len(told) || i >= len(made) || !told[i].means(made[i]) {
			t.Fatalf("call %d is not as told:\ntold %s\nmade %s", i+1, strings.Join(texts(told[i:]), "\n     "), strings.Join(texts(made[i:]), "\n     "))
		}
	}
	if len(told) < 40 || !strings.Contains(strings.Join(texts(told), "\n"), "[NFNL_MSG_BATCH_BEGIN, NFT_MSG_DELSETELEM") {
		t.Errorf("too little was compared: %q", texts(told))
	}
}

// act is a call as it is compared.
type act struct {
	name string
	args []string
}

func (a act) String() string { return a.name + "(" + strings.Join(a.args, ", ") + ")" }

func texts(acts []act) []string {
	var all []string
	for _, a := range acts {
		all = append(all, a.String())
	}
	return all
}

// means says whether a told act is the one that was made.
func (a act) means(made act) bool {
	return a.name == made.name && slices.EqualFunc(a.args, made.args, strace.Alike)
}

func toldActs(t *testing.T, text string) []act {
	t.Helper()
	var acts []act
	for line := range strings.Lines(text) {
		name, args, _, err := strace.SplitCall(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		if args[0] == "netlink" {
			if args[1], err = strace.ToldMessages(args[1]); err != nil {
				t.Fatal(err)
			}
		}
		if name != "socket" { // Those of netlink are not told.
			acts = append(acts, act{name, args})
		}
	}
	return acts
}

// madeActs are what this binary did, after those who started it.
func madeActs(t *testing.T, dir, text string) []act {
	t.Helper()
	calls, err := strace.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	started := slices.IndexFunc(calls, func(c strace.Call) bool { return c.Name == "execve" && c.Args[0] == strconv.Quote(os.Args[0]) })
	m := &made{dir: dir, networks: strace.NewNetworks(), files: map[string]string{}}
	for _, c := range calls[started+1:] {
		if c.Errno == "" {
			m.note(c)
		}
	}
	return m.acts
}

// made follows the log.
type made struct {
	dir      string
	networks *strace.Networks
	files    map[string]string // by descriptor
	acts     []act
}

func (m *made) note(c strace.Call) {
	if child, err := strconv.Atoi(c.Result); err == nil && strings.HasPrefix(c.Name, "clone") {
		m.networks.Born(c.Thread, child)
	}
	if c.Path != "" {
		m.files[c.Result] = c.Path
	}
	if a, changes := m.act(c); changes {
		m.acts = append(m.acts, a)
	}
	m.networks.Note(c, path)
}

// path is the file that an argument means.
func path(arg string) string {
	if text, ok := strace.Literal(arg); ok {
		return text
	}
	_, shown := strace.Descriptor(arg)
	return shown
}

// act writes a call as steps tell it, if they do.
func (m *made) act(c strace.Call) (a act, changes bool) {
	a = act{c.Name, slices.Clone(c.Args)}
	switch c.Name {
	case "sendto", "sendmsg":
		a.args = m.networks.Sent(c, len(m.acts), func(number int) string { return m.files[strconv.Itoa(number)] })
		return a, !strace.Asks(a.args[1])
	case "setns":
		a.args[0] = strconv.Quote(path(a.args[0]))
	case "write":
		a.args = []string{strconv.Quote(path(a.args[0])), a.args[1]}
		return a, strings.HasPrefix(a.args[0], `"/proc/sys/`)
	case "bind":
		a.args[0] = "FD"
		return a, strings.Contains(a.args[1], "AF_INET,") // Go tries by itself what it can do with AF_INET6.
	case "listen":
		a.args[0] = "FD"
	case "openat", "mkdirat":
		a.args[0], _ = strace.Descriptor(a.args[0])
		return a, strings.Contains(a.args[1], m.dir+"/netns") && (c.Name == "mkdirat" || strings.Contains(a.args[2], "O_CREAT"))
	case "mount":
		a.args[2], a.args[4] = "NULL", "NULL" // Strings that the kernel does not look at.
	case "unshare":
	default:
		return a, false
	}
	return a, true
}
