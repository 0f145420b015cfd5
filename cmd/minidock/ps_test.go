package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

// noon is when all of these tests look.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func TestStatusWordsAreDockers(t *testing.T) {
	for _, c := range []struct {
		status string
		age    time.Duration
		code   int
		want   string
	}{
		{"running", 0, 0, "Up Less than a second"},
		{"running", time.Second, 0, "Up 1 second"},
		{"running", 59 * time.Second, 0, "Up 59 seconds"},
		{"running", 60 * time.Second, 0, "Up About a minute"},
		{"running", 2 * time.Minute, 0, "Up 2 minutes"},
		{"running", 75 * time.Minute, 0, "Up About an hour"},
		{"running", 47 * time.Hour, 0, "Up 47 hours"},
		{"running", 13 * 24 * time.Hour, 0, "Up 13 days"},
		{"running", 59 * 24 * time.Hour, 0, "Up 8 weeks"},
		{"running", 100 * 24 * time.Hour, 0, "Up 3 months"},
		{"running", 800 * 24 * time.Hour, 0, "Up 2 years"},
		{"paused", time.Second, 0, "Up 1 second (Paused)"},
		{"restarting", 3 * time.Second, 1, "Restarting (1) 3 seconds ago"},
		{"exited", 90 * time.Second, 137, "Exited (137) About a minute ago"},
		{"exited", 0, 0, "Exited (0) Less than a second ago"},
		{"created", 0, 0, "Created"},
	} {
		at := noon.Add(-c.age)
		shown := &runtime.Container{Live: &runtime.Live{StartedAt: at}, Exit: &runtime.Exit{ExitCode: c.code, FinishedAt: at}}
		if got := statusWords(shown, c.status, noon); got != c.want {
			t.Errorf("%s for %s: %q; want %q", c.status, c.age, got, c.want)
		}
	}
}

func TestCommandsAreCutAsDockerCutsThem(t *testing.T) {
	for _, c := range []struct {
		args  []string
		whole bool
		want  string
	}{
		{[]string{"sh"}, false, `"sh"`},
		{[]string{"/bin/sleep", "123456789"}, false, `"/bin/sleep 123456789"`},
		{[]string{"/bin/sleep", "1234567890"}, false, `"/bin/sleep 12345678…"`},
		{[]string{"/bin/sleep", "1234567890"}, true, `"/bin/sleep 1234567890"`},
		{[]string{"sh", "-c", "a b"}, false, `"sh -c 'a b'"`},
		{[]string{"äöüäöüäöüäöüäöüäöüäöü"}, false, `"äöüäöüäöüäöüäöüäöüä…"`},
		{[]string{"a\nb\x01"}, false, `"a\nb\x01"`},
	} {
		if got := commandColumn(c.args, c.whole); got != c.want {
			t.Errorf("%q: %s; want %s", c.args, got, c.want)
		}
	}
}

// fleet are one container of each kind, newest first.
func fleet(t *testing.T) []*runtime.Container {
	t.Helper()
	base, app := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	made := func(name, id, image string, labels map[string]string) *runtime.Container {
		layers := []string{"/layers/base"}
		if image == app {
			layers = append(layers, "/layers/app")
		}
		return &runtime.Container{Config: runtime.Config{
			ID: id + strings.Repeat("0", 64-len(id)), Name: name, Created: noon.Add(-time.Minute), Args: []string{"sh"},
			Image: "busybox", ImageID: image, Layers: layers, Labels: labels,
		}}
	}
	up := made("web", "aa1", app, map[string]string{"team": "blue", "tier": "front"})
	up.Live = ourselves(t)
	up.Config.Network = runtime.NetworkConfig{Mode: "shop", Endpoints: []netns.Endpoint{{Network: "shop"}}, Exposed: []string{"80/tcp", "53/udp"}}
	up.Live.Ports = []netns.Publication{{Proto: "tcp", Host: 8080, Container: 80}}
	paused := made("web_2", "aa2", app, map[string]string{"team": "blue"})
	paused.Live = ourselves(t)
	paused.Live.Paused = true
	restarting := made("worker", "bb1", base, map[string]string{"team": "red"})
	restarting.Live = &runtime.Live{Restarting: true}
	restarting.Config.Network.Mode = "none"
	restarting.Exit = &runtime.Exit{ExitCode: 1, StartedAt: noon, FinishedAt: noon}
	failed := made("job", "bb2", base, nil)
	failed.Config.Network = up.Config.Network
	failed.Exit = &runtime.Exit{ExitCode: 7, StartedAt: noon, FinishedAt: noon}
	done := made("old.job", "cc1", base, map[string]string{"empty": ""})
	done.Exit = &runtime.Exit{StartedAt: noon, FinishedAt: noon}
	// One that could not be started has an exit status, and is created all the same.
	created := made("new", "cc2", base, nil)
	created.Exit = &runtime.Exit{ExitCode: 127}
	return []*runtime.Container{up, paused, restarting, failed, done, created}
}

// ourselves is the state of a container whose process is this test.
func ourselves(t *testing.T) *runtime.Live {
	t.Helper()
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	// proc_pid_stat(5): start time is field 22, the third is the first after the name.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	start, err := strconv.ParseUint(fields[22-3], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return &runtime.Live{Pid: os.Getpid(), PidStart: start, StartedAt: noon.Add(-time.Minute)}
}

func TestFiltersChooseAsDockers(t *testing.T) {
	l := runtime.Layout{Root: filepath.Join(t.TempDir(), "root")}
	for asked, want := range map[string]string{
		"":                              "web web_2 worker job old.job new",
		"name=web":                      "web web_2",
		"name=^web$":                    "web",
		"name=^/web$":                   "web",
		"name=o.d":                      "old.job",
		"name=old.job":                  "old.job",
		"name=(":                        "",
		"name=web name=job":             "web web_2 job old.job",
		" NAME = web ":                  "web web_2",
		"id=aa1":                        "web",
		"id=aa":                         "",
		"id=aa1 id=bb2":                 "web job",
		"id=aa1 name=job":               "",
		"label=team":                    "web web_2 worker",
		"label=team=blue":               "web web_2",
		"label=team=blue label=tier":    "web",
		"label=team=":                   "",
		"label=empty=":                  "old.job",
		"label=teamx":                   "",
		"status=running":                "web",
		"status=paused":                 "web_2",
		"status=restarting":             "worker",
		"status=exited":                 "job old.job",
		"status=created":                "new",
		"status=dead":                   "",
		"status=running status=created": "web new",
		"exited=7":                      "job",
		"exited=0":                      "old.job",
		"exited=1":                      "",
		"exited=127":                    "",
		"exited=0 exited=7":             "job old.job",
		"status=exited label=empty":     "old.job",
		"ancestor=nothing":              "",
		"network=shop":                  "web job",
		"network=none":                  "worker",
		"network=nothing":               "",
		"publish=8080":                  "web",
		"publish=80":                    "",
		"publish=8000-9000/tcp":         "web",
		"publish=8080/udp":              "",
		"expose=80":                     "web",
		"expose=53/udp":                 "web",
		"expose=90":                     "",
		"publish=1 expose=53/udp":       "web",
		"publish=8080 network=none":     "",
	} {
		f, err := readPsFilter(l, splitFilters(asked))
		if err != nil {
			t.Errorf("%s: %v", asked, err)
			continue
		}
		if got := namesOf(f.choose(fleet(t))); got != want {
			t.Errorf("%s chooses %q; want %q", asked, got, want)
		}
	}
}

// splitFilters takes apart what a table above writes in a line; one with blanks
// around it is one filter.
func splitFilters(asked string) []string {
	if strings.HasPrefix(asked, " ") {
		return []string{asked}
	}
	return strings.Split(asked, " ")
}

func namesOf(list []*runtime.Container) string {
	var names []string
	for _, c := range list {
		names = append(names, c.Config.Name)
	}
	return strings.Join(names, " ")
}

func TestFiltersCompareWithOtherContainersAndImages(t *testing.T) {
	all := fleet(t)
	id := func(i int) string { return all[i].Config.ID }
	for want, f := range map[string]*psFilter{
		"web web_2":                        {since: id(2)},
		"job old.job new":                  {before: id(2)},
		"worker job":                       {since: id(4), before: id(1)},
		"":                                 {since: id(1), before: id(4)},
		"web web_2 worker job old.job new": {ancestors: []images.Image{{ID: all[5].Config.ImageID, Layers: []string{"/layers/base"}}}, filters: filters{"ancestor": {"base"}}},
		"web web_2 ":                       {ancestors: []images.Image{{ID: all[0].Config.ImageID, Layers: []string{"/layers/base", "/layers/app"}}}, filters: filters{"ancestor": {"app"}}},
	} {
		if got := namesOf(f.choose(slices.Clone(all))); got != strings.TrimSpace(want) {
			t.Errorf("%q; want %q", got, want)
		}
	}
}

func TestFiltersReachForStoppedContainersOnlyWhereTheyAreMeant(t *testing.T) {
	for asked, want := range map[string][2]bool{
		"name=web": {false, false}, "exited=0": {false, false}, "status=exited": {true, false}, "status=created": {true, false},
		"status=running": {false, true}, "status=paused status=restarting": {false, true}, "status=running status=exited": {true, false},
	} {
		f, err := readPsFilter(runtime.Layout{Root: t.TempDir()}, splitFilters(asked))
		if got := [2]bool{f.wantsStopped(), f.wantsOnlyStarted()}; err != nil || got != want {
			t.Errorf("%s: stopped, only started: %v, %v; want %v", asked, got, err, want)
		}
	}
}

func TestBadFiltersAreRefusedInDockersWords(t *testing.T) {
	l := runtime.Layout{Root: filepath.Join(t.TempDir(), "root")}
	for asked, want := range map[string]string{
		"web":         `invalid argument "web" for "-f, --filter" flag: bad format of filter (expected name=value)`,
		"nope=1":      "invalid filter 'nope'",
		"status=up":   "invalid filter 'status=up': invalid value for state (up): must be one of created, running, paused, restarting, removing, exited, dead",
		"exited=x":    `invalid filter 'exited=x': strconv.Atoi: parsing "x": invalid syntax`,
		"publish=x":   `error while looking up for publish x: invalid start port 'x': invalid syntax`,
		"before=none": "No such container: none",
		"since=none":  "No such container: none",
	} {
		_, err := readPsFilter(l, []string{asked})
		if err == nil || err.Error() != want || steps.HintOf(err) == "" {
			t.Errorf("%s: %v; want %s", asked, err, want)
		}
	}
}

// A filter that is read says again what it was read from.
func FuzzFilters(f *testing.F) {
	for _, v := range []string{"name=web", "label=a=b", " ID = x ", "=", "x", "", "name=", "LABEL=\xff=", "status=running"} {
		f.Add(v)
	}
	accepted := []string{"ancestor", "before", "exited", "id", "label", "name", "since", "status"}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readFilters([]string{text}, accepted...)
		if err != nil {
			return
		}
		for name, values := range got {
			again, err := readFilters([]string{name + "=" + values[0]}, accepted...)
			if len(values) != 1 || err != nil || !slices.Equal(again[name], values) || !slices.Contains(accepted, name) {
				t.Errorf("%q is read as %q, and that as %q, %v", text, got, again, err)
			}
			got.admitsPattern(name, "word")
			got.admitsLabels(map[string]string{"word": ""})
		}
	})
}

func TestRowsHaveDockersFields(t *testing.T) {
	v := psView{layout: runtime.Layout{Root: filepath.Join(t.TempDir(), "root")}, now: noon, names: map[[2]string]string{}}
	var out strings.Builder
	for i, want := range []string{
		"aa1000000000 222222222222 1 Up About a minute running team=blue,tier=front blue",
		"aa2000000000 222222222222 1 Up About a minute (Paused) paused team=blue blue",
		"bb1000000000 111111111111 1 Restarting (1) Less than a second ago restarting team=red red",
		"bb2000000000 111111111111 1 Exited (7) Less than a second ago exited  ",
	} {
		row, err := v.row(fleet(t)[i])
		if err != nil {
			t.Fatal(err)
		}
		out.Reset()
		format := `{{.ID}} {{.Image}} {{len .LocalVolumes}} {{.Status}} {{.State}} {{.Labels}} {{.Label "team"}}`
		if err := printRows(&out, format, psColumns(false), []psRow{row}); err != nil || out.String() != want+"\n" {
			t.Errorf("%v: %q; want %q", err, out.String(), want)
		}
	}
	for name := range psColumns(true).headings {
		if err := printRows(&out, "table {{."+name+"}}", psColumns(true), []psRow{{}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
