package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/minidock/minidock/internal/require"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestCompat holds minidock against what a Docker engine says to the same
// commands: testdata/compat/*.txtar. Beside the commands of TestScripts they have:
//
//	parity-image       import the test program as the image "parity"
//	docker ARG…        run this command of the engine, and note what it says
//	told NAME          wait for the end of a started command, and note what it said
//
// and docker is also what start, terminal and eventually run. What is noted is
// compared with the script's section "session", which shows the differences that
// are known, and why they are: see readSession.
//
// minidock's side is tested natively (the scripts have the same commands, and run in
// the VM, too), Docker's where
// MINIDOCK_ENGINE names its command line (make compat). MINIDOCK_COMPAT=record
// writes both sides down; what is new among the differences then waits for a reason.
func TestCompat(t *testing.T) {
	require.Layers(t, "nothing in it depends on the kernel's cgroups", "native")
	bin := binaries(t)
	files, err := filepath.Glob("testdata/compat/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	ours, theirs := &notes{}, &notes{}
	t.Run("minidock", func(t *testing.T) {
		testscript.Run(t, parity(ours, func(env *testscript.Env) error { return setUp(env, bin) }))
	})
	engine := os.Getenv("MINIDOCK_ENGINE")
	if engine != "" {
		t.Run("docker", func(t *testing.T) {
			testscript.RunT(serial{t}, parity(theirs, func(env *testscript.Env) error { return setUpEngine(env, engine, bin) }))
		})
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			minidock, docker := ours.of(file), theirs.of(file)
			switch {
			case minidock == nil || engine != "" && docker == nil:
				t.Skip("a side was not run") // Skipped or failed, and said so.
			case os.Getenv("MINIDOCK_COMPAT") == "record" && docker != nil:
				record(t, file, minidock, docker)
			default:
				holdAgainst(t, file, minidock, docker)
			}
		})
	}
}

func parity(n *notes, setUp func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Dir: "testdata/compat", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			if err := setUp(env); err != nil {
				return err
			}
			w := env.Values[worldKey{}].(*world)
			name := filepath.Base(w.t.Name())
			// Only of a script that comes to its end is it known what was said.
			env.Defer(func() {
				if !w.t.Failed() && !w.t.Skipped() {
					n.keep(name, w.said)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"needs": needs, "parity-image": parityImage, "docker": docker, "told": noteEnd, "eventually": eventually,
			"start": start, "says": says, "send": send, "signal": sendSignal, "ends": ends,
			"terminal": startOnTerminal, "types": types, "resizes": resizes,
		},
	}
}

// serial runs scripts one after the other: they share one engine, and its names.
type serial struct{ *testing.T }

func (serial) Parallel() {}

func (serial) Verbose() bool { return testing.Verbose() }

func (s serial) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(serial{t}) })
}

// notes are what one side said in each script.
type notes struct {
	mu   sync.Mutex
	said map[string][]exchange
}

func (n *notes) keep(script string, said []exchange) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.said == nil {
		n.said = map[string][]exchange{}
	}
	n.said[script] = said
}

func (n *notes) of(file string) []exchange {
	return n.said[strings.TrimSuffix(filepath.Base(file), ".txtar")]
}

// setUpEngine gives a script a Docker engine. Of what is there it touches only the
// image "parity" and its containers.
func setUpEngine(env *testscript.Env, engine string, bin programs) error {
	w := &world{programs: bin, engine: engine, t: env.T().(testing.TB), running: map[string]*running{}}
	env.Values[worldKey{}] = w
	env.Setenv("PATH", filepath.Dir(engine)+":"+os.Getenv("PATH"))
	env.Setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST"))
	env.Defer(func() {
		for _, r := range w.running {
			r.stop()
		}
		if ids := strings.Fields(w.ask("ps", "-aq", "--filter", "ancestor=parity")); len(ids) > 0 {
			w.ask(append([]string{"rm", "-f"}, ids...)...)
		}
		w.ask("rmi", "-f", "parity")
	})
	return nil
}

// ask runs the engine's command line outside of the script.
func (w *world) ask(args ...string) string {
	text, _ := exec.Command(w.engine, args...).Output()
	return string(text)
}

func parityImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: parity-image")
	}
	w := worldOf(ts)
	program, err := os.ReadFile(w.probe)
	ts.Check(err)
	file := ts.MkAbs(".parity.tar")
	ts.Check(os.WriteFile(file, probeTar(ts, program), 0o600))
	ts.Check(ts.Exec(w.engine, "image", "import", file, "parity"))
}

func docker(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: docker COMMAND [ARG…]")
	}
	w := worldOf(ts)
	status := statusOf(ts, ts.Exec(w.engine, args...))
	w.said = append(w.said, note(append([]string{"docker"}, args...), ts.ReadFile("stdout"), ts.ReadFile("stderr"), status))
}

func noteEnd(ts *testscript.TestScript, neg bool, args []string) {
	r := job(ts, neg, args, 1)
	awaitEnd(ts, args[0], r)
	w := worldOf(ts)
	words := append([]string{"docker"}, r.cmd.Args[1:]...)
	w.said = append(w.said, note(words, r.out.String(), r.err.String(), statusText(r.cmd.ProcessState)))
	delete(w.running, args[0])
}

// holdAgainst compares what was said with the session that is written down.
func holdAgainst(t *testing.T, file string, minidock, docker []exchange) {
	known, err := readSession(sessionOf(t, file))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(known) != len(minidock) || docker != nil && len(known) != len(docker) {
		t.Fatalf("%s: its session holds %d commands, %d were run: record it anew", file, len(known), len(minidock))
	}
	for i, k := range known {
		if diff := cmp.Diff(k.minidock, minidock[i].lines); k.command != minidock[i].command || diff != "" {
			t.Errorf("%s: %s: minidock says something else (-known +now):\n%s", file, minidock[i].command, diff)
		}
		if docker == nil {
			continue
		}
		agrees := slices.Equal(docker[i].lines, k.minidock)
		switch {
		case slices.Equal(docker[i].lines, k.docker):
		case k.kind == olderEngine && agrees: // This engine is a newer one.
		case agrees:
			t.Errorf("%s: %s: no difference any more", file, k.command)
		default:
			t.Errorf("%s: %s: an undeclared difference (-known +this engine):\n%s", file, k.command, cmp.Diff(k.docker, docker[i].lines))
		}
	}
}

// record writes both sides down, and keeps the reasons that are known.
func record(t *testing.T, file string, minidock, docker []exchange) {
	if len(minidock) != len(docker) {
		t.Fatalf("%s: minidock ran %d commands, docker %d", file, len(minidock), len(docker))
	}
	known, err := readSession(sessionOf(t, file))
	if err != nil {
		known = nil
	}
	var all []comparison
	for i := range minidock {
		c := comparison{command: minidock[i].command, minidock: minidock[i].lines, docker: docker[i].lines}
		if !slices.Equal(c.minidock, c.docker) {
			c.kind, c.reason = undeclared, "say why"
			at := slices.IndexFunc(known, func(k comparison) bool { return k.command == c.command && k.kind != "" })
			if at >= 0 {
				c.kind, c.reason = known[at].kind, known[at].reason
				known[at].kind = "" // The next of the same words has a reason of its own.
			}
			if c.kind == undeclared {
				t.Errorf("%s: %s: a difference without a reason", file, c.command)
			}
		}
		all = append(all, c)
	}
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool { return f.Name == "session" })
	archive.Files = append(archive.Files, txtar.File{Name: "session", Data: []byte(writeSession(all))})
	if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sessionOf(t *testing.T, file string) string {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if f.Name == "session" {
			return string(f.Data)
		}
	}
	return ""
}
