package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// checkOutput refuses a path at which nothing can be written, as Docker does: its
// directory has to be there, and it may not be a device. "" and "-" are stdout.
func checkOutput(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	dir := filepath.Dir(filepath.Clean(path))
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return &steps.Fault{Msg: fmt.Sprintf("invalid output path: directory %q does not exist", dir), Hint: "Make it first: mkdir -p " + steps.ShellQuote(dir)}
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode()&(fs.ModeDevice|fs.ModeIrregular) != 0 {
		return &steps.Fault{Msg: fmt.Sprintf("invalid output path: %q must be a directory or a regular file: got a device", path), Hint: "Use - for stdout where a stream is meant."}
	}
	return nil
}

// intoFile has a file written that appears as a whole at its end, or not at all;
// "" is stdout.
func intoFile(path string, write func(io.Writer) error) error {
	if path == "" {
		return write(os.Stdout)
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer file.Cleanup() //nolint:errcheck // nothing is left to be cleaned up after a success
	if err := write(file); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

// interruptible lets an act take back what it made when the user interrupts it,
// or nobody reads its output any more. The exit status is that of the signal.
func interruptible(act func(context.Context) error) error {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	defer signal.Stop(caught)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		if s, ok := <-caught; ok {
			cancel(exitStatus(128 + int(s.(syscall.Signal))))
		}
	}()
	return act(ctx)
}

// isTerminalFile says whether a file is a terminal.
func isTerminalFile(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
