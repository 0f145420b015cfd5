package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/runtime"
)

func TestOnlyYMeansYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Y\n": true, " y \n": true, "y": true, "yes\n": false, "n\n": false, "\n": false, "": false} {
		var out bytes.Buffer
		got, err := confirm(strings.NewReader(answer), &out, "WARNING! All goes.")
		if err != nil || got != want {
			t.Errorf("%q is %t (%v)", answer, got, err)
		}
		if said := out.String(); said != "WARNING! All goes.\nAre you sure you want to continue? [y/N] " {
			t.Errorf("asked %q", said)
		}
	}
	broken := errors.New("broken")
	if yes, err := confirm(iotest.ErrReader(broken), &bytes.Buffer{}, ""); yes || !errors.Is(err, broken) {
		t.Errorf("a broken input is %t (%v)", yes, err)
	}
}

func TestPruningIsFiltered(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	labels := map[string]string{"tier": "front", "keep": ""}
	for _, c := range []struct {
		filters []string
		want    bool
	}{
		{nil, true},
		{[]string{"until=1h"}, true},
		{[]string{"until=3h"}, false},
		{[]string{"until=2026-01-02T10:00:01Z"}, true},
		{[]string{"label=tier"}, true},
		{[]string{"label=tier=front"}, true},
		{[]string{"label=tier=back"}, false},
		{[]string{"label!=keep"}, false},
		{[]string{"label!=other"}, true},
		{[]string{"label!=keep", "label!=other"}, true},
		{[]string{"label=tier", "until=3h"}, false},
	} {
		f, err := readPruneFilter(c.filters, now)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.admits(now.Add(-2*time.Hour), labels); got != c.want {
			t.Errorf("%q: %t", c.filters, got)
		}
	}
	for _, bad := range [][]string{{"until=1h", "until=2h"}, {"until=soon"}, {"colour=red"}, {"label"}} {
		if _, err := readPruneFilter(bad, now); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestSystemPruneSaysWhatGoes(t *testing.T) {
	const want = `WARNING! This will remove:
  - all stopped containers
  - all networks not used by at least one container
  - all dangling images
`
	if got := systemWarning(false, nil); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	const filtered = `WARNING! This will remove:
  - all stopped containers
  - all networks not used by at least one container
  - all images without at least one container associated to them

  Items to be pruned will be filtered with:
  - label=a
  - until=1h
`
	if got := systemWarning(true, []string{"until=1h", "label=a"}); got != filtered {
		t.Errorf("got\n%swant\n%s", got, filtered)
	}
}

func TestDiskUsageIsSummedAsInDocker(t *testing.T) {
	d := runtime.DiskUsage{
		LayersSize: 1_000_000,
		Images: []runtime.ImageUsage{
			{Image: images.Image{ID: "sha256:a"}, Size: 700_000, Shared: 300_000, Containers: 2},
			{Image: images.Image{ID: "sha256:b"}, Size: 600_000, Shared: 300_000},
		},
		Containers: []runtime.ContainerUsage{{Size: 3000, Active: true}, {Size: 1000}},
	}
	for _, c := range []struct {
		row                               map[string]string
		count, active, size, reclaimables string
	}{
		{imagesSum(d), "2", "1", "1MB", "600kB (60%)"},
		{containersSum(d), "2", "1", "4kB", "1kB (25%)"},
		{containersSum(runtime.DiskUsage{}), "0", "0", "0B", "0B"},
	} {
		if got := []string{c.row["TotalCount"], c.row["Active"], c.row["Size"], c.row["Reclaimable"]}; strings.Join(got, "|") != strings.Join([]string{c.count, c.active, c.size, c.reclaimables}, "|") {
			t.Errorf("%s: %q", c.row["Type"], got)
		}
	}
}
