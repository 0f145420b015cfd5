package main

import (
	"strings"

	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/steps"
)

// toldMessages writes told netlink messages as [strace.Networks.Sent] writes traced ones.
func toldMessages(args []string) ([]string, error) {
	if len(args) != 2 || args[0] != "netlink" {
		return args, nil
	}
	text, err := strace.ToldMessages(args[1])
	return []string{args[0], text}, err
}

// toldNetwork says in which network namespace a step is told to be done: that which
// its commands are typed in.
func toldNetwork(r steps.Record) string {
	for _, line := range r.Shell {
		if _, rest, enters := strings.Cut(line, "nsenter --net="); enters {
			file, _, _ := strings.Cut(rest, " ")
			return strings.Trim(file, "'")
		}
	}
	return ""
}

// isThere says whether an act was done in the network that the call is told for, if
// that makes a difference. What init does is typed in the container.
func (told toldCall) isThere(a act) bool {
	switch {
	case told.step.Inside:
		return true
	case a.name == "bind" || a.name == "listen" || a.is("sendto", "netlink") || a.is("sendmsg", "netlink"):
	case a.name == "write" && strings.HasPrefix(a.args[0], `"/proc/sys/net/`):
	default:
		return true
	}
	return told.network == a.network
}
