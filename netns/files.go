package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/minidock/minidock/steps"
)

// Files are the names under which [NameFiles.Write] leaves its files, and where the
// container sees them.
func Files() map[string]string {
	return map[string]string{"hostname": "/etc/hostname", "hosts": HostHosts, "resolv.conf": HostResolvConf}
}

// NameFiles are the texts of hostname(5), hosts(5) and resolv.conf(5) for one
// container; [Names] makes them.
type NameFiles struct {
	Hostname, Hosts, ResolvConf string

	hostsWhy, resolvWhy string
}

// Write writes the files into a container's directory, which takes them along when
// it is removed. Those that are there already are written over in place: a running
// container has them mounted, and would go on seeing a file that was replaced.
func (f NameFiles) Write(ledger *steps.Ledger, dir string) error {
	for _, file := range []struct{ name, text, why string }{
		{"hostname", f.Hostname, "Write the file that names the container, as hostname(5) has it."},
		{"hosts", f.Hosts, f.hostsWhy},
		{"resolv.conf", f.ResolvConf, f.resolvWhy},
	} {
		if err := writeFile(ledger, filepath.Join(dir, file.name), file.text, file.why); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(ledger *steps.Ledger, path, text, why string) error {
	return ledger.Do(steps.Step{
		Kind: "file", Target: path, Lifetime: steps.Kept,
		Why:   why,
		Call:  []string{fmt.Sprintf("openat(AT_FDCWD, %q, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0644)", path), fmt.Sprintf("write(%q, %q)", path, text)},
		Shell: []string{"printf " + steps.ShellQuote(escape(text)) + " > " + path},
		See:   "cat " + path,
		Man:   "hostname(5), hosts(5), resolv.conf(5)",
	}, func() error { return os.WriteFile(path, []byte(text), 0o644) })
}

// escape writes text on one line as printf(1) reads it.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, "%", "%%", "\n", `\n`, "\t", `\t`).Replace(text)
}

// Hosts is the text of /etc/hosts for a container without an address of its own.
func Hosts() string {
	return `127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
`
}
