//go:build manpage

package main

import (
	"fmt"
	"os"
)

// Built with the tag manpage, this program writes its manual page and ends. So the
// page comes from the definitions that the command line is read by, and minidock
// itself carries nothing of it.
func init() {
	app := application()
	prepare(app)
	if err := writeManPage(os.Stdout, app); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
