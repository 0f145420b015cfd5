package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type pair struct{ key, value string }

// pairs reads name=value words, or the older "name value" of a single pair.
// Every value sees the environment as it was before the instruction.
func (s *settings) pairs(keyword, rest string) ([]pair, error) {
	words := splitWords(rest)
	if len(words) == 0 || !strings.Contains(words[0], "=") {
		key, value := cutSpace(rest)
		if value == "" {
			return nil, fmt.Errorf("%s must have two arguments", keyword)
		}
		return s.expandPairs(keyword, []pair{{key, value}})
	}
	var pairs []pair
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		if !found {
			return nil, fmt.Errorf("syntax error - can't find = in %q. Must be of the form: name=value", word)
		}
		pairs = append(pairs, pair{key, value})
	}
	return s.expandPairs(keyword, pairs)
}

func (s *settings) expandPairs(keyword string, pairs []pair) ([]pair, error) {
	for i, p := range pairs {
		var err error
		if pairs[i].key, err = s.expand(p.key); err != nil {
			return nil, err
		}
		if pairs[i].value, err = s.expand(p.value); err != nil {
			return nil, err
		}
		if pairs[i].key == "" {
			return nil, fmt.Errorf("%s names can not be blank", keyword)
		}
	}
	return pairs, nil
}

// jsonWords reads a JSON list of strings. What is no JSON list is no error: the
// instruction then takes its text as it stands. A list of something else is.
func jsonWords(rest string) (list []string, isJSON bool, err error) {
	if !strings.HasPrefix(rest, "[") {
		return nil, false, nil
	}
	var values []any
	if json.Unmarshal([]byte(rest), &values) != nil {
		return nil, false, nil
	}
	list = []string{}
	for _, v := range values {
		text, ok := v.(string)
		if !ok {
			return nil, false, errors.New("when using JSON array syntax, arrays must be comprised of strings only")
		}
		list = append(list, text)
	}
	return list, true, nil
}

// splitWords splits at white space that is neither quoted nor escaped. Quotes
// and escapes stay, for [settings.expand].
func splitWords(s string) []string {
	var words []string
	for s = strings.TrimLeftFunc(s, unicode.IsSpace); s != ""; s = strings.TrimLeftFunc(s, unicode.IsSpace) {
		end := wordEnd(s)
		words = append(words, s[:end])
		s = s[end:]
	}
	return words
}

func wordEnd(s string) int {
	var quote rune
	escaped := false
	for i, r := range s {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case unicode.IsSpace(r):
			return i
		}
	}
	return len(s)
}

// expand removes quotes and escapes and puts in variables, as a shell does with
// one word (POSIX.1-2017, Shell Command Language, 2.2 and 2.6.2). An unset
// variable is empty.
func (s *settings) expand(word string) (string, error) {
	e := expansion{rest: word, lookup: s.lookup}
	return e.until("")
}

func (s *settings) lookup(name string) (string, bool) {
	for _, entry := range s.config.Env {
		if key, value, _ := strings.Cut(entry, "="); key == name {
			return value, true
		}
	}
	return "", false
}

// expansion works through one word from the left.
type expansion struct {
	rest   string
	lookup func(name string) (string, bool)
}

// next takes one character off the rest.
func (e *expansion) next() rune {
	r, size := utf8.DecodeRuneInString(e.rest)
	if r == utf8.RuneError && size == 1 {
		r = rune(e.rest[0]) | invalidByte
	}
	e.rest = e.rest[size:]
	return r
}

// invalidByte marks a byte that is no UTF-8, so that it comes out as it went in.
const invalidByte = 1 << 30

func write(b *strings.Builder, r rune) {
	if r&invalidByte != 0 {
		b.WriteByte(byte(r))
		return
	}
	b.WriteRune(r)
}

// until expands up to and including the character end, or all of the rest.
func (e *expansion) until(end string) (string, error) {
	var out strings.Builder
	for e.rest != "" {
		if end != "" && strings.HasPrefix(e.rest, end) {
			e.rest = e.rest[len(end):]
			return out.String(), nil
		}
		if err := e.piece(&out); err != nil {
			return "", err
		}
	}
	if end != "" {
		return "", fmt.Errorf("unexpected end of statement while looking for matching %q", end)
	}
	return out.String(), nil
}

func (e *expansion) piece(out *strings.Builder) error {
	switch r := e.next(); r {
	case '\'':
		return e.singleQuoted(out)
	case '"':
		return e.doubleQuoted(out)
	case '$':
		return e.variable(out)
	case '\\':
		if e.rest != "" {
			write(out, e.next())
		}
	default:
		write(out, r)
	}
	return nil
}

func (e *expansion) singleQuoted(out *strings.Builder) error {
	text, rest, found := strings.Cut(e.rest, "'")
	if !found {
		return errors.New("unexpected end of statement while looking for matching single-quote")
	}
	out.WriteString(text)
	e.rest = rest
	return nil
}

// doubleQuoted lets a backslash escape only what is special between such quotes.
func (e *expansion) doubleQuoted(out *strings.Builder) error {
	for e.rest != "" {
		switch r := e.next(); r {
		case '"':
			return nil
		case '$':
			if err := e.variable(out); err != nil {
				return err
			}
		case '\\':
			if e.rest == "" || !strings.ContainsRune(`"$\`, rune(e.rest[0])) {
				out.WriteByte('\\')
				continue
			}
			write(out, e.next())
		default:
			write(out, r)
		}
	}
	return errors.New("unexpected end of statement while looking for matching double-quote")
}

// variable expands what follows a dollar sign: NAME, {NAME}, {NAME:-default},
// {NAME:+instead}, {NAME:?message} and the same without the colon.
func (e *expansion) variable(out *strings.Builder) error {
	braced := strings.HasPrefix(e.rest, "{")
	e.rest = strings.TrimPrefix(e.rest, "{")
	name := e.name()
	value, set := e.lookup(name)
	switch {
	case !braced && name == "":
		out.WriteByte('$')
		return nil
	case !braced:
		out.WriteString(value)
		return nil
	case name == "":
		return errors.New("syntax error: bad substitution")
	case strings.HasPrefix(e.rest, "}"):
		e.rest = e.rest[1:]
		out.WriteString(value)
		return nil
	}
	value, err := e.modified(name, value, set)
	out.WriteString(value)
	return err
}

// name takes a variable's name: a letter or underscore and more of these and
// digits, or a number or a special character (positional parameters, always
// unset here).
func (e *expansion) name() string {
	letters := isWordByte
	if e.rest != "" && isDigit(e.rest[0]) {
		letters = isDigit
	}
	n := 0
	for n < len(e.rest) && letters(e.rest[n]) {
		n++
	}
	if n == 0 && e.rest != "" && strings.ContainsRune("@*#?-$!", rune(e.rest[0])) {
		n = 1
	}
	name := e.rest[:n]
	e.rest = e.rest[n:]
	return name
}

func (e *expansion) modified(name, value string, set bool) (string, error) {
	if rest, colon := strings.CutPrefix(e.rest, ":"); colon {
		e.rest, set = rest, set && value != ""
	}
	if e.rest == "" {
		return "", errors.New("syntax error: missing '}' in substitution")
	}
	modifier := e.next()
	word, err := e.until("}")
	switch {
	case err != nil:
		return "", err
	case modifier == '-' && !set, modifier == '+' && set:
		return word, nil
	case modifier == '-', modifier == '?' && set:
		return value, nil
	case modifier == '+':
		return "", nil
	case modifier == '?':
		return "", fmt.Errorf("%s: %s", name, word)
	}
	return "", fmt.Errorf("unsupported modifier (%c) in substitution", modifier)
}
