package netns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/minidock/minidock/steps"
)

// AddHostsLines adds the container's names at its addresses, as these settings give
// them, to the hosts(5) in its directory. What else the file holds stays: somebody
// may have edited it from inside.
func (n Names) AddHostsLines(ledger *steps.Ledger, dir string) error {
	return changeHosts(ledger, dir, "Add the container's name at its new address to the static names.",
		func(text string) string { return text + n.ownLines() })
}

// RemoveHostsLines takes the lines of one address out of the hosts(5) in a
// container's directory.
func RemoveHostsLines(ledger *steps.Ledger, dir string, address netip.Addr) error {
	return changeHosts(ledger, dir, "Take the address that the container has no more out of the static names.",
		func(text string) string { return withoutAddress(text, address.String()) })
}

// changeHosts writes the file in place: a running container has it mounted.
func changeHosts(ledger *steps.Ledger, dir, why string, change func(string) string) error {
	path := filepath.Join(dir, "hosts")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read static names: %w", err)
	}
	return writeFile(ledger, path, change(string(text)), why)
}

func withoutAddress(text, address string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 0 || fields[0] != address {
			b.WriteString(line)
		}
	}
	return b.String()
}
