package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// running is a command that a script has started.
type running struct {
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	out, err transcript
	ended    chan struct{}
}

// transcript collects what a command writes while it runs.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME COMMAND [ARG…]")
	}
	r := &running{cmd: command(ts, args[1:]), ended: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	var err error
	r.stdin, err = r.cmd.StdinPipe()
	ts.Check(err)
	ts.Check(r.cmd.Start())
	worldOf(ts).running[args[0]] = r
	go func() {
		_ = r.cmd.Wait() // Its status is in ProcessState.
		close(r.ended)
	}()
}

func (r *running) stop() {
	select {
	case <-r.ended:
	default:
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
}

func job(ts *testscript.TestScript, neg bool, args []string, least int) *running {
	if neg || len(args) < least {
		ts.Fatalf("this command takes %d arguments, and can't be negated", least)
	}
	r := worldOf(ts).running[args[0]]
	if r == nil {
		ts.Fatalf("%s was not started", args[0])
	}
	return r
}

func says(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 2)
	pattern := compile(ts, args[1])
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if pattern.MatchString(r.out.String()) || pattern.MatchString(r.err.String()) {
			return
		}
		select {
		case <-r.ended:
			// All output has been copied when Wait returns: one last look.
			if pattern.MatchString(r.out.String()) || pattern.MatchString(r.err.String()) {
				return
			}
			ts.Fatalf("%s ended (%v) without saying %#q\n%s%s", args[0], r.cmd.ProcessState, args[1], &r.out, &r.err)
		default:
		}
	}
	ts.Fatalf("%s did not say %#q in %s\n%s%s", args[0], args[1], patience, &r.out, &r.err)
}

func send(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 1)
	if len(args) == 1 {
		ts.Check(r.stdin.Close())
		return
	}
	_, err := io.WriteString(r.stdin, strings.Join(args[1:], " ")+"\n")
	ts.Check(err)
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 2)
	number := unix.SignalNum("SIG" + args[1])
	if number == 0 {
		ts.Fatalf("unknown signal %s", args[1])
	}
	ts.Check(r.cmd.Process.Signal(number))
}

func ends(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 2)
	awaitEnd(ts, args[0], r)
	fmt.Fprint(ts.Stdout(), r.out.String())
	fmt.Fprint(ts.Stderr(), r.err.String())
	if got := statusText(r.cmd.ProcessState); got != args[1] {
		ts.Fatalf("exit status %s, not %s\n%s%s", got, args[1], &r.out, &r.err)
	}
	delete(worldOf(ts).running, args[0])
}

func awaitEnd(ts *testscript.TestScript, name string, r *running) {
	select {
	case <-r.ended:
	case <-time.After(patience):
		ts.Fatalf("%s did not end in %s\n%s%s", name, patience, &r.out, &r.err)
	}
}

func compile(ts *testscript.TestScript, pattern string) *regexp.Regexp {
	compiled, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	return compiled
}

// lookUpJSON follows a path such as .[0].Config.Env or .rlimits.nofile.soft; a
// text comes back as it is, anything else as compact JSON. A path that leads
// nowhere gives "none".
func lookUpJSON(text []byte, path string) (string, error) {
	var at any
	if err := json.Unmarshal(text, &at); err != nil {
		return "", fmt.Errorf("read JSON: %w in %.200q", err, text)
	}
	for _, step := range jsonSteps(path) {
		switch value := at.(type) {
		case map[string]any:
			at = value[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(value) {
				return "none", nil
			}
			at = value[i]
		default:
			return "none", nil
		}
	}
	switch value := at.(type) {
	case nil:
		return "none", nil
	case string:
		return value, nil
	}
	compact, err := json.Marshal(at)
	return string(compact), err
}

// jsonSteps splits .a.[0].b into its names; a name in quotes may have dots.
func jsonSteps(path string) []string {
	var all []string
	for rest := path; rest != ""; {
		rest = strings.TrimLeft(rest, ".")
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			name, after, _ := strings.Cut(quoted, `"`)
			all, rest = append(all, name), after
			continue
		}
		end := strings.IndexAny(rest, ".[")
		if strings.HasPrefix(rest, "[") {
			name, after, _ := strings.Cut(rest[1:], "]")
			all, rest = append(all, name), after
			continue
		}
		if end < 0 {
			return append(all, rest)
		}
		all, rest = append(all, rest[:end]), rest[end:]
	}
	return all
}

func TestJSONPathsLeadToValues(t *testing.T) {
	text := []byte(`[{"A": {"b.c": [1, "two", {"d": true}]}, "e": null}]`)
	for path, want := range map[string]string{
		".[0].A.\"b.c\".[0]":   "1",
		".[0].A.\"b.c\"[1]":    "two",
		".[0].A.\"b.c\".[2].d": "true",
		".[0].A.\"b.c\".[2]":   `{"d":true}`,
		".[0].e":               "none",
		".[0].missing.deeper":  "none",
		".[7]":                 "none",
	} {
		if got, err := lookUpJSON(text, path); err != nil || got != want {
			t.Errorf("%s is %s, %v, not %s", path, got, err, want)
		}
	}
}
