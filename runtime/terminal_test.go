package runtime

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestDetachKeysAreReadAsDockerWritesThem(t *testing.T) {
	for text, want := range map[string][]byte{
		DefaultDetachKeys: {16, 17}, "a": {'a'}, "ctrl-a": {1}, "ctrl-Z,z": {26, 'z'}, "ctrl-@": {0}, "ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_": {27, 28, 29, 30, 31}, "a,b,-": {'a', 'b', '-'},
	} {
		if got, err := ParseDetachKeys(text); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q reads as %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "ab", "ctrl-", "ctrl-ab", "ctrl-1", "a,", ",a", "ctrl-p ctrl-q", "ctrl-é", "é"} {
		if got, err := ParseDetachKeys(text); err == nil {
			t.Errorf("%q reads as %v", text, got)
		}
	}
}

func FuzzParseDetachKeys(f *testing.F) {
	for _, text := range []string{DefaultDetachKeys, "a", "ctrl-@,x", "", ","} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseDetachKeys(text)
		if err == nil && (len(keys) == 0 || len(keys) > len(text)) {
			t.Errorf("%q reads as %v", text, keys)
		}
		if err != nil && keys != nil {
			t.Errorf("%q gives %v beside %v", text, keys, err)
		}
	})
}

func TestDetachKeysAreFoundAndNotPassedOn(t *testing.T) {
	for _, c := range []struct {
		typed  []string
		text   string
		detach bool
	}{
		{[]string{"ab\x10\x11"}, "ab", true},
		{[]string{"\x10", "\x11"}, "", true},
		{[]string{"\x10", "x\x11"}, "\x10x\x11", false},
		{[]string{"\x10\x10\x11"}, "\x10", true},
		{[]string{"\x10", "\x10", "\x10", "\x11"}, "\x10\x10", true},
		{[]string{"\x11\x10"}, "\x11", false}, // Perhaps more is to come.
	} {
		text, detach := typeAll(&detacher{keys: []byte{16, 17}}, c.typed)
		if string(text) != c.text || detach != c.detach {
			t.Errorf("%q: %q, %v", c.typed, text, detach)
		}
	}
}

// typeAll feeds pieces to a detacher until it detaches.
func typeAll(d *detacher, typed []string) (text []byte, detach bool) {
	for _, piece := range typed {
		passed, done := d.filter([]byte(piece))
		text = append(text, passed...)
		if done {
			return text, true
		}
	}
	return text, false
}

// Whatever the keys and however the text comes in pieces, the result is that of
// a search in the whole: all before the keys, or all but what may yet become them.
func TestDetachKeysWhateverIsTyped(t *testing.T) {
	letters := rapid.SampledFrom([]byte("ab")) // Few, so that much looks like the keys.
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(letters, 0, 5).Draw(t, "keys")
		typed := rapid.SliceOfN(letters, 0, 40).Draw(t, "typed")
		var pieces []string
		for rest := typed; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			pieces, rest = append(pieces, string(rest[:n])), rest[n:]
		}
		got, detach := typeAll(&detacher{keys: keys}, pieces)
		want, found := searchKeys(keys, typed)
		if detach != found || !bytes.Equal(got, want) {
			t.Fatalf("%q in pieces %q: %q, %v, not %q, %v", keys, pieces, got, detach, want, found)
		}
	})
}

// searchKeys looks for the keys in all that is typed.
func searchKeys(keys, typed []byte) (text []byte, found bool) {
	if len(keys) == 0 {
		return typed, false
	}
	if at := bytes.Index(typed, keys); at >= 0 {
		return typed[:at], true
	}
	for n := min(len(keys)-1, len(typed)); n > 0; n-- {
		if bytes.HasSuffix(typed, keys[:n]) {
			return slices.Clone(typed[:len(typed)-n]), false
		}
	}
	return typed, false
}

func FuzzDetacher(f *testing.F) {
	f.Add([]byte("\x10\x11"), []byte("ab\x10\x10\x11"), uint8(2))
	f.Add([]byte("aab"), []byte("aaab"), uint8(1))
	f.Fuzz(func(t *testing.T, keys, typed []byte, size uint8) {
		var pieces []string
		for piece := range slices.Chunk(typed, int(size)+1) {
			pieces = append(pieces, string(piece))
		}
		got, detach := typeAll(&detacher{keys: keys}, pieces)
		if want, found := searchKeys(keys, typed); detach != found || !bytes.Equal(got, want) {
			t.Errorf("%q in %q: %q, %v, not %q, %v", keys, typed, got, detach, want, found)
		}
	})
}
