package cgroups

import (
	"path/filepath"

	"github.com/minidock/minidock/steps"
)

// KindFreeze freezes a group or lets it go on; it goes with the group.
const KindFreeze steps.Kind = "freeze"

// FreezeStep tells how libcontainer freezes everyone in the group at path, or
// lets them go on: on version 2 by one file of the group, on version 1 in the tree
// of the freezer controller.
func FreezeStep(h Host, path string, freeze bool) steps.Step {
	why := "Let every process of the group go on where it was stopped."
	if freeze {
		why = "Stop every process of the group where it is: none gets a processor until the group is thawed, and none can tell."
	}
	if h.Mode != Unified {
		return legacyFreeze(filepath.Join(h.Mountpoint, "freezer", path, "freezer.state"), why, freeze)
	}
	value := "0"
	if freeze {
		value = "1"
	}
	return writeStep(KindFreeze, filepath.Join(h.Dir(path), "cgroup.freeze"), value, why)
}

func legacyFreeze(file, why string, freeze bool) steps.Step {
	value := "THAWED"
	if freeze {
		value = "FROZEN"
	}
	if freeze {
		why += " On version 1 it is written again until none has slipped through."
	}
	s := writeStep(KindFreeze, file, value, why)
	s.Man = "kernel Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst"
	return s
}
