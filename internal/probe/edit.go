package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// edit changes files as its words say, one after the other.
func edit(words []string) error {
	if len(words) == 0 {
		return usage("usage: edit DIR/|FILE=TEXT|LINK->TARGET|-PATH|wait…")
	}
	for _, word := range words {
		if err := editOne(word); err != nil {
			return err
		}
	}
	return nil
}

func editOne(word string) error {
	if path, found := strings.CutPrefix(word, "-"); found {
		return os.RemoveAll(path)
	}
	if link, target, found := strings.Cut(word, "->"); found {
		return os.Symlink(target, link)
	}
	if path, text, found := strings.Cut(word, "="); found {
		return os.WriteFile(path, []byte(text), 0o644)
	}
	if word == "wait" {
		return ignoreTerm(nil)
	}
	return os.MkdirAll(word, 0o755)
}

// swap makes a directory at PATH and a symbolic link beside it, and lets them
// change places again and again, each time at once (renameat2(2)).
func swap(args []string) error {
	if len(args) != 2 {
		return usage("usage: swap PATH TARGET")
	}
	path, link := filepath.Clean(args[0]), filepath.Clean(args[0])+".link"
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(args[1], link); err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
			return err
		}
	}
}
