package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/internal/require"
	"github.com/minidock/minidock/steps"
)

// tracedLife is a container's life, verb after verb, each of which tells its own
// story. A shell types them, under one strace: so the log also holds what the
// monitor, which an earlier command has left behind, does for a later one.
type tracedLife struct {
	name  string
	verbs []tracedVerb
	// terminal gives the commands a terminal as standard input.
	terminal bool
}

type tracedVerb struct {
	// args come after --explain.
	verb  string
	args  []string
	stdin string
	code  int
	// afterwards is what becomes of the container when the command has left, and
	// `explain` tells.
	afterwards afterwards
	// status is that with which the container ends afterwards.
	status int
}

type afterwards int

const (
	// unchanged: the command has told all that was done.
	unchanged afterwards = iota
	// hasEnded: the container ended, and all was taken back.
	hasEnded
	// hasRunAgain: the container was started once more, and ended.
	hasRunAgain
)

func verb(name string, args ...string) tracedVerb { return tracedVerb{verb: name, args: args} }

// tracedLives use every verb that tells a story, and every flag of exec.
func tracedLives(dir string) []tracedLife {
	return append(networkLives(), []tracedLife{
		{name: "life", verbs: []tracedVerb{
			verb("run", "-d", "--cidfile", dir+"/cid", "--stop-signal", "TERM", "--stop-timeout", "1", "--sig-proxy=false", "--log-driver", "json-file", "--log-opt", "max-size=1m", "--name", "life", "traced", "probe", "ignore-term"),
			verb("exec", "life", "probe", "exit", "0"),
			{verb: "exec", args: []string{"-i", "--env", "A=1", "--env-file", dir + "/env", "--user", "app", "--workdir", "/etc", "life", "probe", "cat"}, stdin: "said\n"},
			verb("exec", "--detach", "--privileged", "life", "probe", "exit", "0"),
			verb("pause", "life"),
			verb("unpause", "life"),
			verb("rename", "life", "lives"),
			verb("kill", "-s", "CONT", "lives"),
			verb("restart", "lives"),
			verb("stop", "-s", "INT", "lives"),
			verb("start", "lives"),
			{verb: "kill", args: []string{"lives"}, afterwards: hasEnded, status: 137},
			verb("rename", "lives", "lived"),
			verb("rm", "lived"),
		}},
		{name: "screen", verbs: []tracedVerb{
			verb("run", "-d", "-t", "-i", "--detach-keys", "ctrl-x", "--user", "app", "--name", "screen", "traced", "probe", "ignore-term"),
			verb("exec", "-t", "screen", "probe", "exit", "0"),
			verb("exec", "-t", "--detach-keys", "a", "--user", "7:8", "screen", "probe", "exit", "0"),
			verb("rm", "-f", "screen"),
		}},
		{name: "window", terminal: true, verbs: []tracedVerb{
			{verb: "run", args: []string{"-i", "-t", "--read-only", "--name", "window", "traced", "probe", "exit", "0"}, afterwards: hasEnded},
			verb("rm", "window"),
		}},
		{name: "walled", verbs: []tracedVerb{
			verb("create", "--read-only", "--security-opt", "no-new-privileges", "--cap-drop", "ALL", "--ulimit", "nofile=1024:2048", "--ulimit", "core=-1", "--name", "walled", "traced", "probe", "ignore-term"),
			verb("start", "walled"),
			verb("exec", "walled", "probe", "exit", "0"),
			verb("pause", "walled"),
			verb("unpause", "walled"),
			verb("stop", "-t", "0", "walled"),
			verb("rm", "walled"),
		}},
		{name: "files", verbs: []tracedVerb{
			verb("create", "--name", "files", "traced", "probe", "ignore-term"),
			verb("cp", "files:/etc/passwd", dir+"/passwd"),
			verb("export", "-o", dir+"/files.tar", "files"),
			verb("start", "files"),
			verb("cp", dir+"/env", "files:/etc/env"),
			verb("rm", "-f", "files"),
		}},
		{name: "again", verbs: []tracedVerb{
			{verb: "run", args: []string{"--restart", "on-failure:1", "--name", "again", "traced", "probe", "exit", "3"}, code: 3, afterwards: hasRunAgain, status: 3},
			verb("rm", "again"),
		}},
	}...)
}

// networkLives are about what networks make and leave.
func networkLives() []tracedLife {
	return []tracedLife{
		{name: "networks", verbs: []tracedVerb{
			verb("network create", "--label", "a=b", "web"),
			verb("network create", "--subnet", "10.231.0.0/24", "--ip-range", "10.231.0.128/25", "--internal", "back"),
			verb("network rm", "web", "back"),
		}},
		{name: "networked", verbs: []tracedVerb{
			verb("network create", "--subnet", "10.232.0.0/24", "--opt", "com.docker.network.driver.mtu=1400", "front"),
			verb("network create", "--internal", "inner"),
			verb("network create", "--subnet", "10.233.0.0/24", "side"),
			verb("run", "-d", "--network", "name=front,alias=www,mac-address=02:00:00:00:00:07", "--ip", "10.232.0.9", "--publish", "8080:80", "--name", "one", "traced", "probe", "ignore-term"),
			verb("run", "-d", "--network", "inner", "--network-alias", "other", "--name", "two", "traced", "probe", "ignore-term"),
			verb("run", "-d", "--network", "container:one", "--name", "tenant", "traced", "probe", "ignore-term"),
			verb("network connect", "--alias", "uno", "inner", "one"),
			verb("network connect", "--ip", "10.233.0.7", "side", "one"),
			verb("rename", "one", "first"),
			verb("network disconnect", "front", "first"),
			verb("network disconnect", "side", "first"),
			verb("network connect", "front", "first"),
			verb("restart", "-t", "0", "first"),
			verb("stop", "-t", "0", "first"),
			verb("network connect", "side", "first"),
			verb("network disconnect", "front", "first"),
			verb("start", "first"),
			verb("rm", "-f", "tenant"),
			verb("rm", "-f", "first"),
			verb("rm", "-f", "two"),
			verb("run", "-d", "--network", "none", "--name", "three", "traced", "probe", "ignore-term"),
			verb("network disconnect", "none", "three"),
			verb("network connect", "front", "three"),
			verb("rm", "-f", "three"),
			verb("network rm", "front", "inner", "side"),
		}},
		{name: "neighbours", verbs: []tracedVerb{
			verb("run", "-d", "--publish", "8080:80/udp", "--name", "here", "traced", "probe", "ignore-term"),
			verb("run", "-d", "--name", "next", "traced", "probe", "ignore-term"),
			{verb: "run", args: []string{"-d", "--publish", "8080:80/udp", "--name", "late", "traced", "probe", "ignore-term"}, code: 125},
			verb("rm", "late"),
			verb("stop", "-t", "0", "here"),
			verb("rm", "-f", "next"),
			verb("start", "here"),
			verb("rm", "-f", "here"),
		}},
	}
}

func TestToldStoryOfEveryVerbIsTrue(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay, require.Seccomp, require.Strace)
	w := newWorld(t)
	dir := t.TempDir()
	w.importTraced(dir)
	var stories [][]steps.Record
	lives := tracedLives(dir)
	if os.Getenv("MINIDOCK_LAYER") == "vm" {
		// strace makes an emulated machine slow: the one life that shows what differs with
		// cgroup version 2, how exec gets in, and how a container is frozen.
		lives = slices.DeleteFunc(lives, func(life tracedLife) bool { return life.name != "walled" })
	}
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			for i, got := range w.traceLife(t, dir, life) {
				t.Run(fmt.Sprintf("%d-%s", i+1, life.verbs[i].verb), func(t *testing.T) {
					stories = append(stories, got.story)
					for _, complaint := range judge(got.story, got.acts) {
						t.Error(complaint)
					}
					if !t.Failed() {
						seesLies(t, got)
					}
				})
			}
		})
	}
	if err := unreadable(stories...); err != nil {
		t.Error(err)
	}
}

// Whoever gives a verb a story adds it to a life, or that story is not tested.
func TestEveryVerbThatExplainsIsTraced(t *testing.T) {
	used, flags := map[string]bool{}, map[string]bool{}
	for _, life := range tracedLives("") {
		for _, v := range life.verbs {
			used[v.verb] = true
			if v.verb == "exec" {
				markFlags(flags, v.args)
			}
		}
	}
	eachCommand(commands(), "", func(path string, c *cli.Command) {
		explains := slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == "explain" })
		if explains && !used[path] && path != "image import" { // It makes files alone, and is told in tests of its own.
			t.Errorf("no traced life uses %s", path)
		}
	})
	flags["explain"] = true
	for _, f := range execCommand().Flags {
		if !slices.ContainsFunc(f.Names(), func(name string) bool { return flags[name] }) {
			t.Errorf("no traced life uses exec --%s", f.Names()[0])
		}
	}
}

// markFlags notes the names of the flags in a command line.
func markFlags(used map[string]bool, args []string) {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") {
			used[name] = true
		}
	}
}

// commands is how many commands the shell types for a verb.
func (v tracedVerb) commands() int {
	if v.afterwards == unchanged {
		return 1
	}
	return 3 // It waits, and asks for the story.
}

// file names one that a life's verb leaves.
func (life tracedLife) file(dir string, i int, kind string) string {
	return filepath.Join(dir, fmt.Sprintf("%s.%d.%s", life.name, i, kind))
}

// script is what the shell types.
func (life tracedLife) script(w *world, dir string) string {
	var s strings.Builder
	for i, v := range life.verbs {
		words := []string{steps.ShellQuote(w.minidock), v.verb, "--explain"}
		for _, a := range v.args {
			words = append(words, steps.ShellQuote(a))
		}
		words = append(words, "2>"+steps.ShellQuote(life.file(dir, i, "said")))
		switch {
		case v.stdin != "":
			fmt.Fprintf(&s, "printf %%s %s | ", steps.ShellQuote(v.stdin))
		case !life.terminal:
			words = append(words, "</dev/null")
		}
		fmt.Fprintf(&s, "%s\ns=$?; [ $s = %d ] || exit $((100 + %d))\n", strings.Join(words, " "), v.code, i)
		if v.afterwards != unchanged {
			fmt.Fprintf(&s, "[ \"$(%[1]s wait %[2]s)\" = %[3]d ] && %[1]s explain --format json %[2]s >%[4]s || exit 99\n",
				words[0], v.container(), v.status, steps.ShellQuote(life.file(dir, i, "json")))
		}
	}
	return s.String()
}

// container is the one that a verb with an afterwards is about.
func (v tracedVerb) container() string {
	if at := slices.Index(v.args, "--name"); at >= 0 {
		return v.args[at+1]
	}
	return v.args[len(v.args)-1]
}

// traceLife returns what each verb told, and what was done meanwhile.
func (w *world) traceLife(t *testing.T, dir string, life tracedLife) []told {
	t.Helper()
	traced := stracing{log: filepath.Join(dir, life.name+".strace"), terminal: life.terminal}
	_, acts := w.strace(t, traced, "sh", "-c", life.script(w, dir))
	acts = relevant(acts, exemptions(w.layout))
	all := make([]told, len(life.verbs))
	first := 1
	for i, v := range life.verbs {
		said, err := os.ReadFile(life.file(dir, i, "said"))
		if err != nil {
			t.Fatal(err)
		}
		all[i].story = readStory(t, string(said))
		if v.afterwards != unchanged {
			all[i].story = append(all[i].story, readAfterwards(t, life.file(dir, i, "json"), v.afterwards)...)
		}
		next := first + v.commands()
		for _, a := range acts {
			// The commands behind the first are asked to tell nothing.
			if a.command == first || a.command > first && a.command < next && a.role != asCommand {
				all[i].acts = append(all[i].acts, a)
			}
		}
		first = next
	}
	return all
}

// readAfterwards reads what became of a container: of one that ended, what was
// taken back; of one that ran again, the whole story of its next run.
func readAfterwards(t *testing.T, file string, what afterwards) []steps.Record {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all, news []steps.Record
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		switch {
		case r.Lifetime == steps.Kept:
		case what == hasRunAgain:
			news = append(news, r)
		case r.State == steps.Undone:
			r.Call, r.Shell = nil, nil // They were done before.
			news = append(news, r)
		}
	}
	return news
}
