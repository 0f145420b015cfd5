package cgroups

import (
	"fmt"
	"path"
	"strings"
)

// monitors is the leaf that holds minidock's own processes.
const monitors = "monitors"

// checkPath refuses every path that is not one of our own groups. An undo kills
// who is in the group, and its target comes from a file: "/" there would mean
// every process of the host.
func checkPath(p string) error {
	instance, leaf, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || !isInstance(instance) || leaf == "" || leaf == monitors || strings.Contains(leaf, "/") {
		return fmt.Errorf("use cgroup %q: not a container's group", p)
	}
	return nil
}

// checkShared is [checkPath] for the groups that containers share.
func checkShared(p string) error {
	instance, leaf, below := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	if !strings.HasPrefix(p, "/") || !isInstance(instance) || below && leaf != monitors {
		return fmt.Errorf("use cgroup %q: not a group of minidock's", p)
	}
	return nil
}

// isInstance recognises the two forms of an instance's name: bare for the
// default root directory, with 8 hex digits for any other.
func isInstance(name string) bool {
	hash, found := strings.CutPrefix(name, "minidock-")
	if !found {
		return name == "minidock"
	}
	return len(hash) == 8 && strings.Trim(hash, "0123456789abcdef") == ""
}

func parentOf(p string) string { return path.Dir(p) }
