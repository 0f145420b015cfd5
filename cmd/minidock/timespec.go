package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/minidock/minidock/steps"
)

// parseMoment reads the value of --since and --until as Docker does: how long
// before now ("90s", "1h30m"), a date with or without a time and a zone
// ("2026-01-02", "2026-01-02T15:04:05.5Z"), or seconds since 1970 ("1767366245.5").
// Without a zone it is the local one, with its present offset.
func parseMoment(value string, now time.Time) (time.Time, error) {
	// A bare 0 is a duration for Go, but the year 1970 for Docker.
	if d, err := time.ParseDuration(value); err == nil && value != "0" {
		return now.Add(-d), nil
	}
	for _, date := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"} {
		for _, zone := range []string{"", "Z07:00"} {
			if t, err := time.ParseInLocation(date+zone, value, time.FixedZone(now.Zone())); err == nil {
				return t, nil
			}
		}
	}
	if t, err := parseEpoch(value); err == nil {
		return t, nil
	}
	return time.Time{}, &steps.Fault{
		Msg:  fmt.Sprintf("failed to parse value as time or duration: %q", value),
		Hint: "Write how long ago (10m, 1h30m), a time (2026-01-02T15:04:05), or seconds since 1970.",
	}
}

// nanoDigits is how many digits a second has after the point.
const nanoDigits = 9

// parseEpoch reads seconds since 1970, with up to nine digits after a point.
func parseEpoch(value string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	if fraction == "" {
		return time.Unix(seconds, 0), nil
	}
	if len(fraction) > nanoDigits {
		fraction = fraction[:nanoDigits]
	}
	nanos, err := strconv.ParseUint(fraction+strings.Repeat("0", nanoDigits-len(fraction)), 10, 32)
	return time.Unix(seconds, int64(nanos)), err
}

// parseBounds reads --since and --until; an empty one stays zero.
func parseBounds(since, until string, now time.Time) (from, to time.Time, err error) {
	if since != "" {
		if from, err = parseMoment(since, now); err != nil {
			return from, to, err
		}
	}
	if until != "" {
		if to, err = parseMoment(until, now); err != nil {
			return from, to, err
		}
	}
	if !to.IsZero() && to.Before(from) {
		err = &steps.Fault{
			Msg:  fmt.Sprintf("`since` time (%d) cannot be after `until` time (%d)", from.Unix(), to.Unix()),
			Hint: "Give --until a later time than --since.",
		}
	}
	return from, to, err
}
