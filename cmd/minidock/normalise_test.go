package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
	"pgregory.net/rapid"

	"github.com/minidock/minidock/steps"
)

// parsed is what a command's action finds.
type parsed struct {
	Command string
	Flags   map[string]any
	Args    []string
}

// sample is a command line with every kind of flag and of verb. Its actions
// write what they find into got.
func sample(got *parsed) *cli.App {
	flags := func() []cli.Flag {
		return []cli.Flag{
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}},
			&cli.BoolFlag{Name: "rm"},
			&cli.StringFlag{Name: "memory", Aliases: []string{"m"}},
			&cli.StringFlag{Name: "name"},
			&cli.Int64Flag{Name: "cpu-shares", Aliases: []string{"c"}},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, KeepSpace: true},
		}
	}
	hostname := &cli.StringFlag{Name: "hostname", Aliases: []string{"h"}}
	note := func(c *cli.Context) error {
		*got = parsed{strings.TrimPrefix(c.Command.HelpName, "minidock "), given(c), c.Args().Slice()}
		return nil
	}
	return &cli.App{
		Name: "minidock", HideHelpCommand: true, DisableSliceFlagSeparator: true,
		Writer: io.Discard, ErrWriter: io.Discard, ExitErrHandler: func(*cli.Context, error) {},
		Flags: []cli.Flag{&cli.StringFlag{Name: "root"}, &cli.BoolFlag{Name: "debug", Aliases: []string{"D"}}},
		Commands: []*cli.Command{
			{Name: "run", Flags: append(flags(), hostname), Action: note},
			{Name: "rm", Flags: flags(), Action: note},
			{Name: "image", Aliases: []string{"img"}, Subcommands: []*cli.Command{{Name: "import", Flags: flags(), Action: note}}},
		},
	}
}

// given collects the flags that were set, by their first names.
func given(c *cli.Context) map[string]any {
	set := map[string]any{}
	for _, level := range c.Lineage() {
		for _, name := range level.LocalFlagNames() {
			switch value := level.Value(name).(type) {
			case cli.StringSlice:
				set[name] = value.Value()
			default:
				set[name] = value
			}
			// urfave/cli also sets every alias.
			if len(name) == 1 {
				delete(set, name)
			}
		}
	}
	return set
}

// understood runs a command line through the normaliser and urfave/cli.
func understood(words ...string) (parsed, error) {
	var got parsed
	app := sample(&got)
	argv, err := normalise(app, append([]string{"minidock"}, words...))
	if err == nil {
		err = app.Run(argv)
	}
	return got, err
}

func flagsOf(pairs ...any) map[string]any {
	set := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		set[pairs[i].(string)] = pairs[i+1]
	}
	return set
}

func TestCommandLinesAreReadAsDockerReadsThem(t *testing.T) {
	for _, c := range []struct {
		line []string
		want parsed
	}{
		{[]string{"run", "-it", "busybox"}, parsed{"run", flagsOf("interactive", true, "tty", true), []string{"busybox"}}},
		{[]string{"run", "-m32m", "busybox"}, parsed{"run", flagsOf("memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "-m", "32m", "busybox"}, parsed{"run", flagsOf("memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "-m=32m", "busybox"}, parsed{"run", flagsOf("memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "-m=", "busybox"}, parsed{"run", flagsOf("memory", "="), []string{"busybox"}}},
		{[]string{"run", "--memory=32m", "busybox"}, parsed{"run", flagsOf("memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "--memory", "32m", "busybox"}, parsed{"run", flagsOf("memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "-itm32m", "busybox"}, parsed{"run", flagsOf("interactive", true, "tty", true, "memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "-im", "32m", "busybox"}, parsed{"run", flagsOf("interactive", true, "memory", "32m"), []string{"busybox"}}},
		{[]string{"run", "-eA=1", "-e", "B=2,3", "--env= C= 4 ", "x"}, parsed{"run", flagsOf("env", []string{"A=1", "B=2,3", " C= 4 "}), []string{"x"}}},
		{[]string{"run", "-e=A=1", "x"}, parsed{"run", flagsOf("env", []string{"A=1"}), []string{"x"}}},
		{[]string{"run", "--rm=false", "-i=true", "x"}, parsed{"run", flagsOf("rm", false, "interactive", true), []string{"x"}}},
		{[]string{"run", "--name", "", "x"}, parsed{"run", flagsOf("name", ""), []string{"x"}}},
		{[]string{"run", "--name", "--rm", "x"}, parsed{"run", flagsOf("name", "--rm"), []string{"x"}}},
		{[]string{"run", "-c", "-1", "x"}, parsed{"run", flagsOf("cpu-shares", int64(-1)), []string{"x"}}},
		{[]string{"run", "-hweb", "x"}, parsed{"run", flagsOf("hostname", "web"), []string{"x"}}},
		{[]string{"run", "x", "ls", "-l", "--rm", "--", "-e"}, parsed{"run", flagsOf(), []string{"x", "ls", "-l", "--rm", "--", "-e"}}},
		{[]string{"run", "--rm", "--", "-x", "--rm"}, parsed{"run", flagsOf("rm", true), []string{"-x", "--rm"}}},
		{[]string{"run", "--rm", "help"}, parsed{"run", flagsOf("rm", true), []string{"help"}}},
		{[]string{"run", "-", "-i"}, parsed{"run", flagsOf(), []string{"-", "-i"}}},
		{[]string{"run", "", "-i"}, parsed{"run", flagsOf(), []string{"", "-i"}}},
		{[]string{"run", "x", "--help"}, parsed{"run", flagsOf(), []string{"x", "--help"}}},
		{[]string{"run", "--", "x", "--generate-bash-completion"}, parsed{"run", flagsOf(), []string{"x", "--generate-bash-completion"}}},
		{[]string{"rm", "web", "-i", "db", "-m1m"}, parsed{"rm", flagsOf("interactive", true, "memory", "1m"), []string{"web", "db"}}},
		{[]string{"rm", "web", "--", "-i"}, parsed{"rm", flagsOf(), []string{"web", "-i"}}},
		{[]string{"--root", "/x", "-D", "rm", "web"}, parsed{"rm", flagsOf("root", "/x", "debug", true), []string{"web"}}},
		{[]string{"--root=/x", "image", "import", "-", "name", "-c", "5"}, parsed{"image import", flagsOf("root", "/x", "cpu-shares", int64(5)), []string{"-", "name"}}},
		{[]string{"img", "import", "a"}, parsed{"image import", flagsOf(), []string{"a"}}},
	} {
		t.Run(strings.Join(c.line, " "), func(t *testing.T) {
			got, err := understood(c.line...)
			if err != nil {
				t.Fatal(err)
			}
			if c.want.Args == nil {
				c.want.Args = []string{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWrongCommandLinesAreRefusedInDockersWords(t *testing.T) {
	for _, c := range []struct {
		line      []string
		msg, hint string
		code      int
	}{
		{[]string{"run", "--foo", "x"}, "unknown flag: --foo", "See 'minidock run --help'.", 125},
		{[]string{"run", "--foo=1", "x"}, "unknown flag: --foo", "See 'minidock run --help'.", 125},
		{[]string{"run", "--m", "1", "x"}, "unknown flag: --m", "See 'minidock run --help'.", 125},
		{[]string{"run", "-x", "x"}, "unknown shorthand flag: 'x' in -x", "See 'minidock run --help'.", 125},
		{[]string{"run", "-ixt", "x"}, "unknown shorthand flag: 'x' in -xt", "See 'minidock run --help'.", 125},
		{[]string{"run", "-name", "x"}, "unknown shorthand flag: 'n' in -name", "See 'minidock run --help'.", 125},
		{[]string{"run", "--name"}, "flag needs an argument: --name", "See 'minidock run --help'.", 125},
		{[]string{"run", "-im"}, "flag needs an argument: 'm' in -m", "See 'minidock run --help'.", 125},
		{[]string{"run", "---name"}, "bad flag syntax: ---name", "See 'minidock run --help'.", 125},
		{[]string{"run", "--=x"}, "bad flag syntax: --=x", "See 'minidock run --help'.", 125},
		{[]string{"run", "--rm=maybe", "x"}, `invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax`, "See 'minidock run --help'.", 125},
		{[]string{"run", "-c", "many", "x"}, `invalid argument "many" for "-c, --cpu-shares" flag: strconv.ParseInt: parsing "many": invalid syntax`, "See 'minidock run --help'.", 125},
		{[]string{"image", "import", "x", "-z"}, "unknown shorthand flag: 'z' in -z", "See 'minidock image import --help'.", 125},
		{[]string{"--nope", "run"}, "unknown flag: --nope", "See 'minidock --help'.", 125},
		{[]string{"rnu", "x"}, "unknown command: minidock rnu", "Run 'minidock --help' for more information.", 1},
		{[]string{"image", "imprt"}, "unknown command: minidock image imprt", "Run 'minidock image --help' for more information.", 1},
		{[]string{"help", "rnu"}, "unknown command: minidock rnu", "Run 'minidock --help' for more information.", 1},
	} {
		t.Run(strings.Join(c.line, " "), func(t *testing.T) {
			got, err := understood(c.line...)
			if err == nil {
				t.Fatalf("understood as %+v", got)
			}
			if err.Error() != c.msg || steps.HintOf(err) != c.hint || steps.CodeOf(err, -1) != c.code {
				t.Errorf("%q, hint %q, status %d", err, steps.HintOf(err), steps.CodeOf(err, -1))
			}
		})
	}
}

func TestHelpEndsTheReading(t *testing.T) {
	for line, want := range map[string]string{
		"--help":                "minidock --help",
		"-h":                    "minidock --help",
		"help":                  "minidock --help",
		"help run":              "minidock run --help",
		"help run x":            "minidock run --help",
		"help image import":     "minidock image import --help",
		"run --rm --help --foo": "minidock run --rm=true --help",
		"rm x -h":               "minidock rm --help",
		"rm -ih":                "minidock rm --interactive=true --help",
		"image -h":              "minidock image --help",
	} {
		var none parsed
		got, err := normalise(sample(&none), append([]string{"minidock"}, strings.Fields(line)...))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}

// TestEverySpellingOfACommandLineMeansTheSame draws flags, values and arguments,
// writes them in any of Docker's notations, and expects them back.
func TestEverySpellingOfACommandLineMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := parsed{Command: rapid.SampledFrom([]string{"run", "rm"}).Draw(t, "verb"), Flags: map[string]any{}, Args: []string{}}
		written := drawFlags(t, want.Flags)
		arguments := rapid.SliceOfN(rapid.SampledFrom([]string{"x", "web", "-", "", "a=b", "run", "help", "tty"}), 0, 3).Draw(t, "arguments")
		want.Args = append(want.Args, arguments...)
		line := []string{want.Command}
		if want.Command == "rm" {
			line = append(line, interleave(t, written, arguments)...)
		} else {
			line = append(append(line, slices.Concat(written...)...), arguments...)
			if len(arguments) > 0 {
				line = append(line, "--rm", "-x")
				want.Args = append(want.Args, "--rm", "-x")
			}
		}
		got, err := understood(line...)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q: %s", line, diff)
		}
	})
}

// drawFlags fills set and returns the words of each flag in order.
func drawFlags(t *rapid.T, set map[string]any) [][]string {
	var written [][]string
	for range rapid.IntRange(0, 5).Draw(t, "flags") {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			written = append(written, drawBools(t, set))
		case 1:
			value := rapid.StringMatching(`[a-z0-9 =,.-]{2,5}`).Draw(t, "memory")
			set["memory"] = value
			written = append(written, drawValue(t, "memory", "m", value))
		case 2:
			n := rapid.Int64Range(-9, 9).Draw(t, "shares")
			set["cpu-shares"] = n
			written = append(written, drawValue(t, "cpu-shares", "c", fmt.Sprint(n)))
		default:
			value := rapid.StringMatching(`[A-Z]{1,2}=[a-z ,="'-]{0,4}`).Draw(t, "env")
			before, _ := set["env"].([]string)
			set["env"] = append(slices.Clone(before), value)
			written = append(written, drawValue(t, "env", "e", value))
		}
	}
	return written
}

func drawBools(t *rapid.T, set map[string]any) []string {
	switch rapid.IntRange(0, 3).Draw(t, "bools") {
	case 0:
		set["interactive"], set["tty"] = true, true
		return []string{rapid.SampledFrom([]string{"-it", "-ti"}).Draw(t, "group")}
	case 1:
		set["rm"] = false
		return []string{"--rm=false"}
	case 2:
		set["interactive"], set["memory"] = true, "7m"
		return rapid.SampledFrom([][]string{{"-im7m"}, {"-im", "7m"}, {"-im=7m"}}).Draw(t, "group")
	}
	set["tty"] = true
	return []string{rapid.SampledFrom([]string{"-t", "--tty", "--tty=1", "-t=true"}).Draw(t, "tty")}
}

func drawValue(t *rapid.T, name, short, value string) []string {
	ways := [][]string{{"--" + name, value}, {"--" + name + "=" + value}, {"-" + short, value}, {"-" + short + "=" + value}}
	if !strings.HasPrefix(value, "=") {
		ways = append(ways, []string{"-" + short + value})
	}
	return rapid.SampledFrom(ways).Draw(t, "way")
}

// interleave mixes flags and arguments, each in its own order.
func interleave(t *rapid.T, flags [][]string, arguments []string) []string {
	var line []string
	for len(flags)+len(arguments) > 0 {
		if len(arguments) == 0 || len(flags) > 0 && rapid.Bool().Draw(t, "flag next") {
			line, flags = append(line, flags[0]...), flags[1:]
			continue
		}
		line, arguments = append(line, arguments[0]), arguments[1:]
	}
	return line
}

func FuzzNormalise(f *testing.F) {
	for _, line := range []string{
		"run|-itm32m|--rm=false|x|ls|-l", "--root|/x|rm|a|-i|--|-t", "image|import|-", "help|run", "run|-e", "run|-m=", "-", "--", "run|--name=|-h",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var none parsed
		app := sample(&none)
		argv := append([]string{"minidock"}, strings.Split(line, "|")...)
		once, err := normalise(app, argv)
		if err != nil {
			if steps.HintOf(err) == "" || steps.CodeOf(err, 0) == 0 {
				t.Errorf("%q: an error without hint or status: %v", argv, err)
			}
			return
		}
		twice, err := normalise(app, once)
		if err != nil || !slices.Equal(once, twice) {
			t.Errorf("%q becomes %q, and that %q, %v", argv, once, twice, err)
		}
		if err := app.Run(once); err != nil {
			t.Errorf("%q becomes %q, which urfave/cli refuses: %v", argv, once, err)
		}
	})
}
