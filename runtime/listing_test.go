package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stateDir is an installation that holds nothing but state files.
type stateDir struct {
	t *testing.T
	Layout
}

func newStateDir(t *testing.T) stateDir {
	t.Helper()
	dir := t.TempDir()
	return stateDir{t, Layout{Root: filepath.Join(dir, "root"), Run: filepath.Join(dir, "run"), Instance: "minidock-test"}}
}

// container writes the state of a container; what is nil is not written.
func (d stateDir) container(name string, age time.Duration, live *Live, exit *Exit, last *LastRun) *Container {
	d.t.Helper()
	c := Config{
		ID: strings.Repeat("0", 64-len(name)) + name, Name: name, Created: time.Now().Add(-age).UTC(), Args: []string{"sh"},
		Interactive: true, StdinOnce: true, Tty: true, StopSignal: "SIGINT",
	}
	d.write(filepath.Join(d.Container(c.ID), configFile), c)
	if live != nil {
		d.write(filepath.Join(d.RunContainer(c.ID), liveFile), live)
	}
	if exit != nil {
		d.write(filepath.Join(d.Container(c.ID), exitFile), exit)
	}
	if last != nil {
		d.write(filepath.Join(d.Container(c.ID), lastFile), last)
	}
	return &Container{Config: c, Live: live, Exit: exit, Last: last, layout: d.Layout}
}

func (d stateDir) write(path string, v any) {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := writeJSON(path, v, false); err != nil {
		d.t.Fatal(err)
	}
}

// alike is the live state of a container whose process is this test.
func alike(t *testing.T) Live {
	t.Helper()
	start, _, err := processStart(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return Live{Pid: os.Getpid(), PidStart: start, StartedAt: time.Now().UTC()}
}

// hold is the monitor of a container, as far as others notice: it has the lock.
func (d stateDir) hold(c *Container) {
	d.t.Helper()
	held, err := tryLock(d.Layout, c.Config.ID)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(held.release)
}

func listedNames(list []*Container) (names []string) {
	for _, c := range list {
		names = append(names, c.Config.Name)
	}
	return names
}

func TestRunningContainersAreFoundWithoutTheOthers(t *testing.T) {
	d := newStateDir(t)
	up, paused := alike(t), alike(t)
	paused.Paused = true
	d.container("a1", 4*time.Second, &up, nil, nil)
	d.container("a2", 3*time.Second, &paused, &Exit{ExitCode: 1}, nil)
	d.hold(d.container("a3", 2*time.Second, &Live{Restarting: true}, &Exit{ExitCode: 1, StartedAt: time.Now()}, nil))
	// It has ended, and its monitor is about to write that down.
	d.hold(d.container("a0", time.Second/2, &Live{Pid: 1 << 30, PidStart: 1, StartedAt: time.Now()}, nil, nil))
	d.container("a4", time.Second, nil, &Exit{StartedAt: time.Now()}, nil)
	// Being made: a directory that nobody has started anything in.
	if err := os.MkdirAll(d.RunContainer("a5"), 0o700); err != nil {
		t.Fatal(err)
	}
	// Half removed: there is no container any more.
	d.write(filepath.Join(d.RunContainer("a6"), liveFile), up)
	// What is stopped is not even looked at.
	broken := d.container("a7", 0, nil, nil, nil)
	if err := os.WriteFile(filepath.Join(broken.dir(), configFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ListRunning(d.Layout)
	if diff := cmp.Diff([]string{"a0", "a3", "a2", "a1"}, listedNames(got)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	got, err = List(d.Layout)
	if diff := cmp.Diff([]string{"a0", "a4", "a3", "a2", "a1"}, listedNames(got)); diff != "" {
		t.Error(diff)
	}
	if err == nil || !strings.Contains(err.Error(), broken.Config.ID+"/config.json: line 1: ") {
		t.Errorf("error %v", err)
	}
}

func TestNothingIsListedWhereNothingWasMade(t *testing.T) {
	d := newStateDir(t)
	for name, list := range map[string]func(Layout) ([]*Container, error){"List": List, "ListRunning": ListRunning} {
		if got, err := list(d.Layout); len(got) > 0 || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestStatesAreShownAsDockerShowsThem(t *testing.T) {
	d := newStateDir(t)
	up, paused := alike(t), alike(t)
	paused.Paused = true
	ended := Exit{ExitCode: 3, OOMKilled: true, StartedAt: time.Unix(100, 0).UTC(), FinishedAt: time.Unix(200, 0).UTC()}
	gone := Live{Pid: 1 << 30, PidStart: 1, StartedAt: time.Unix(300, 0).UTC()}
	recorded := Exit{StartedAt: gone.StartedAt, FinishedAt: time.Unix(400, 0).UTC()}
	for name, c := range map[string]struct {
		live *Live
		exit *Exit
		want StateInspection
	}{
		"b1": {nil, nil, StateInspection{Status: "created"}},
		"b2": {&up, nil, StateInspection{Status: "running", Running: true, Pid: up.Pid, StartedAt: Timestamp{up.StartedAt}}},
		// The last end stays to be seen, its exit status does not.
		"b3": {&up, &ended, StateInspection{Status: "running", Running: true, Pid: up.Pid, StartedAt: Timestamp{up.StartedAt}, FinishedAt: Timestamp{ended.FinishedAt}}},
		"b4": {&paused, nil, StateInspection{Status: "paused", Running: true, Paused: true, Pid: up.Pid, StartedAt: Timestamp{paused.StartedAt}}},
		"b5": {&Live{Restarting: true}, &ended, StateInspection{
			Status: "restarting", Running: true, Restarting: true, ExitCode: 3, OOMKilled: true, StartedAt: Timestamp{ended.StartedAt}, FinishedAt: Timestamp{ended.FinishedAt},
		}},
		"b6": {nil, &ended, StateInspection{Status: "exited", ExitCode: 3, OOMKilled: true, StartedAt: Timestamp{ended.StartedAt}, FinishedAt: Timestamp{ended.FinishedAt}}},
		// Nobody has the number of its process any more; the end before is not this one's.
		"b8": {&gone, &ended, StateInspection{Status: "running", Running: true, Pid: gone.Pid, StartedAt: Timestamp{gone.StartedAt}, FinishedAt: Timestamp{ended.FinishedAt}}},
		"b9": {&gone, &recorded, StateInspection{Status: "exited", StartedAt: Timestamp{gone.StartedAt}, FinishedAt: Timestamp{recorded.FinishedAt}}},
		"b7": {nil, &Exit{ExitCode: 127, Error: "no such file"}, StateInspection{Status: "created", ExitCode: 127, Error: "no such file"}},
	} {
		made := d.container(name, 0, c.live, c.exit, nil)
		if c.live != nil {
			d.hold(made)
		}
		if diff := cmp.Diff(c.want, made.state()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestInspectShowsWhatAContainerWasAskedToBe(t *testing.T) {
	d := newStateDir(t)
	c := d.container("c1", 0, nil, nil, &LastRun{RestartCount: 4})
	patience := 7
	c.Config.StopTimeout, c.Config.Layers = &patience, []string{"/bottom", "/top"}
	c.Config.Restart = RestartPolicy{Name: "on-failure", MaximumRetryCount: 5}
	c.Config.Log = LogConfig{Driver: "none", Options: map[string]string{"max-size": "1m"}}
	got, err := Inspect(c)
	if err != nil {
		t.Fatal(err)
	}
	if got.RestartCount != 4 || got.HostConfig.RestartPolicy != c.Config.Restart || got.GraphDriver.Data["LowerDir"] != "/top:/bottom" {
		t.Errorf("restarts %d, policy %v, layers %s", got.RestartCount, got.HostConfig.RestartPolicy, got.GraphDriver.Data["LowerDir"])
	}
	if diff := cmp.Diff(LogConfigInspection{"none", map[string]string{"max-size": "1m"}}, got.HostConfig.LogConfig); diff != "" {
		t.Error(diff)
	}
	if s := got.Config; !s.Tty || !s.OpenStdin || !s.StdinOnce || !s.AttachStdin || s.StopSignal != "SIGINT" || *s.StopTimeout != 7 {
		t.Errorf("%+v", s)
	}
	// What nothing was said about has Docker's defaults.
	c.Config.Restart, c.Config.Log = RestartPolicy{}, LogConfig{}
	if got, err = Inspect(c); err != nil || got.HostConfig.RestartPolicy.Name != "no" || got.HostConfig.LogConfig.Type != "json-file" || got.HostConfig.LogConfig.Config == nil {
		t.Errorf("%+v, %v", got.HostConfig, err)
	}
}

func TestALayersSizeCountsEachFileOnce(t *testing.T) {
	dir := t.TempDir()
	for path, size := range map[string]int{"a": 1000, "deep/er/b": 234, "empty": 0} {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if got, err := treeSize(dir); got != 1000+234+1 || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
	if got, err := treeSize(filepath.Join(dir, "missing")); got != 0 || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
}
