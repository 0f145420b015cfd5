package images

import (
	"io/fs"
	"syscall"
)

// statOf is what lstat(2) said; on Linux every FileInfo of a real file has it.
func statOf(info fs.FileInfo) *syscall.Stat_t {
	return info.Sys().(*syscall.Stat_t)
}

// nameless keeps the archive writer from looking up users and groups: only their
// numbers mean anything in an image.
type nameless struct{ fs.FileInfo }

// Uname gives no name.
func (nameless) Uname() (string, error) { return "", nil }

// Gname gives no name.
func (nameless) Gname() (string, error) { return "", nil }
