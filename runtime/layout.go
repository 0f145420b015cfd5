package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// DefaultRoot is where persistent state lives unless --root says otherwise.
const DefaultRoot = "/var/lib/minidock"

// Layout names every place outside a container. docs/layout.md describes them.
type Layout struct {
	// Root holds what outlives a reboot.
	Root string
	// Run holds what dies with it; a tmpfs.
	Run string
	// Instance names kernel objects of this root (cgroup, later bridges and
	// tables), so that several roots never meet.
	Instance string
}

// LayoutOf derives the layout from the root directory. The default root has the
// bare names; any other carries a hash of its path, so that tests and a real
// installation run side by side.
func LayoutOf(root string) (Layout, error) {
	if root == "" {
		root = DefaultRoot
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return Layout{}, &steps.Fault{Msg: "resolve --root " + root, Hint: "Give an existing working directory or an absolute path.", Err: err}
	}
	instance := "minidock"
	if abs != DefaultRoot {
		sum := sha256.Sum256([]byte(abs))
		// 4 bytes: short enough for a 15-character link name (IFNAMSIZ), long
		// enough that two roots of one machine do not meet.
		instance += "-" + hex.EncodeToString(sum[:4])
	}
	return Layout{Root: abs, Run: "/run/" + instance, Instance: instance}, nil
}

// Containers is the directory that holds one directory per container.
func (l Layout) Containers() string { return filepath.Join(l.Root, "containers") }

// Container is the directory of one container.
func (l Layout) Container(id string) string { return filepath.Join(l.Containers(), id) }

// Names is the directory of names: symbolic links to container IDs.
func (l Layout) Names() string { return filepath.Join(l.Root, "names") }

// RunContainer is the directory of what belongs to one container and dies with
// the boot; a flock on it is the container's lock.
func (l Layout) RunContainer(id string) string { return filepath.Join(l.Run, "containers", id) }

// Libcontainer is the directory in which libcontainer keeps its own state.
func (l Layout) Libcontainer() string { return filepath.Join(l.Run, "libcontainer") }

// Ledger names the two ledger files of a container or an import.
func (l Layout) Ledger(id string) steps.Paths {
	return steps.Paths{
		Boot: filepath.Join(l.Run, "ledgers", id+".jsonl"),
		Kept: filepath.Join(l.Root, "ledgers", id+".jsonl"),
	}
}

// CgroupPath is the container's group below the cgroup mount point.
func (l Layout) CgroupPath(id string) string { return "/" + l.Instance + "/" + id }

// Networks names a store for the networks of this root.
func (l Layout) Networks() *netns.Store { return netns.Open(l.place()).WithPublished(l.published) }

func (l Layout) place() netns.Place {
	return netns.Place{Root: l.Root, Run: l.Run, Instance: l.Instance}
}

// NetworkNamespace is the file that names a container's network namespace.
func (l Layout) NetworkNamespace(id string) string { return filepath.Join(l.Run, "netns", id) }
