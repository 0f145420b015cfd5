package runtime

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// explainDiskFull gives a full disk its own message and hint; other errors pass.
func explainDiskFull(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &steps.Fault{
			Msg:  "no space left for minidock's state: " + err.Error(),
			Hint: "Free some space (`df -h`, `minidock system cleanup`), or choose another place with --root.",
			Err:  err,
		}
	}
	return err
}

// needRoot refuses to begin what the kernel would refuse later.
func needRoot() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &steps.Fault{
		Msg:  "minidock needs root to make namespaces, mounts and cgroups",
		Hint: "Run it with sudo; or, without root on this machine, in the lab VM: make demo VM=1",
		Code: 125,
	}
}
