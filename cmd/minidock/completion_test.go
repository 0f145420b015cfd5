package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/internal/require"
)

// suggested are the words that a shell gets for a line typed so far.
func suggested(line string) string {
	var out strings.Builder
	complete(&out, application(), strings.Split(line, " "))
	var words []string
	for answer := range strings.Lines(out.String()) {
		word, _, _ := strings.Cut(strings.TrimSuffix(answer, "\n"), "\t")
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestCompletionKnowsTheCommandLine(t *testing.T) {
	t.Setenv("MINIDOCK_ROOT", filepath.Join(t.TempDir(), "root"))
	for line, want := range map[string]string{
		"ru":                             "run",
		"image i":                        "import inspect",
		"container run --mem":            "--memory --memory-high --memory-reservation --memory-swap",
		"--ro":                           "--root",
		"--root ":                        askFiles,
		"--root x image l":               "ls",
		"--root=x image l":               "ls",
		"run --memory-h":                 "--memory-high",
		"run --memory-high 1m --memory-": "--memory-reservation --memory-swap",
		"run --memory-high=1m --memory-": "--memory-reservation --memory-swap",
		"run -m 1m --memory":             "--memory-high --memory-reservation --memory-swap",
		"run -im1m --memory":             "--memory-high --memory-reservation --memory-swap",
		"run --label a --lab":            "--label",
		"run --name --na":                "",
		"run -i --in":                    "--init",
		"run --cap-add SYS_T":            "SYS_TIME SYS_TTY_CONFIG",
		"run --cap-add=SYS_T":            "--cap-add=SYS_TIME --cap-add=SYS_TTY_CONFIG",
		"run --env-file ":                askFiles,
		"run --env-file=":                askFiles,
		"run --rm=":                      "",
		"run busybox --me":               "",
		"run -- --me":                    "",
		"rm web --fo":                    "--force",
		"rm -- --fo":                     "",
		"image import ":                  askFiles,
		"inspect --type ":                "container image network",
		"run --network ":                 "bridge host none",
		"ps -f status=re":                "status=restarting status=removing",
		"ps --filter=status=re":          "--filter=status=restarting --filter=status=removing",
		"container ls -f na":             "name=",
		"completion ":                    "bash fish zsh",
		"nosuch ":                        "",
		"nosuch --":                      "",
		"rm ":                            "",
		"-":                              "--help --root --version",
	} {
		if got := suggested(line); got != want {
			t.Errorf("minidock %s: %q; want %q", line, got, want)
		}
	}
	if got := suggested(""); !strings.Contains(got, "run ") || !strings.Contains(got, " container") {
		t.Errorf("minidock: %q", got)
	}
}

// Whatever flags and verbs there are is suggested.
func TestCompletionKnowsEveryVerbAndFlag(t *testing.T) {
	t.Setenv("MINIDOCK_ROOT", filepath.Join(t.TempDir(), "root"))
	count := 0
	eachCommand(application().Commands, "", func(path string, c *cli.Command) {
		count++
		if got := strings.Fields(suggested(path)); !slices.Contains(got, c.Name) {
			t.Errorf("%q suggests %q", path, got)
		}
		for _, f := range c.Flags {
			long := "--" + f.Names()[0]
			if got := strings.Fields(suggested(path + " " + long)); !slices.Contains(got, long) {
				t.Errorf("%q suggests %q", path+" "+long, got)
			}
		}
	})
	if count < 20 {
		t.Errorf("only %d commands", count)
	}
}

// eachCommand visits the commands and those below them, with their paths.
func eachCommand(list []*cli.Command, above string, visit func(path string, c *cli.Command)) {
	for _, c := range list {
		path := strings.TrimPrefix(above+" "+c.Name, " ")
		visit(path, c)
		eachCommand(c.Subcommands, path, visit)
	}
}

func FuzzCompletion(f *testing.F) {
	for _, line := range []string{"run -it --na", "rm ", "-", "--", "--=", "-=", "run --cap-add=", "image import - x", "ps -f\xff", "run -ä"} {
		f.Add(line)
	}
	f.Setenv("MINIDOCK_ROOT", filepath.Join(f.TempDir(), "root"))
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, " ")
		current := words[len(words)-1]
		var out bytes.Buffer
		complete(&out, application(), words)
		for answer := range strings.Lines(out.String()) {
			if !strings.HasPrefix(answer, current) && answer != askFiles+"\n" {
				t.Errorf("%q suggests %q", line, answer)
			}
		}
	})
}

// completionWorld has an image with a tag, a stopped container and a running one.
func completionWorld(t *testing.T) {
	t.Helper()
	w := newWorld(t)
	w.importProbe()
	w.must("image", "import", t.TempDir(), "team/app:1.0")
	w.must("run", "--name", "job", "probe", "/probe", "exit", "0")
	w.background("web", "probe", "/probe", "ignore-term")
	t.Setenv("MINIDOCK_ROOT", w.layout.Root)
	t.Setenv("PATH", filepath.Dir(w.minidock)+":"+os.Getenv("PATH"))
}

func TestCompletionKnowsContainersAndImages(t *testing.T) {
	require.Needs(t, require.Root, require.Namespaces, require.Overlay)
	require.Layers(t, "nothing in it depends on cgroup v2", "native")
	completionWorld(t)
	words := map[string]string{
		"stop": "web", "exec": "web", "attach": "web", "pause": "web", "kill": "web", "unpause": "", "start": "job", "rm": "job",
		"logs": "web job", "container logs": "web job", "container inspect": "web job", "cp": "web: job: " + askFiles,
		"inspect": "web job probe team/app:1.0 bridge host none", "image rm": "probe team/app:1.0", "create": "probe team/app:1.0",
	}
	for verb, want := range words {
		q := question{verb: verb, given: map[string]string{}}
		var got []string
		for _, s := range q.argumentWords() {
			got = append(got, s.word)
		}
		// Images are told by their age.
		slices.SortFunc(got, func(a, b string) int { return strings.Index(want, a) - strings.Index(want, b) })
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q; want %q", verb, got, want)
		}
	}
	for line, want := range map[string]string{
		"rm -f ": "web job", "rm job ": "", "rm -f job ": "web", "container inspect web ": "job", "explain job ": "", "run probe ": "",
		"inspect --type image p": "probe", "inspect --type=container p": "", "--root /nowhere rm ": "",
	} {
		if got := suggested(line); got != want {
			t.Errorf("minidock %s: %q; want %q", line, got, want)
		}
	}
}
