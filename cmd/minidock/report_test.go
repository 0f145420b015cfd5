package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

func TestErrorsAboutFilesHaveAHint(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("list containers: %w", &fs.PathError{Op: "open", Path: "/etc/passwd/x", Err: unix.ENOTDIR}), "minidock: list containers: open /etc/passwd/x: not a directory\n  hint: A part of that path is a file, not a directory.\n"},
		{&os.LinkError{Op: "symlink", Old: "a", New: "b", Err: unix.ENAMETOOLONG}, "minidock: symlink a b: file name too long\n  hint: The kernel takes at most 255 bytes for a name, and 4096 for a path.\n"},
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: unix.ENOSPC}, "minidock: write /dev/stdout: no space left on device\n  hint: Where that is written to is full: see df -h.\n"},
		// A hint of its own is better; and what the kernel says of other things is not about files.
		{&steps.Fault{Msg: "no", Hint: "Do.", Err: &fs.PathError{Op: "open", Path: "x", Err: unix.ENOENT}}, "minidock: no\n  hint: Do.\n"},
		{fmt.Errorf("list tables: %w", unix.ENOENT), "minidock: list tables: no such file or directory\n"},
	} {
		var said bytes.Buffer
		report(&said, c.err)
		if said.String() != c.want {
			t.Errorf("%q, want %q", &said, c.want)
		}
	}
}
