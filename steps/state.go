package steps

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// ReadState reads a state file, which is JSON. Of one that can't be understood the
// fault names the file and the line; that it is not there is [fs.ErrNotExist].
func ReadState(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return Damaged(path, fmt.Sprintf("line %d: %v", LineOf(err, text), err))
	}
	return nil
}

// Damaged is the fault of a state file that does not hold what it should.
func Damaged(path, what string) error {
	return &Fault{
		Msg:  fmt.Sprintf("read state %s: %s", path, what),
		Hint: "The file was cut short or edited; mend it, or remove the directory that it is in.",
	}
}

// LineOf turns the byte offset of a JSON error into a line number.
func LineOf(err error, text []byte) int {
	var offset int64
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &mismatch):
		offset = mismatch.Offset
	}
	return 1 + bytes.Count(text[:min(int(offset), len(text))], []byte("\n"))
}

// PartSuffix ends the name of a state file that is still being written.
const PartSuffix = ".part"

// ReplaceFile writes a state file as a whole: readers see the old or the new text,
// never a part. It is written beside the file, under a name that is always the same:
// what a killed writer leaves, the next one overwrites. A synced one survives a power
// cut.
func ReplaceFile(path string, text []byte, synced bool) error {
	f, err := os.OpenFile(path+PartSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && synced {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+PartSuffix))
	}
	return os.Rename(path+PartSuffix, path)
}
