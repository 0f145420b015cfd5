package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// Resident is a running container on a network, as RUN/networks/NAME/ID.json tells
// the other containers' resolvers.
type Resident struct {
	ID, Name, Hostname string
	Aliases            []string
	Address            netip.Addr
	MAC                string
}

// KindResident tells the other containers' resolvers of a running container; its
// undo takes the file away.
const KindResident steps.Kind = "resident"

func residentFile(place Place, network, id string) string {
	return filepath.Join(residentsDir(place, network), id+residentSuffix)
}

// PublishResident tells everybody on the network of a container that runs. Doing
// it again, with other aliases, replaces what was told before.
func PublishResident(ledger *steps.Ledger, place Place, network string, r Resident) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode resident: %w", err)
	}
	text = append(text, '\n')
	path := residentFile(place, network, r.ID)
	dir, part := filepath.Dir(path), partial(path)
	step := steps.Step{
		Kind: KindResident, Target: path,
		Why: "Tell the resolvers of the other containers on this network: each looks before it answers whether this directory has changed, and a file that is moved into it is there at once and whole.",
		Call: []string{
			fmt.Sprintf("openat(AT_FDCWD, %q, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600)", part),
			fmt.Sprintf("write(%q, %q)", part, text),
			fmt.Sprintf("renameat(AT_FDCWD, %q, AT_FDCWD, %q)", part, path),
		},
		Shell: []string{
			"printf " + steps.ShellQuote(escape(string(text))) + " > " + steps.ShellQuote(part),
			"mv " + steps.ShellQuote(part) + " " + steps.ShellQuote(path),
		},
		Undo: "rm " + steps.ShellQuote(path),
		See:  "cat " + steps.ShellQuote(dir) + "/*" + residentSuffix,
		Man:  "rename(2), inode(7)",
	}
	if !exists(dir) {
		step.Call = append([]string{fmt.Sprintf("mkdirat(AT_FDCWD, %q, 0700)", dir)}, step.Call...)
		step.Shell = append([]string{"mkdir -p -m 700 " + steps.ShellQuote(dir)}, step.Shell...)
	}
	return ledger.Do(step, func() error { return replaceResident(path, text) })
}

// partial is always the same for a file, so that what a killed writer left is found.
func partial(path string) string { return path + steps.PartSuffix }

// replaceResident makes the network's directory with its first resident; while it
// does, the last one before may take the directory away again.
func replaceResident(path string, text []byte) error {
	for range 100 {
		// It may see the directory and then not find it.
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err := os.WriteFile(partial(path), text, 0o600)
		if err == nil {
			return os.Rename(partial(path), path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("write %s: its directory is taken away again and again", path)
}

// undoResident removes the file, and with the last one the directory.
func undoResident(path string) error {
	if !strings.HasSuffix(path, residentSuffix) {
		return fmt.Errorf("undo resident: %q is no resident's file", path)
	}
	for _, file := range []string{path, partial(path)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	err := unix.Rmdir(filepath.Dir(path))
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// DNSUndos are the undos of the steps around the resolver.
func DNSUndos() steps.Undos { return steps.Undos{KindResident: undoResident} }

// WithdrawResident takes back what [PublishResident] told before the run ends.
func WithdrawResident(ledger *steps.Ledger, place Place, network, id string) error {
	return ledger.TakeBack(Undos(), KindResident, residentFile(place, network, id))
}

// Residents lists who runs on a network, by their IDs; see [Resident].
func (s *Store) Residents(network string) ([]Resident, error) {
	files, err := readResidents(residentsDir(s.place, network))
	return sortResidents(files), err
}
