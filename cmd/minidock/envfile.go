package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/minidock/minidock/steps"
)

// lookup finds a variable in the environment of whoever calls minidock.
type lookup func(key string) (string, bool)

// environment puts the files' variables before the flags', so that a flag wins.
func environment(files, flags []string, caller lookup) ([]string, error) {
	var env []string
	for _, name := range files {
		entries, err := envFile(name, caller)
		if err != nil {
			return nil, err
		}
		env = append(env, entries...)
	}
	for _, v := range flags {
		key, _, hasValue := strings.Cut(v, "=")
		if key == "" {
			return nil, invalidArgument("-e, --env", v, errors.New("invalid environment variable: "+v), "Write a variable as NAME=value, or NAME to pass your own on.")
		}
		passed := resolve(key, v, hasValue, caller)
		if len(passed) == 0 {
			passed = []string{key} // Docker then takes the image's away, too.
		}
		env = append(env, passed...)
	}
	return env, nil
}

// resolve takes a name without a value from the caller's environment; one that
// is not there either is left out.
func resolve(key, entry string, hasValue bool, caller lookup) []string {
	if hasValue {
		return []string{entry}
	}
	if value, ok := caller(key); ok {
		return []string{key + "=" + value}
	}
	return nil
}

func envFile(name string, caller lookup) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &steps.Fault{Msg: err.Error(), Hint: "Give --env-file a file that you can read.", Code: 125, Err: err}
	}
	defer func() { _ = f.Close() }()
	entries, err := parseEnvFile(f, caller)
	if err != nil {
		return nil, &steps.Fault{
			Msg:  fmt.Sprintf("invalid env file (%s): %v", name, err),
			Hint: "Each line is NAME=value, or NAME to pass your own on; # begins a comment.",
			Code: 125, Err: err,
		}
	}
	return entries, nil
}

// parseEnvFile reads Docker's format, which knows neither quotes nor escapes:
// blanks before a name are dropped, everything after = is the value, a line
// that begins with # is a comment, a name alone is the caller's variable. The
// file is UTF-8, perhaps with a byte order mark.
func parseEnvFile(r io.Reader, caller lookup) ([]string, error) {
	var entries []string
	scan := bufio.NewScanner(r)
	for n := 1; scan.Scan(); n++ {
		raw := scan.Bytes()
		if !utf8.Valid(raw) {
			return nil, fmt.Errorf("invalid utf8 bytes at line %d: %v", n, raw)
		}
		if n == 1 {
			raw = bytes.TrimPrefix(raw, []byte("\uFEFF"))
		}
		line := strings.TrimLeftFunc(string(raw), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, hasValue := strings.Cut(line, "=")
		switch {
		case key == "":
			return nil, fmt.Errorf("no variable name on line '%s'", line)
		case strings.ContainsAny(key, " \t"):
			return nil, fmt.Errorf("variable '%s' contains whitespaces", key)
		}
		entries = append(entries, resolve(key, line, hasValue, caller)...)
	}
	return entries, scan.Err()
}
