package runtime

import (
	"errors"
	"os"
	"strings"

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

// explainStart finds the true cause in libcontainer's chain of contexts and
// gives it Docker's exit status: 127 not found, 126 found but can't run.
func explainStart(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, cause := range startCauses() {
		at := strings.Index(text, cause.begins)
		if at >= 0 && strings.Contains(text[at:], cause.holds) {
			return &steps.Fault{Msg: text[at:], Hint: cause.hint, Code: cause.code, Err: err}
		}
	}
	return err
}

// startCause is a mistake that only shows once the container is being made: a
// message that begins and goes on like this, what to do, and the exit status.
type startCause struct {
	begins, holds, hint string
	code                int
}

// startCauses is read from top to bottom; the last line of a program is for
// whatever else exec says of it.
func startCauses() []startCause {
	const look = "Look for the program in the image: it needs a path, or a place in the image's PATH."
	return []startCause{
		{`exec: "`, "not found", look, 127},
		{`exec: "`, "no such file", look, 127},
		{`exec: "`, "", "Make it an executable file in the image (chmod +x).", 126},
		{"mkdir ", "not a directory", "Choose a --workdir that is a directory in the image, or not there yet.", 125},
		{"chdir to cwd", "", "Choose a --workdir that the container's user may enter.", 126},
		{"procReady not received", "", "The runtime's own init needs more than the --ulimit leaves it: try nofile=64 or more, and as=1g or more.", 125},
		{"error setting rlimits", "operation not permitted", "Only a process with CAP_SYS_RESOURCE can raise a hard limit: see `minidock doctor`, and lower the --ulimit.", 125},
		{"capset", "operation not permitted", "minidock itself lacks a capability that was asked for: see `minidock doctor`.", 125},
	}
}
