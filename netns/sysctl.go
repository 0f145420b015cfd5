package netns

import (
	"fmt"
	"os"
	"strings"

	"github.com/minidock/minidock/steps"
)

// sysctlFile is where /proc shows a setting. Link names may hold dots, but no
// slashes: in them a dot is written as a slash, as sysctl(8) has it.
func sysctlFile(name string) string {
	return "/proc/sys/" + strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// linkSysctl is the name of a link's setting.
func linkSysctl(family, link, setting string) string {
	return "net." + family + ".conf." + strings.ReplaceAll(link, ".", "/") + "." + setting
}

// writeSysctl is the step that writes a setting of the calling thread's network
// namespace. inside leads a shell there; "" is the host's.
func writeSysctl(ledger *steps.Ledger, inside, name, value, why string) error {
	return ledger.Do(sysctlStep(KindSysctl, inside, name, value, why), func() error { return setSysctl(name, value) })
}

func sysctlStep(kind steps.Kind, inside, name, value, why string) steps.Step {
	file := sysctlFile(name)
	return steps.Step{
		Kind: kind, Target: name, Why: why,
		Call:  []string{fmt.Sprintf("write(%q, %q)", file, value)},
		Shell: []string{inside + "sysctl -w " + name + "=" + value},
		See:   inside + "sysctl " + name, Man: "kernel Documentation/networking/ip-sysctl.rst",
	}
}

func setSysctl(name, value string) error {
	f, err := os.OpenFile(sysctlFile(name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open sysctl: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("write sysctl: %w", err)
	}
	return nil
}

// sysctl reads a setting; one that the kernel lacks is "".
func sysctl(name string) string {
	text, _ := os.ReadFile(sysctlFile(name))
	return strings.TrimSpace(string(text))
}
