package runtime

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// rlimitNames are the resources of getrlimit(2) in the order of their numbers in
// <asm-generic/resource.h>.
func rlimitNames() []string {
	return []string{
		"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
		"LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
	}
}

// rlimitNumber is -1 for a name that is none, which setting it then refuses.
func rlimitNumber(name string) int {
	return slices.Index(rlimitNames(), strings.TrimPrefix(name, "RLIMIT_"))
}

func rlimitName(number int) string {
	names := rlimitNames()
	if number < 0 || number >= len(names) {
		return fmt.Sprintf("RLIMIT_%d", number)
	}
	return "RLIMIT_" + names[number]
}

func rlimitValue(v uint64) string {
	if v == unix.RLIM_INFINITY {
		return "RLIM64_INFINITY"
	}
	return fmt.Sprint(v)
}
