package main

import (
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// asked reads a run command line as far as the runtime's options.
func asked(words ...string) (runtime.Options, error) {
	var options runtime.Options
	app := &cli.App{
		Name: "minidock", HideHelpCommand: true, DisableSliceFlagSeparator: true,
		Writer: io.Discard, ErrWriter: io.Discard, ExitErrHandler: func(*cli.Context, error) {},
		Commands: []*cli.Command{{Name: "run", Flags: runFlags(), Action: func(c *cli.Context) (err error) {
			options, err = runOptions(c)
			return err
		}}},
	}
	argv, err := normalise(app, append([]string{"minidock", "run"}, words...))
	if err == nil {
		err = app.Run(argv)
	}
	return options, err
}

// wanted is what a run without flags asks for.
func wanted(change func(*runtime.Options)) runtime.Options {
	o := runtime.Options{Image: "x", Command: []string{}, Labels: map[string]string{}}
	o.Network = runtime.NetworkConfig{Mode: "bridge", Endpoints: []netns.Endpoint{{Network: "bridge"}}}
	change(&o)
	return o
}

func TestFlagsBecomeOptions(t *testing.T) {
	t.Setenv("FROM_CALLER", "its value")
	for line, change := range map[string]func(*runtime.Options){
		"x":                        func(*runtime.Options) {},
		"x sh -c --rm":             func(o *runtime.Options) { o.Command = []string{"sh", "-c", "--rm"} },
		"-i --rm --name web x":     func(o *runtime.Options) { o.Interactive, o.AutoRemove, o.Name = true, true, "web" },
		"-h host -w /tmp -u 1:2 x": func(o *runtime.Options) { o.Hostname, o.Workdir, o.User = "host", "/tmp", "1:2" },
		"--read-only --init --privileged x": func(o *runtime.Options) {
			o.ReadOnly, o.Init, o.Privileged = true, true, true
		},
		"--entrypoint /bin/sh x": func(o *runtime.Options) { o.Entrypoint, o.EntrypointSet = []string{"/bin/sh"}, true },
		"--entrypoint= x":        func(o *runtime.Options) { o.EntrypointSet = true },
		"-eA=1 -e B= -e FROM_CALLER -e NOWHERE_SET --env C=a,b x": func(o *runtime.Options) {
			o.Env = []string{"A=1", "B=", "FROM_CALLER=its value", "NOWHERE_SET", "C=a,b"}
		},
		"-l a=1 --label b -l a=2 -l c=x=y x": func(o *runtime.Options) {
			o.Labels = map[string]string{"a": "2", "b": "", "c": "x=y"}
		},
		"--cap-add NET_ADMIN --cap-add=ALL --cap-drop CHOWN --security-opt no-new-privileges x": func(o *runtime.Options) {
			o.CapAdd, o.CapDrop, o.SecurityOpt = []string{"NET_ADMIN", "ALL"}, []string{"CHOWN"}, []string{"no-new-privileges"}
		},
		"--ulimit nofile=10:20 --ulimit core=0 --ulimit nofile=-1 x": func(o *runtime.Options) {
			o.Ulimits = []runtime.Ulimit{{Name: "core"}, {Name: "nofile", Soft: -1, Hard: -1}}
		},
		"--log-driver json-file --log-opt max-size=10m --log-opt max-file=3 --log-opt max-size=1k --log-opt labels=a,b x": func(o *runtime.Options) {
			o.Log = runtime.LogConfig{Driver: "json-file", Options: map[string]string{"max-size": "1k", "max-file": "3", "labels": "a,b"}}
		},
		"--network front --network name=back,alias=db,ip=10.1.0.7 --network-alias www --ip 10.0.0.7 -p 8080:80 --expose 53/udp --dns 192.0.2.53 --add-host gw:host-gateway --domainname lab x": func(o *runtime.Options) {
			o.Network = runtime.NetworkConfig{
				Mode: "front", Domainname: "lab", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, Exposed: []string{"53/udp"},
				Endpoints: []netns.Endpoint{
					{Network: "front", Aliases: []string{"www"}, Address: netip.MustParseAddr("10.0.0.7")},
					{Network: "back", Aliases: []string{"db"}, Address: netip.MustParseAddr("10.1.0.7")},
				},
				ExtraHosts: []netns.ExtraHost{{Name: "gw"}},
				Ports:      []netns.Port{{Proto: "tcp", Container: 80, HostIP: netip.IPv4Unspecified(), Host: 8080}},
			}
		},
		"--network host -p 80:80 -P x": func(o *runtime.Options) {
			o.Network = runtime.NetworkConfig{Mode: "host", Endpoints: []netns.Endpoint{{Network: "host"}}}
		},
		"--cpus .5 -c 512 --cpuset-cpus 0,1 --pids-limit -1 x": func(o *runtime.Options) {
			o.Limits = cgroups.Limits{NanoCPUs: 500_000_000, CPUShares: 512, CpusetCpus: "0,1", PidsLimit: -1}
		},
		"--cpu-period 50000 --cpu-quota 25000 x": func(o *runtime.Options) {
			o.Limits = cgroups.Limits{CPUPeriod: 50000, CPUQuota: 25000}
		},
		"-m32m --memory-swap -1 --memory-reservation 16M --memory-high 0.5g x": func(o *runtime.Options) {
			o.Limits = cgroups.Limits{Memory: 32 << 20, MemorySwap: -1, MemoryReservation: 16 << 20, MemoryHigh: 512 << 20}
		},
	} {
		t.Run(line, func(t *testing.T) {
			got, err := asked(strings.Fields(line)...)
			if err != nil {
				t.Fatal(err)
			}
			want := wanted(change)
			for _, list := range []*[]string{&got.Env, &got.CapAdd, &got.CapDrop, &got.SecurityOpt} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadValuesAreRefusedInDockersWords(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.env")
	if err := os.WriteFile(bad, []byte("A=1\nB C=2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words []string
		msg   string
		code  int
	}{
		{[]string{}, `"minidock run" requires at least 1 argument.`, 1},
		{[]string{"--memory", "1q", "x"}, `invalid argument "1q" for "-m, --memory" flag: invalid suffix: 'q'`, 125},
		{[]string{"--memory", "", "x"}, `invalid argument "" for "-m, --memory" flag: invalid size: ''`, 125},
		{[]string{"--memory-swap", "-2", "x"}, `invalid argument "-2" for "--memory-swap" flag: invalid size: '-2'`, 125},
		{[]string{"--cpus", "some", "x"}, `invalid argument "some" for "--cpus" flag: failed to parse some as a rational number`, 125},
		{[]string{"--cpus", "1e-10", "x"}, `invalid argument "1e-10" for "--cpus" flag: value is too precise`, 125},
		{[]string{"-e", "=x", "x"}, `invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x`, 125},
		{[]string{"-e", "", "x"}, `invalid argument "" for "-e, --env" flag: invalid environment variable: `, 125},
		{[]string{"-l", "=x", "x"}, `invalid argument "=x" for "-l, --label" flag: invalid label '=x': empty name`, 125},
		{[]string{"-l", "a b=x", "x"}, `invalid argument "a b=x" for "-l, --label" flag: label 'a b' contains whitespaces`, 125},
		{[]string{"--ulimit", "nofile", "x"}, `invalid argument "nofile" for "--ulimit" flag: invalid ulimit argument: nofile`, 125},
		{[]string{"--ulimit", "files=1", "x"}, `invalid argument "files=1" for "--ulimit" flag: invalid ulimit type: files`, 125},
		{[]string{"--ulimit", "nofile=2:1", "x"}, `invalid argument "nofile=2:1" for "--ulimit" flag: ulimit soft limit must be less than or equal to hard limit: 2 > 1`, 125},
		{[]string{"--ulimit", "nofile=-5", "x"}, `invalid argument "nofile=-5" for "--ulimit" flag: a limit is a number from 0, or -1 for unlimited`, 125},
		{[]string{"--env-file", dir + "/none", "x"}, "open " + dir + "/none: no such file or directory", 125},
		{[]string{"--env-file", bad, "x"}, "invalid env file (" + bad + "): variable 'B C' contains whitespaces", 125},
		{[]string{"--pids-limit", "1.5", "x"}, `invalid argument "1.5" for "--pids-limit" flag: strconv.ParseInt: parsing "1.5": invalid syntax`, 125},
	} {
		t.Run(strings.Join(c.words, " "), func(t *testing.T) {
			_, err := asked(c.words...)
			if err == nil {
				t.Fatal("accepted")
			}
			if err.Error() != c.msg || steps.CodeOf(err, 1) != c.code || steps.HintOf(err) == "" {
				t.Errorf("%q, status %d, hint %q", err, steps.CodeOf(err, 1), steps.HintOf(err))
			}
		})
	}
}

func TestEveryFlagHasWordsAndAHeading(t *testing.T) {
	names := map[string]bool{}
	for _, f := range runFlags() {
		documented := f.(cli.DocGenerationFlag)
		if documented.GetUsage() == "" {
			t.Errorf("--%s says nothing", f.Names()[0])
		}
		for _, name := range f.Names() {
			if names[name] {
				t.Errorf("%s is defined twice", name)
			}
			names[name] = true
		}
	}
}

// caller stands for an environment.
func caller(key string) (string, bool) {
	value, ok := map[string]string{"HERE": `"quoted"`, "EMPTY": ""}[key]
	return value, ok
}

func TestEnvFilesAreReadAsDockerReadsThem(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"pairs", "A=1\nB=two words \nC=\n", []string{"A=1", "B=two words ", "C="}},
		{"comments and blank lines", "# A=1\n\n   \n  # B=2\nC=3 # kept\n", []string{"C=3 # kept"}},
		{"quotes are part of the value", "A='1'\nB=\"2\"\n", []string{"A='1'", `B="2"`}},
		{"more equal signs", "A==b=c\n", []string{"A==b=c"}},
		{"blanks before a name", " \t A=1\n", []string{"A=1"}},
		{"blanks around a value", "A= 1 \n", []string{"A= 1 "}},
		{"a name alone is the caller's", "HERE\nEMPTY\nMISSING\n", []string{`HERE="quoted"`, "EMPTY="}},
		{"Windows line ends", "A=1\r\nB=2\r\n", []string{"A=1", "B=2"}},
		{"a byte order mark", "\ufeffA=1\n", []string{"A=1"}},
		{"no last newline", "A=1", []string{"A=1"}},
		{"no variable expansion", "A=$HOME ${B}\n", []string{"A=$HOME ${B}"}},
		{"odd names", "a.b-c/ä=1\n", []string{"a.b-c/ä=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseEnvFile(strings.NewReader(c.text), caller)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBadEnvFilesSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"=1\n":                              "no variable name on line '=1'",
		"A B=1\n":                           "variable 'A B' contains whitespaces",
		"A =1\n":                            "variable 'A ' contains whitespaces",
		"NO VALUE\n":                        "variable 'NO VALUE' contains whitespaces",
		"A=1\nB=\xff\n":                     "invalid utf8 bytes at line 2: [66 61 255]",
		"A=" + strings.Repeat("x", 64*1024): "bufio.Scanner: token too long",
	} {
		_, err := parseEnvFile(strings.NewReader(text), caller)
		if err == nil || err.Error() != want {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	f.Add("A=1\n#c\n  B\n")
	f.Add("\ufeffA = 1\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseEnvFile(strings.NewReader(text), caller)
		if err != nil {
			return
		}
		for _, e := range entries {
			key, _, ok := strings.Cut(e, "=")
			if !ok || key == "" || strings.ContainsAny(key, " \t\n") || strings.Contains(e, "\n") || strings.HasPrefix(key, "#") {
				t.Errorf("%q gives %q", text, e)
			}
		}
		again, err := parseEnvFile(strings.NewReader(strings.Join(entries, "\n")), caller)
		if err != nil || len(again) != len(entries) {
			t.Errorf("%q gives %q, and that %q, %v", text, entries, again, err)
		}
	})
}

func FuzzUlimit(f *testing.F) {
	for _, v := range []string{"nofile=1:2", "core=-1", "nproc=1:-1", "nofile=-1:5", "x", "cpu=:"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value string) {
		u, err := ulimit(value)
		if err != nil {
			return
		}
		if u.Name == "" || u.Soft < -1 || u.Hard < -1 || u.Hard != -1 && (u.Soft == -1 || u.Soft > u.Hard) {
			t.Errorf("%q gives %+v", value, u)
		}
	})
}

func FuzzLabel(f *testing.F) {
	for _, v := range []string{"a=b", "a", "=b", " a=b", "a b=c"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value string) {
		all, err := labels("--label", []string{value})
		if (err == nil) != (len(all) == 1) {
			t.Errorf("%q gives %v, %v", value, all, err)
		}
		for key := range all {
			if strings.TrimSpace(key) == "" && strings.Trim(key, " \t") == "" {
				t.Errorf("%q gives an empty name", value)
			}
		}
	})
}

// TestEveryFlagIsShownInAScript keeps the scripts what they are read as: the
// documentation of run.
func TestEveryFlagIsShownInAScript(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var lines []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "minidock run ") {
				lines = append(lines, line)
			}
		}
	}
	all := strings.NewReplacer("=", " ", "\n", " ").Replace(strings.Join(lines, ""))
	for _, f := range runFlags() {
		shown := false
		for _, name := range f.Names() {
			dashes := "--"
			if len(name) == 1 {
				dashes = "-"
			}
			shown = shown || strings.Contains(all, " "+dashes+name+" ")
		}
		if !shown {
			t.Errorf("no script runs a container with --%s", f.Names()[0])
		}
	}
}
