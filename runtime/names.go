package runtime

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/minidock/minidock/steps"
)

// namePattern is what Docker accepts as a container name.
const namePattern = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

var adjectives = [...]string{
	"agile", "amber", "bold", "brave", "brisk", "calm", "candid", "clever", "cosmic", "crisp",
	"daring", "deft", "eager", "earnest", "fair", "fleet", "fond", "gentle", "glad", "golden",
	"hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucid", "merry", "mighty",
	"modest", "neat", "nimble", "noble", "patient", "placid", "plucky", "polite", "proud", "quick",
	"quiet", "ready", "serene", "sharp", "sincere", "steady", "sunny", "swift", "tidy", "vivid",
}

var surnames = [...]string{
	"allen", "backus", "bartik", "boole", "cerf", "chomsky", "church", "clarke", "codd", "corbato",
	"dijkstra", "engelbart", "floyd", "goldberg", "hamming", "hamilton", "hoare", "hopper", "iverson", "johnson",
	"kahn", "karels", "kay", "kernighan", "kleene", "knuth", "lamport", "liskov", "lovelace", "mccarthy",
	"mcilroy", "mckusick", "metcalfe", "milner", "minsky", "naur", "noether", "ousterhout", "perlis", "perlman",
	"pike", "ritchie", "shannon", "spafford", "stevens", "tarjan", "thompson", "turing", "wilkes", "wirth",
}

// randomName makes a name of the form adjective_surname.
func randomName() string { return pick(adjectives[:]) + "_" + pick(surnames[:]) }

// freeName makes a random name that nobody has at this moment; after some tries
// it adds a number, as Docker does.
func freeName(l Layout) string {
	name := randomName()
	for try := 0; taken(l, name); try++ {
		name = randomName()
		if try >= 5 {
			name += fmt.Sprint(try)
		}
	}
	return name
}

func taken(l Layout, name string) bool {
	_, err := os.Lstat(filepath.Join(l.Names(), name))
	return err == nil
}

func pick(list []string) string {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(len(list))))
	if err != nil {
		return list[0]
	}
	return list[n.Int64()]
}

// newID makes 64 random hex digits, 256 bits as Docker has them.
func newID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// short is how an ID is shown: its first 12 digits.
func short(id string) string { return id[:min(12, len(id))] }

func checkName(name string) error {
	if regexp.MustCompile("^" + namePattern + "+$").MatchString(name) {
		return nil
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("Invalid container name (%s), only %s are allowed", name, namePattern),
		Hint: "Use letters, digits, '_', '.' and '-', at least two characters, the first a letter or digit.",
		Code: 125,
	}
}

// reserveName is the step that takes a name: one symbolic link, made by one
// system call that fails when the name is taken.
func reserveName(l Layout, ledger *steps.Ledger, name, id string) error {
	link := filepath.Join(l.Names(), name)
	if err := os.MkdirAll(l.Names(), 0o700); err != nil {
		return fmt.Errorf("make name directory: %w", err)
	}
	target := filepath.Join("..", "containers", id)
	return ledger.Do(steps.Step{
		Kind: "name", Target: link + heldBy + id, Lifetime: steps.Kept,
		Why:   "Take the container's name: making a symbolic link fails if the name is taken, so no two containers can get it, however close their start.",
		Call:  []string{fmt.Sprintf("symlinkat(%q, AT_FDCWD, %q)", target, link)},
		Shell: []string{"ln -s " + target + " " + link},
		Undo:  "rm " + link,
		See:   "ls -l " + link,
		Man:   "symlink(2)",
	}, func() error {
		err := os.Symlink(target, link)
		if errors.Is(err, fs.ErrExist) && abandoned(l, link) {
			err = errors.Join(os.Remove(link), os.Symlink(target, link))
		}
		if errors.Is(err, fs.ErrExist) {
			return nameTaken(link)
		}
		return err
	})
}

// heldBy joins a name's link and its holder in a step's target, so that the
// undo never takes a name that another container holds.
const heldBy = " -> "

// undoName gives a name back if this container is the one that holds it.
func undoName(target string) error {
	at := strings.LastIndex(target, heldBy)
	if at < 0 {
		return fmt.Errorf("undo name: %q has no holder", target)
	}
	link, id := target[:at], target[at+len(heldBy):]
	if holder, err := os.Readlink(link); err != nil || filepath.Base(holder) != id {
		return nil
	}
	return os.Remove(link)
}

// abandoned says whether the name's holder has no directory: a power cut took it.
func abandoned(l Layout, link string) bool {
	holder, err := os.Readlink(link)
	if err != nil {
		return false
	}
	_, err = os.Stat(l.Container(filepath.Base(holder)))
	return errors.Is(err, fs.ErrNotExist)
}

func nameTaken(link string) error {
	holder, _ := os.Readlink(link)
	name := filepath.Base(link)
	return &steps.Fault{
		Msg: fmt.Sprintf("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.",
			"/"+name, filepath.Base(holder)),
		Hint: "Remove it with `minidock rm " + name + "`, or choose another --name.",
		Code: 125,
	}
}
