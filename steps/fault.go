package steps

import "errors"

// Fault is an error meant for the person at the terminal: what is wrong in one
// line, and what to do about it in another.
type Fault struct {
	// Msg says what is wrong.
	Msg string `json:"message"`
	// Hint says what to do; empty where there is nothing to be done.
	Hint string `json:"hint,omitempty"`
	// Code is the exit status asked for (Docker's 125, 126, 127); 0 leaves it
	// to the verb.
	Code int `json:"code,omitempty"`
	// Err is the cause, not part of the message.
	Err error `json:"-"`
}

// Error returns the message without the hint.
func (f *Fault) Error() string { return f.Msg }

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

// HintOf returns the hint of the outermost Fault in err's chain that has one.
func HintOf(err error) string {
	var f *Fault
	for errors.As(err, &f) {
		if f.Hint != "" {
			return f.Hint
		}
		err = f.Err
	}
	return ""
}

// CodeOf returns the exit status that err's chain asks for, or fallback.
func CodeOf(err error, fallback int) int {
	var f *Fault
	for errors.As(err, &f) {
		if f.Code != 0 {
			return f.Code
		}
		err = f.Err
	}
	return fallback
}
