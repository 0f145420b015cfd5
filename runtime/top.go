package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/minidock/minidock/cgroups"
	"github.com/minidock/minidock/steps"
)

// Processes is what `top` shows: a table of the host's ps, with the container's
// processes only.
type Processes struct {
	Titles []string
	Rows   [][]string
}

// Top runs the host's ps with these options (none: -ef) and picks the processes
// of a running container.
func Top(l Layout, ref string, options []string) (Processes, error) {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	if err := checkPsOptions(strings.Join(options, " ")); err != nil {
		return Processes{}, err
	}
	c, err := Find(l, ref)
	if err != nil {
		return Processes{}, err
	}
	if err := c.needProgram(); err != nil {
		return Processes{}, err
	}
	pids, err := c.processes()
	if err != nil {
		return Processes{}, err
	}
	text, err := runPs(options, pids)
	if err != nil {
		return Processes{}, err
	}
	table, err := pickProcesses(text, pids)
	if err == nil {
		c.emit("top", nil)
	}
	return table, err
}

// processes are those in the container's cgroup; without one, init and who
// descends from it.
func (c *Container) processes() ([]int, error) {
	host, err := cgroups.Probe()
	if err != nil {
		return nil, err
	}
	pids, err := host.Members(c.layout.CgroupPath(c.Config.ID))
	if err != nil || len(pids) > 0 {
		return pids, err
	}
	return descendants(c.Live.Pid), nil
}

// descendants finds a process and its children's children, by /proc/PID/stat,
// field 4 (proc_pid_stat(5)).
func descendants(root int) []int {
	children := map[int][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // It has ended.
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, err1 := strconv.Atoi(filepath.Base(dir))
		if len(fields) < 2 || err1 != nil {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	slices.Sort(all)
	return all
}

// checkPsOptions refuses a column that is called PID and is none, as Docker does:
// rows are picked by it.
func checkPsOptions(options string) error {
	for _, renamed := range regexp.MustCompile(`\s+(\S*)=\s*(PID\S*)`).FindAllStringSubmatch(options, -1) {
		if renamed[1] != "pid" {
			return &steps.Fault{
				Msg:  fmt.Sprintf("specifying \"%s=%s\" is not allowed", renamed[1], renamed[2]),
				Hint: "Only the column pid may be called PID.",
			}
		}
	}
	return nil
}

// runPs asks for these processes; some options (f) don't go together with -q, and
// then for all.
func runPs(options []string, pids []int) (string, error) {
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	// A word of options may itself hold several, as in Docker.
	words := strings.Split(strings.Join(options, " "), " ")
	text, err := exec.Command("ps", append(slices.Clone(words), "-q"+strings.Join(list, ","))...).Output()
	if err != nil {
		text, err = exec.Command("ps", words...).Output()
	}
	return string(text), explainPs(err)
}

func explainPs(err error) error {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound):
		return &steps.Fault{Msg: "there is no ps on this machine", Hint: "Install it: apt-get install procps", Err: err}
	case errors.As(err, &ended):
		if line, _, _ := strings.Cut(string(ended.Stderr), "\n"); line != "" {
			return &steps.Fault{Msg: "ps: " + strings.TrimPrefix(line, "ps: "), Hint: "The options are those of the host's ps(1).", Err: err}
		}
	}
	return fmt.Errorf("ps: %w", err)
}

// pickProcesses reads the output of ps: a line of titles, then a row for each
// process, and, with the option m, one for each thread, whose PID is "-".
func pickProcesses(text string, pids []int) (Processes, error) {
	lines := strings.Split(text, "\n")
	table := Processes{Titles: fieldsASCII(lines[0])}
	at := slices.Index(table.Titles, "PID")
	if at < 0 {
		return Processes{}, &steps.Fault{Msg: "Couldn't find PID field in ps output", Hint: "Let ps show the column pid, too."}
	}
	picked := false
	for _, line := range lines[1:] {
		fields := fieldsASCII(line)
		if len(fields) <= at {
			continue
		}
		if fields[at] != "-" {
			pid, err := strconv.Atoi(fields[at])
			if err != nil {
				return Processes{}, &steps.Fault{Msg: fmt.Sprintf("Unexpected pid '%s': %v", fields[at], err), Hint: "Let ps show no other column called PID.", Err: err}
			}
			picked = slices.Contains(pids, pid)
		}
		if picked {
			table.Rows = append(table.Rows, joinLast(fields, len(table.Titles)))
		}
	}
	return table, nil
}

// joinLast makes one field of the last ones: a command has spaces of its own.
func joinLast(fields []string, count int) []string {
	if len(fields) <= count {
		return fields
	}
	return append(slices.Clone(fields[:count-1]), strings.Join(fields[count-1:], " "))
}

// fieldsASCII leaves alone the other spaces that Unicode knows: they are part of
// a command line.
func fieldsASCII(line string) []string {
	return strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("\t\n\v\f\r ", r) })
}
