package main

import (
	"strings"
	"testing"
	"time"
)

func TestMomentsAreReadAsDockerReadsThem(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, zone)
	for value, want := range map[string]string{
		"10m":                           "2026-03-04T04:56:07+01:00",
		"1h30m":                         "2026-03-04T03:36:07+01:00",
		"-1m":                           "2026-03-04T05:07:07+01:00",
		"0":                             "1970-01-01T00:00:00Z",
		"1767366245":                    "2026-01-02T15:04:05Z",
		"1767366245.5":                  "2026-01-02T15:04:05.5Z",
		"1767366245.000000001":          "2026-01-02T15:04:05.000000001Z",
		"1767366245.0000000019":         "2026-01-02T15:04:05.000000001Z",
		"2026-01-02":                    "2026-01-02T00:00:00+01:00",
		"2026-01-02Z":                   "2026-01-02T00:00:00Z",
		"2026-01-02T15":                 "2026-01-02T15:00:00+01:00",
		"2026-01-02T15:04":              "2026-01-02T15:04:00+01:00",
		"2026-01-02T15:04:05":           "2026-01-02T15:04:05+01:00",
		"2026-01-02T15:04:05.123456789": "2026-01-02T15:04:05.123456789+01:00",
		"2026-01-02T15:04:05Z":          "2026-01-02T15:04:05Z",
		"2026-01-02T15:04:05.5Z":        "2026-01-02T15:04:05.5Z",
		"2026-01-02T15:04:05-07:00":     "2026-01-02T15:04:05-07:00",
		"2026-01-02T15:04:05.5+08:00":   "2026-01-02T15:04:05.5+08:00",
	} {
		wanted, err := time.Parse(time.RFC3339Nano, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseMoment(value, now); err != nil || !got.Equal(wanted) {
			t.Errorf("%s is %s (%v), want %s", value, got, err, want)
		}
	}
}

func TestWhatIsNoMomentIsRefused(t *testing.T) {
	for _, value := range []string{"yesterday", "2026-13-01", "2026-01-02T25", "1.2.3", "1767366245.x", "1767366245.-5", " "} {
		if got, err := parseMoment(value, time.Now()); err == nil || !strings.HasPrefix(err.Error(), "failed to parse value as time or duration: ") {
			t.Errorf("%q is %s (%v)", value, got, err)
		}
	}
	if _, _, err := parseBounds("1m", "2m", time.Unix(1000, 0)); err == nil || err.Error() != "`since` time (940) cannot be after `until` time (880)" {
		t.Errorf("got %v", err)
	}
}

func FuzzMomentsNeverPanic(f *testing.F) {
	for _, seed := range []string{"10m", "0", "1767366245.5", "2026-01-02T15:04:05-07:00", ".", "-.5"} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		first, err := parseMoment(value, now)
		if again, err2 := parseMoment(value, now); (err == nil) != (err2 == nil) || !first.Equal(again) {
			t.Errorf("%q read twice: %s, %s", value, first, again)
		}
	})
}
