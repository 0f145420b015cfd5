package main

import (
	"strings"
	"testing"
)

func TestCallWritesWhatServeAnswers(t *testing.T) {
	for _, kind := range []string{"", "/udp"} {
		_, out := started(t, "serve", "127.0.0.1:0"+kind)
		at := strings.TrimPrefix(out.first, "listening on ")
		got := finish(t, probe("call", at+kind))
		want := " answers 127.0.0.1:"
		if kind != "" {
			want = "echo of " + at + "\n"
		}
		if got.state.ExitStatus() != 0 || !strings.Contains(got.stdout, want) {
			t.Errorf("call %s%s: %q, %q, status %d", at, kind, got.stdout, got.stderr, got.state.ExitStatus())
		}
	}
}

func TestCallSaysWhyThereIsNoAnswer(t *testing.T) {
	got := finish(t, probe("call", "127.0.0.1:1"))
	if got.state.ExitStatus() != 1 || !strings.Contains(got.stderr, "connection refused") {
		t.Errorf("got %q, status %d", got.stderr, got.state.ExitStatus())
	}
	if got := finish(t, probe("call")); got.state.ExitStatus() != 2 {
		t.Errorf("call without a place ends with status %d", got.state.ExitStatus())
	}
}

func TestLookupWritesEachName(t *testing.T) {
	got := finish(t, probe("lookup", "localhost", "no-such.invalid"))
	if got.state.ExitStatus() != 1 || !strings.Contains(got.stdout, "localhost 127.0.0.1\n") || !strings.Contains(got.stderr, "no-such.invalid") {
		t.Errorf("got %q, %q, status %d", got.stdout, got.stderr, got.state.ExitStatus())
	}
}
