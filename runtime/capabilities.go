package runtime

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/minidock/minidock/steps"
)

// defaultCapabilities are Docker's 14, of the 41 that capabilities(7) lists.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// capabilitiesOf mixes --cap-add and --cap-drop into the default set, as Docker
// does: ALL on one side makes the other side the exception.
func capabilitiesOf(add, drop []string, privileged bool) ([]string, error) {
	added, err := canonicalCapabilities("CapAdd", add)
	if err != nil {
		return nil, err
	}
	dropped, err := canonicalCapabilities("CapDrop", drop)
	if err != nil {
		return nil, err
	}
	switch {
	case privileged:
		return holdable()
	case slices.Contains(added, "ALL"):
		all, err := holdable()
		return without(all, dropped), err
	case slices.Contains(dropped, "ALL"):
		return added, nil
	}
	set := without(defaultCapabilities(), dropped)
	for _, c := range added {
		if !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	return set, nil
}

func without(set, dropped []string) []string {
	return slices.DeleteFunc(set, func(c string) bool { return slices.Contains(dropped, c) })
}

// canonicalCapabilities writes names as capabilities(7) does: in capitals, with CAP_.
func canonicalCapabilities(list string, names []string) ([]string, error) {
	known := capability.ListKnown()
	var canonical []string
	for _, name := range names {
		upper := strings.ToUpper(name)
		if upper == "ALL" {
			canonical = append(canonical, upper)
			continue
		}
		full := "CAP_" + strings.TrimPrefix(upper, "CAP_")
		if !slices.ContainsFunc(known, func(c capability.Cap) bool { return "CAP_"+strings.ToUpper(c.String()) == full }) {
			return nil, &steps.Fault{
				Msg:  fmt.Sprintf("invalid %s: unknown capability: %q", list, full),
				Hint: "See capabilities(7) for the names; the prefix CAP_ may be left out.",
				Code: 125,
			}
		}
		canonical = append(canonical, full)
	}
	return canonical, nil
}

// holdable lists every capability that this process could hand on: the kernel
// refuses to give a child what its parent lacks (capabilities(7), bounding set).
func holdable() ([]string, error) {
	own, err := capability.NewPid2(0)
	if err == nil {
		err = own.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("read own capabilities: %w", err)
	}
	supported, err := capability.ListSupported()
	if err != nil {
		return nil, fmt.Errorf("list capabilities of this kernel: %w", err)
	}
	var all []string
	for _, c := range supported {
		if own.Get(capability.PERMITTED, c) {
			all = append(all, "CAP_"+strings.ToUpper(c.String()))
		}
	}
	return all, nil
}
