package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// encode writes state as a person can read it.
func encode(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

// writeStep tells how [steps.ReplaceFile] writes a file.
func writeStep(path string, text []byte, synced bool) steps.Step {
	s := steps.Step{
		Kind: kindFile, Target: path,
		Call: []string{
			fmt.Sprintf("openat(AT_FDCWD, %q, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600)", path+steps.PartSuffix),
			fmt.Sprintf("write(%q, %q)", path+steps.PartSuffix, text),
		},
		Shell: []string{"printf " + steps.ShellQuote(escape(string(text))) + " > " + steps.ShellQuote(path+steps.PartSuffix)},
		See:   "cat " + steps.ShellQuote(path), Man: "rename(2)",
	}
	if synced {
		s.Call = append(s.Call, fmt.Sprintf("fsync(%q)", path+steps.PartSuffix))
		s.Shell = append(s.Shell, "sync "+steps.ShellQuote(path+steps.PartSuffix))
		s.Man = "rename(2), fsync(2)"
	}
	s.Call = append(s.Call, fmt.Sprintf("renameat(AT_FDCWD, %q, AT_FDCWD, %q)", path+steps.PartSuffix, path))
	s.Shell = append(s.Shell, "mv "+steps.ShellQuote(path+steps.PartSuffix)+" "+steps.ShellQuote(path))
	return s
}

// lock makes this process the only one that makes, removes or mends networks, until
// release is called; the kernel drops the lock of a process that dies (flock(2)).
func (s *Store) lock() (release func(), err error) {
	dir := filepath.Join(s.place.Run, "networks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, translate(s.place, fmt.Errorf("lock networks: %w", err))
	}
	f, err := os.OpenFile(filepath.Join(s.place.Run, "networks.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, translate(s.place, fmt.Errorf("lock networks: %w", err))
	}
	if err := flock(int(f.Fd())); err != nil {
		return nil, errors.Join(fmt.Errorf("lock networks: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// translate turns what the kernel refuses into what the person can do about it;
// faults and other errors pass.
func translate(p Place, err error) error {
	var fault *steps.Fault
	switch {
	case errors.As(err, &fault):
		return err
	case errors.Is(err, fs.ErrPermission):
		return &steps.Fault{
			Msg:  "the networks below " + p.Root + " are not yours to use: permission denied",
			Hint: "Run it as root (sudo): networks are the host's links and firewall rules.", Err: err,
		}
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &steps.Fault{
			Msg:  "no space left for the network below " + p.Root,
			Hint: fmt.Sprintf("Free some space there (`df -h %s` shows it), or choose another place with --root.", p.Root), Err: err,
		}
	}
	return err
}
