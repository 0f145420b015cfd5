package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestFloodNumbersItsLines(t *testing.T) {
	got := finish(t, probe("flood", "0.5", "--width", "20"))
	var want strings.Builder
	for n := range (1 << 19) / 20 {
		fmt.Fprintf(&want, "%010d xxxxxxxx\n", n)
	}
	if got.stdout != want.String() {
		t.Errorf("%d bytes, not %d", len(got.stdout), want.Len())
	}
	if !strings.HasPrefix(got.stderr, `{"lines":26214,"seconds":`) {
		t.Errorf("it says %s", got.stderr)
	}
}
