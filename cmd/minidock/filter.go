package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/steps"
)

// filters are what --filter asked for: the values of each name. Of several values
// of one name one has to match, of several names each; but of labels all.
type filters map[string][]string

func filterFlag() cli.Flag {
	return list("filter", "f", "Filter output based on conditions provided")
}

// readFilters reads --filter values, "name=value". accepted are the names that
// the verb knows.
func readFilters(values []string, accepted ...string) (filters, error) {
	f := filters{}
	for _, v := range values {
		if v == "" {
			continue
		}
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, invalidArgument("-f, --filter", v, errors.New("bad format of filter (expected name=value)"), filterHint(accepted))
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if !slices.Contains(accepted, name) {
			return nil, &steps.Fault{Msg: fmt.Sprintf("invalid filter '%s'", name), Hint: filterHint(accepted)}
		}
		f[name] = append(f[name], value)
	}
	return f, nil
}

func filterHint(accepted []string) string {
	return "Filters are name=value; the names: " + strings.Join(accepted, ", ") + "."
}

// invalid says that a filter's value is none.
func (f filters) invalid(name, value string, err error) error {
	return &steps.Fault{Msg: fmt.Sprintf("invalid filter '%s=%s': %v", name, value, err), Hint: "Correct the value, or leave the filter out.", Err: err}
}

// asks says whether there is a filter of this name.
func (f filters) asks(name string) bool { return len(f[name]) > 0 }

// admits says whether one of the values is this word. Without a value everything
// is admitted.
func (f filters) admits(name, word string) bool {
	return !f.asks(name) || slices.Contains(f[name], word)
}

// admitsPattern is admits for values that may be regular expressions, which match
// anywhere in the word.
func (f filters) admitsPattern(name, word string) bool {
	return f.admits(name, word) || slices.ContainsFunc(f[name], func(value string) bool {
		found, err := regexp.MatchString(value, word)
		return err == nil && found
	})
}

// admitsLabels wants every label filter met: by a label of that name, and where
// the filter has a value, with that value.
func (f filters) admitsLabels(labels map[string]string) bool {
	for _, filter := range f["label"] {
		name, value, hasValue := strings.Cut(filter, "=")
		got, ok := labels[name]
		if !ok || hasValue && got != value {
			return false
		}
	}
	return true
}
