// Package apart runs a benchmark in a network namespace that ends with it: links,
// rules and sysctls of the machine are not for benchmarks.
package apart

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Word is the verb of a program that is apart already.
const Word = "apart"

// Again runs this program once more, with the verb [Word] and these arguments, in a new
// network namespace whose loopback link is up. It is told to end with the context.
func Again(ctx context.Context, args []string, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	script := []string{"-c", `ip link set lo up && exec "$@"`, "sh", self, Word}
	cmd := exec.CommandContext(ctx, "sh", slices.Concat(script, args)...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("measure in a network namespace of its own: %w", err)
	}
	return nil
}
