// Package strace reads the logs of strace(1). It is for tests.
package strace

import (
	"fmt"
	"strconv"
	"strings"
)

// Call is one system call of an strace log, from its beginning to its end.
type Call struct {
	// Line is where in the log it began, from 1: calls are compared by it.
	Line int
	// End is the line at which it returned: that of its beginning, unless something
	// came in between; 0 where its thread ended first.
	End int
	// Thread is the one that made it.
	Thread int
	Name   string
	// Args are its arguments as strace writes them.
	Args []string
	// Result is what it returned, "?" where it did not return.
	Result string
	// Path is what strace's -y says of a returned file descriptor.
	Path string
	// Errno is the name of its error; empty when it succeeded.
	Errno string
}

func (c Call) String() string {
	return fmt.Sprintf("%s(%s) = %s %s", c.Name, strings.Join(c.Args, ", "), c.Result, c.Errno)
}

// Parse reads what `strace -f -y -o FILE` writes. Calls come in the order in
// which they began. A call that never ended (its thread did) is left out, unless it
// sends something; a line that can't be read is an error, since what it says would go
// unjudged.
func Parse(text string) ([]Call, error) {
	pending := unfinished{}
	var calls []Call
	line := 0
	for raw := range strings.Lines(text) {
		line++
		pid, rest, err := splitPid(strings.TrimSuffix(raw, "\n"))
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", line, err)
		case strings.HasPrefix(rest, "---"), strings.HasPrefix(rest, "+++"):
			continue
		}
		at := len(calls)
		if tail, resumed := resumption(rest); resumed {
			was, known := pending.take(pid, strings.HasPrefix(rest, "<... execve "))
			if !known {
				return nil, fmt.Errorf("line %d: %.80q continues no call", line, rest)
			}
			calls[was.at].Thread = pid
			rest, at = was.text+tail, was.at
		} else {
			calls = append(calls, Call{Line: line, Thread: pid})
		}
		if head, unfinished := strings.CutSuffix(rest, "<unfinished ...>"); unfinished {
			pending[pid] = begun{at, strings.TrimRight(head, " ")}
			continue
		}
		calls[at].End = line
		if err := calls[at].parse(rest); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
	}
	for _, was := range pending {
		if text, sent := sentAtTheEnd(was.text); sent {
			if err := calls[was.at].parse(text); err != nil {
				return nil, fmt.Errorf("line %d: %w", calls[was.at].Line, err)
			}
		}
	}
	return finished(calls), nil
}

// sentAtTheEnd completes a call that hands the kernel a message, and during which its
// thread ended: the kernel does what the message says all the same.
func sentAtTheEnd(text string) (completed string, ok bool) {
	begun, _, _ := strings.Cut(text, " <unfinished ...>) = ?")
	return begun + ") = 0", strings.HasPrefix(text, "sendto(")
}

// unfinished are the calls that have begun, by thread.
type unfinished map[int]begun

type begun struct {
	at   int // index in calls
	text string
}

// take finds what a thread continues. With an execve it may have become the first
// thread of its process: that one's number is the one that stays (execve(2)).
func (u unfinished) take(pid int, execve bool) (was begun, known bool) {
	was, known = u[pid]
	if known || !execve {
		delete(u, pid)
		return was, known
	}
	by := 0
	for thread, call := range u {
		if strings.HasPrefix(call.text, "execve(") && (by == 0 || call.at > was.at) {
			by, was = thread, call
		}
	}
	delete(u, by)
	return was, by != 0
}

func finished(calls []Call) []Call {
	var all []Call
	for _, c := range calls {
		if c.Name != "" && c.Result != "?" {
			all = append(all, c)
		}
	}
	return all
}

func splitPid(line string) (pid int, rest string, err error) {
	number, rest, _ := strings.Cut(line, " ")
	pid, err = strconv.Atoi(number)
	return pid, strings.TrimLeft(rest, " "), err
}

// resumption returns what follows "<... NAME resumed>".
func resumption(s string) (tail string, ok bool) {
	after, ok := strings.CutPrefix(s, "<... ")
	if !ok {
		return "", false
	}
	_, tail, ok = strings.Cut(after, " resumed>")
	return tail, ok
}

// parse reads NAME(ARGS) = RESULT.
func (c *Call) parse(text string) error {
	// A thread that ends in the middle of a call, or before strace sees which,
	// leaves these.
	if completed, sent := sentAtTheEnd(text); sent && strings.Contains(text, "<unfinished ...>) = ?") {
		text = completed
	}
	if strings.Contains(text, "<unfinished ...>) = ?") || strings.HasPrefix(text, "???(") {
		c.Name, c.Result = "unfinished", "?"
		return nil
	}
	name, args, rest, err := SplitCall(text)
	if err != nil {
		return err
	}
	result, found := strings.CutPrefix(strings.TrimLeft(rest, " "), "= ")
	if !found {
		return fmt.Errorf("no result in %.120q", text)
	}
	c.Name, c.Args = name, args
	c.Result, rest, _ = strings.Cut(result, " ")
	if number, path, described := strings.Cut(c.Result, "<"); described {
		// The description may hold the space at which it was cut.
		path, _, _ = strings.Cut(strings.TrimSuffix(path+" "+rest, " "), ">")
		c.Result, c.Path = number, path
	}
	if c.Result == "?" && name == "sendto" {
		c.Result = "0"
	}
	if c.Result == "-1" {
		c.Errno, _, _ = strings.Cut(rest, " ")
	}
	if outside, ok := translated(rest); ok {
		c.Result = outside
	}
	return nil
}

// translated reads what --decode-pids=pidns says of a number that only a PID
// namespace knows: 2 /* 4711 in strace's PID NS */.
func translated(text string) (outside string, ok bool) {
	outside, _, ok = strings.Cut(strings.TrimPrefix(text, "/* "), " in strace's PID NS */")
	return outside, ok
}

// SplitCall splits a call in C notation, be it strace's or a told one.
func SplitCall(text string) (name string, args []string, rest string, err error) {
	name, rest, found := strings.Cut(text, "(")
	if !found || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return "", nil, "", fmt.Errorf("no call in %.120q", text)
	}
	args, rest, err = SplitList(rest)
	return name, args, rest, err
}

// SplitList splits at commas up to the bracket that closes the list, and returns
// what follows it. Strings, nested brackets, comments and what -y says of a file
// descriptor are left whole.
func SplitList(text string) (items []string, rest string, err error) {
	depth, start := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:])
		case '<':
			if describes(text, i) {
				i += max(strings.IndexByte(text[i:], '>'), 0)
			}
		case '/':
			if strings.HasPrefix(text[i:], "/*") {
				i += max(strings.Index(text[i:], "*/"), 0) + 1
			}
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			if depth > 0 {
				depth--
				continue
			}
			if item := strings.TrimSpace(text[start:i]); item != "" || len(items) > 0 {
				items = append(items, item)
			}
			return items, text[i+1:], nil
		case ',':
			if depth == 0 {
				items = append(items, strings.TrimSpace(text[start:i]))
				start = i + 1
			}
		}
	}
	return nil, "", fmt.Errorf("list does not end: %.120q", text)
}

// stringEnd is where the string that begins with a quotation mark ends.
func stringEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(s)
}

// describes says whether the < at i opens -y's description of a descriptor, as in
// 3</tmp> and AT_FDCWD</tmp>, and is no shift, as in 1<<CAP_KILL.
func describes(text string, i int) bool {
	if i == 0 || i+1 == len(text) || text[i+1] == '<' {
		return false
	}
	return text[i-1] >= '0' && text[i-1] <= '9' || strings.HasSuffix(text[:i], "AT_FDCWD")
}

// Descriptor splits 3</tmp/x> into its number and its path; AT_FDCWD is its own
// number.
func Descriptor(arg string) (number, path string) {
	number, rest, found := strings.Cut(arg, "<")
	if !found || !describes(arg, len(number)) {
		return arg, ""
	}
	path, _, _ = strings.Cut(rest, ">") // "(deleted)" may follow.
	return number, unescape(path)
}

// Literal returns the text of a string argument; ok is false for another kind of
// argument, and for one that strace cut short.
func Literal(arg string) (text string, ok bool) {
	if len(arg) < 2 || arg[0] != '"' || arg[len(arg)-1] != '"' {
		return "", false
	}
	return unescape(arg[1 : len(arg)-1]), true
}

// unescape takes C's escapes back: \n and its like, \ooo, \xhh.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		value, length := escaped(s[i:])
		b.WriteByte(value)
		i += length - 1
	}
	return b.String()
}

// escaped reads what follows a backslash, and how long that is.
func escaped(s string) (value byte, length int) {
	if at := strings.IndexByte("abfnrtv", s[0]); at >= 0 {
		return "\a\b\f\n\r\t\v"[at], 1
	}
	digits, base := s[:min(3, len(s))], 8
	if s[0] == 'x' {
		digits, base = s[1:min(3, len(s))], 16
	}
	for ; digits != ""; digits = digits[:len(digits)-1] {
		if n, err := strconv.ParseUint(digits, base, 8); err == nil {
			return byte(n), len(digits) + (base-8)/8
		}
	}
	return s[0], 1
}

// Structure reads {name=value, …}; a part without a name stands for itself, and has
// no value. It is nil for what is no structure.
func Structure(text string) map[string]string {
	inner, ok := strings.CutPrefix(text, "{")
	if !ok {
		return nil
	}
	parts, _, _ := SplitList(inner)
	all := map[string]string{}
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		all[name] = value
	}
	return all
}
