package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/internal/require"
)

// typedLines are lines with a tab, and the arguments that minidock then gets. What can't
// be completed stays as it is.
func typedLines() map[string]string {
	return map[string]string{
		"container insp\t":                  "<container><inspect>",
		"rm jo\t":                           "<rm><job>",
		"rm we\t":                           "<rm><we>",
		"rm -f we\t":                        "<rm><-f><web>",
		"run --rm team/\t ls":               "<run><--rm><team/app:1.0><ls>",
		"run --rm team/app:1\t ls":          "<run><--rm><team/app:1.0><ls>",
		"run --memory-r\t 1m":               "<run><--memory-reservation><1m>",
		"run --cap-add=SYS_TI\t x":          "<run><--cap-add=SYS_TIME><x>",
		"run -e 'A=b c' --cap-add SYS_TI\t": "<run><-e><A=b c><--cap-add><SYS_TIME>",
		"ps --filter stat\trunning":         "<ps><--filter><status=running>",
		"ps --filter na\tweb":               "<ps><--filter><name=web>",
		"image import tre\t":                "<image><import><tree.tar>",
	}
}

// standIn shows what minidock would get, in bash and zsh.
const standIn = `minidock() { if [ "$1" = __complete ]; then command minidock "$@"; else printf '<%s>' "$@"; echo; fi; }` + "\n"

func TestBashCompletes(t *testing.T) {
	require.Layers(t, "asks a shell, and nothing of the kernel", "native")
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	completionWorld(t)
	s := startShell(t, "bash", "--norc", "--noprofile", "-i")
	s.types("bind 'set bell-style none'; source <(minidock completion bash)\n" + standIn)
	s.asks(typedLines())
}

func TestZshCompletes(t *testing.T) {
	require.Layers(t, "asks a shell, and nothing of the kernel", "native")
	require.Needs(t, require.Root, require.Namespaces, require.Overlay, require.Zsh)
	completionWorld(t)
	s := startShell(t, "zsh", "-f", "-i")
	s.types("unsetopt beep; autoload -Uz compinit; compinit -u -D; source <(minidock completion zsh)\n" + standIn)
	s.asks(typedLines())
}

// Fish says by itself what it would suggest.
func TestFishCompletes(t *testing.T) {
	require.Layers(t, "asks a shell, and nothing of the kernel", "native")
	require.Needs(t, require.Root, require.Namespaces, require.Overlay, require.Fish)
	completionWorld(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tree.tar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"container insp":                  "inspect",
		"rm ":                             "job",
		"rm -f ":                          "job web",
		"run --rm team/":                  "team/app:1.0",
		"run --memory-r":                  "--memory-reservation",
		"run --cap-add=SYS_TI":            "--cap-add=SYS_TIME",
		"run -e 'A=b c' --cap-add SYS_TI": "SYS_TIME",
		"image import tre":                "tree.tar",
	} {
		cmd := exec.Command("fish", "--no-config", "-c", `minidock completion fish | source; complete -C $argv[1]`, "minidock "+line)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		var got []string
		for answer := range strings.Lines(string(out)) {
			got = append(got, strings.TrimSpace(strings.Split(answer, "\t")[0]))
		}
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("minidock %s: %q, %v; want %q", line, out, err, want)
		}
	}
}

// shell is a shell at a terminal of its own.
type shell struct {
	t        *testing.T
	terminal *os.File
	mu       sync.Mutex
	screen   bytes.Buffer
}

func startShell(t *testing.T, name string, args ...string) *shell {
	t.Helper()
	terminal, line := terminalPair(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tree.tar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "TERM=vt100", "PS1=$ ", "HISTFILE=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = line, line, line
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line.Close()
	s := &shell{t: t, terminal: terminal}
	read := make(chan struct{})
	go func() { defer close(read); s.read() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		terminal.Close()
		<-read
	})
	return s
}

// terminalPair makes a pair of terminals, pty(7).
func terminalPair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(ours.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200}); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

func (s *shell) read() {
	part := make([]byte, 4096)
	for {
		n, err := s.terminal.Read(part)
		s.mu.Lock()
		s.screen.Write(part[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *shell) types(text string) {
	s.t.Helper()
	if _, err := s.terminal.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// asks types each line and wants the stand-in to say what it got.
func (s *shell) asks(lines map[string]string) {
	s.t.Helper()
	s.types("minidock ready\n")
	s.shows("<ready>")
	for line, want := range lines {
		s.types("minidock " + line + "\n")
		s.shows(want)
	}
}

// shows waits until a line of output is this, and then clears the screen. What
// the shell writes while a line is edited is no such line.
func (s *shell) shows(want string) {
	s.t.Helper()
	pattern := regexp.MustCompile(`[\r\n]` + regexp.QuoteMeta(want) + `\r?\n`)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		text := s.screen.String()
		if pattern.MatchString(text) {
			s.screen.Reset()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if other := regexp.MustCompile(`[\r\n](<[^\n]*>)\r?\n`).FindStringSubmatch(text); other != nil {
			s.t.Fatalf("minidock got %s; want %s", other[1], want)
		}
	}
	s.t.Fatalf("no %s after %s in %q", want, patience, s.screen.String())
}
