package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminal says what its terminal is like, and what comes from there.
func terminal([]string) error {
	changes, endings := make(chan os.Signal, 8), endings()
	signal.Notify(changes, unix.SIGWINCH)
	if err := saySize("terminal"); err != nil {
		return err
	}
	lines := typed()
	for {
		select {
		case <-changes:
			if err := saySize("resized"); err != nil {
				return err
			}
		case s := <-endings:
			return endedBy(s)
		case line, more := <-lines:
			if !more || line == "bye" {
				return nil
			}
			fmt.Println("line", line)
		}
	}
}

// saySize fails where standard input is no terminal.
func saySize(what string) error {
	size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err != nil {
		return fmt.Errorf("read size of terminal: %w", err)
	}
	name, err := os.Readlink("/proc/self/fd/0")
	if err != nil {
		return err
	}
	fmt.Printf("%s %s %dx%d\n", what, name, size.Row, size.Col)
	return nil
}

func typed() <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	return lines
}
