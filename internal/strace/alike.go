package strace

import (
	"slices"
	"strconv"
	"strings"
)

// Alike says whether a told argument means a traced one. What only the moment of
// the call decides is told as PID or FD, what would be too long to tell as ….
func Alike(told, got string) bool {
	switch {
	case told == got, told == "…", told == "{…}" && strings.HasPrefix(got, "{"):
		return true
	case told == `"/dev/pts/N"`:
		number, found := strings.CutPrefix(strings.Trim(got, `"`), "/dev/pts/")
		return found && number != "" && strings.Trim(number, "0123456789") == ""
	case told == "PID", told == `"PID"`, told == `"/proc/self/fd/FD"`:
		number := strings.TrimPrefix(strings.Trim(got, `"`), "/proc/self/fd/")
		return number != "" && strings.Trim(number, "0123456789") == ""
	case strings.HasPrefix(told, "RTM_"):
		return alikeMessages(told, got)
	case strings.HasPrefix(told, "{"):
		return alikeStructures(Structure(told), Structure(got))
	case strings.HasPrefix(told, `"`):
		return false
	}
	return slices.Equal(FlagSet(told), FlagSet(got))
}

// alikeMessages compares messages of rtnetlink(7) by their types and attributes.
func alikeMessages(told, got string) bool {
	toldType, toldText, _ := strings.Cut(told, " ")
	gotType, gotText, _ := strings.Cut(got, " ")
	return toldType == gotType && alikeStructures(Structure(toldText), Structure(gotText))
}

func alikeStructures(told, got map[string]string) bool {
	_, partly := told["…"]
	if !partly && len(told) != len(got) {
		return false
	}
	for name, value := range told {
		other, there := got[name]
		if name != "…" && (!there || !Alike(value, other)) {
			return false
		}
	}
	return got != nil
}

// FlagSet sorts A|B; strace writes a set of numbers as shifts, and a large number
// as a product.
func FlagSet(text string) []string {
	flags := strings.Split(text, "|")
	for i, f := range flags {
		flags[i] = strings.TrimPrefix(f, "1<<")
		if a, b, ok := strings.Cut(f, "*"); ok {
			x, errX := strconv.ParseUint(a, 10, 32)
			y, errY := strconv.ParseUint(b, 10, 32)
			if errX == nil && errY == nil {
				flags[i] = strconv.FormatUint(x*y, 10)
			}
		}
	}
	slices.Sort(flags)
	return flags
}
