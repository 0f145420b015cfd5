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

// maxName is the length of the longest name of a file, in bytes (NAME_MAX of
// linux/limits.h): names are links.
const maxName = 255

func checkName(name string) error {
	fits := regexp.MustCompile("^" + namePattern + "+$").MatchString(name)
	if fits && len(name) > maxName {
		return &steps.Fault{Msg: fmt.Sprintf("Invalid container name: %d characters", len(name)), Hint: fmt.Sprintf("Use at most %d.", maxName), Code: 125}
	}
	if fits {
		return nil
	}
	return &steps.Fault{
		Msg:  fmt.Sprintf("Invalid container name (%s), only %s are allowed", name, namePattern),
		Hint: "Use letters, digits, '_', '.' and '-', at least two characters, the first a letter or digit.",
		Code: 125,
	}
}

// takeName takes the container's name. Where it was drawn, and another container has got
// it since, another one is drawn.
func (c *Container) takeName(ledger *steps.Ledger) error {
	for {
		err := reserveName(c.layout, ledger, c.Config.Name, c.Config.ID)
		if !c.unnamed || !errors.Is(err, fs.ErrExist) {
			return err
		}
		c.Config.Name = freeName(c.layout)
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
		Kind: kindName, Target: link + heldBy + id, Lifetime: steps.Kept,
		Why:   "Take the container's name: making a symbolic link fails if the name is taken, so no two containers can get it, however close their start.",
		Call:  []string{fmt.Sprintf("symlinkat(%q, AT_FDCWD, %q)", target, link)},
		Shell: []string{"ln -s " + target + " " + link},
		Undo:  "rm " + link,
		See:   "ls -l " + link,
		Man:   "symlink(2)",
	}, func() error {
		err := os.Symlink(target, link)
		if held, _ := os.Readlink(link); held == target {
			return nil // Perhaps from a rename that was killed.
		}
		if errors.Is(err, fs.ErrExist) && abandoned(l, link) {
			err = errors.Join(os.Remove(link), os.Symlink(target, link))
		}
		if errors.Is(err, fs.ErrExist) {
			return nameTaken(link)
		}
		return err
	})
}

// kindName is the kind of the step that takes a name.
const kindName steps.Kind = "name"

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

// abandoned says whether a name counts for nothing: a power cut took its holder,
// or a rename was killed half-way and the holder has another name.
func abandoned(l Layout, link string) bool {
	target, err := os.Readlink(link)
	if err != nil {
		return false
	}
	id := filepath.Base(target)
	if _, err := os.Stat(l.Container(id)); errors.Is(err, fs.ErrNotExist) {
		return true
	}
	c, err := load(l, id)
	return err == nil && c.Config.Name != filepath.Base(link) && !locked(l, id)
}

// strayNames lists the links that are abandoned.
func strayNames(l Layout) []string {
	entries, _ := os.ReadDir(l.Names()) // Where it is missing there are none.
	var stray []string
	for _, e := range entries {
		if link := filepath.Join(l.Names(), e.Name()); abandoned(l, link) {
			stray = append(stray, link)
		}
	}
	return stray
}

func nameTaken(link string) error {
	holder, _ := os.Readlink(link)
	name := filepath.Base(link)
	return &steps.Fault{
		Msg: fmt.Sprintf("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.",
			"/"+name, filepath.Base(holder)),
		Hint: "Remove it with `minidock rm " + name + "`, or choose another --name.",
		Code: 125, Err: fs.ErrExist,
	}
}

// rename gives the container another name: the new one is taken first, then it is
// the container's, then the old one is given back. Whoever is killed in between
// leaves a link that is not the container's name, which counts for nothing.
func (c *Container) rename(ledger *steps.Ledger, name string) error {
	old := c.Config.Name
	if err := reserveName(c.layout, ledger, name, c.Config.ID); err != nil {
		return err
	}
	c.Config.Name = name
	if err := c.saveConfig(); err != nil {
		c.Config.Name = old
		return errors.Join(err, ledger.TakeBack(Undos(), kindName, c.nameTarget(name)))
	}
	err := ledger.TakeBack(Undos(), kindName, c.nameTarget(old))
	c.emit("rename", map[string]string{"oldName": "/" + old})
	return err
}

// nameTarget is the target of the step that took a name.
func (c *Container) nameTarget(name string) string {
	return filepath.Join(c.layout.Names(), name) + heldBy + c.Config.ID
}
