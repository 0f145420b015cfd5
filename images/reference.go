package images

import (
	"errors"
	"fmt"
	"strings"

	"github.com/minidock/minidock/steps"
)

// What a name that leaves something out means; Docker's own choice.
const (
	defaultDomain = "docker.io"
	legacyDomain  = "index.docker.io"
	officialPath  = "library/"
	defaultTag    = "latest"
)

// Limits of the grammar that Docker names images by (distribution/reference,
// RepositoryNameTotalLengthMax; distribution-spec, "Pulling manifests": a tag is
// one character and at most 127 more).
const (
	maxPathLength = 255
	maxTagLength  = 128
)

var (
	errFormat = errors.New("invalid reference format")
	// errIsID is Docker's refusal to name an image like an ID, which would hide it.
	errIsID = errors.New("cannot specify 64-byte hexadecimal strings")
)

// reference is an image's name in full, taken apart.
type reference struct {
	domain, path, tag, digest string
}

// parseReference reads a name as Docker does: what looks like no host name is
// below docker.io, and one word is below docker.io/library. The tag stays empty
// where none is given. It is written out by hand because the usual library
// compiles its patterns whenever a program starts.
func parseReference(s string) (reference, error) {
	if len(s) == 64 && isHex(s) {
		return reference{}, fmt.Errorf("invalid repository name (%s), %w", s, errIsID)
	}
	var r reference
	var rest string
	r.domain, rest = splitDomain(s)
	if remote, _, _ := strings.Cut(rest, ":"); strings.ToLower(remote) != remote {
		return reference{}, fmt.Errorf("%w: repository name (%s) must be lowercase", errFormat, remote)
	}
	rest, digest, hasDigest := strings.Cut(rest, "@")
	path, tag, hasTag := strings.Cut(rest, ":")
	r.path, r.tag, r.digest = path, tag, digest
	switch {
	case len(path) > maxPathLength:
		return reference{}, fmt.Errorf("repository name must not be more than %d characters", maxPathLength)
	case !isDomain(r.domain), !isPath(path), hasTag && !isTag(tag), hasDigest && !isDigest(digest):
		return reference{}, errFormat
	}
	return r, nil
}

// full is the name with nothing left out; it is what index.json holds.
func (r reference) full() string {
	return r.domain + "/" + r.path + r.suffix()
}

// familiar is the name as people write it.
func (r reference) familiar() string {
	return r.repository() + r.suffix()
}

// repository is the familiar name without tag and digest.
func (r reference) repository() string {
	if r.domain != defaultDomain {
		return r.domain + "/" + r.path
	}
	if short, ok := strings.CutPrefix(r.path, officialPath); ok && !strings.Contains(short, "/") {
		return short
	}
	return r.path
}

func (r reference) suffix() string {
	var s string
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest
	}
	return s
}

// tagged fills in the tag that a name without tag and digest means.
func (r reference) tagged() reference {
	if r.tag == "" && r.digest == "" {
		r.tag = defaultTag
	}
	return r
}

// Familiar writes a reference as Docker shows it, with the tag that it means:
// "docker.io/library/busybox" is "busybox:latest". What is no reference (an ID,
// say) comes back as it is.
func Familiar(ref string) string {
	r, err := parseReference(ref)
	if err != nil {
		return ref
	}
	return r.tagged().familiar()
}

// nameFor checks the name that an image is to get.
func nameFor(ref string) (reference, error) {
	r, err := parseReference(ref)
	if err == nil && r.digest != "" {
		err = errors.New("cannot import digest reference")
	}
	if err != nil {
		return reference{}, badName(ref, err)
	}
	return r.tagged(), nil
}

func badName(ref string, err error) *steps.Fault {
	return &steps.Fault{
		Msg:  fmt.Sprintf("%v: %q", err, ref),
		Hint: "A name is lower case letters and digits, with single . _ - or / between them, and a tag after a colon: team/app:1.0",
		Err:  err,
	}
}

func splitDomain(s string) (domain, rest string) {
	first, remote, found := strings.Cut(s, "/")
	switch {
	case !found:
		return defaultDomain, officialPath + s
	case first == legacyDomain:
		domain, rest = defaultDomain, remote
	case first == "localhost", strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		domain, rest = first, remote
	default:
		domain, rest = defaultDomain, s
	}
	if domain == defaultDomain && !strings.Contains(rest, "/") {
		rest = officialPath + rest
	}
	return domain, rest
}

// isDomain accepts host, host:port, [IPv6] and [IPv6]:port.
func isDomain(s string) bool {
	host := s
	if at := strings.LastIndexByte(s, ':'); at > strings.LastIndexByte(s, ']') {
		port := s[at+1:]
		if port == "" || !all(port, isDigit) {
			return false
		}
		host = s[:at]
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		return ok && inside != "" && all(inside, isIPv6Byte)
	}
	return isHostName(host)
}

func isHostName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' || !all(part, isHostByte) {
			return false
		}
	}
	return true
}

// isPath accepts components of lower case letters and digits, joined inside by
// one dot, one or two underscores, or any number of hyphens.
func isPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if !isPathComponent(part) {
			return false
		}
	}
	return true
}

func isPathComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isLowerAlnum(s[i]) {
			i++
			continue
		}
		run := i
		for !isLowerAlnum(s[i]) {
			i++
		}
		if sep := s[run:i]; sep != "." && sep != "_" && sep != "__" && strings.Trim(sep, "-") != "" {
			return false
		}
	}
	return true
}

func isTag(s string) bool {
	return s != "" && len(s) <= maxTagLength && isWordByte(s[0]) &&
		all(s, func(c byte) bool { return isWordByte(c) || c == '.' || c == '-' })
}

// isDigest accepts the registered algorithms (image-spec, descriptor.md).
func isDigest(s string) bool {
	algorithm, hex, _ := strings.Cut(s, ":")
	digits := 0
	switch algorithm {
	case "sha256":
		digits = 64
	case "sha384":
		digits = 96
	case "sha512":
		digits = 128
	}
	return digits > 0 && len(hex) == digits && isHex(hex)
}

func isHex(s string) bool { return all(s, isHexByte) }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool      { return c >= '0' && c <= '9' }
func isLower(c byte) bool      { return c >= 'a' && c <= 'z' }
func isLetter(c byte) bool     { return isLower(c) || c >= 'A' && c <= 'Z' }
func isAlnum(c byte) bool      { return isLetter(c) || isDigit(c) }
func isLowerAlnum(c byte) bool { return isLower(c) || isDigit(c) }
func isHostByte(c byte) bool   { return isAlnum(c) || c == '-' }
func isWordByte(c byte) bool   { return isAlnum(c) || c == '_' }
func isHexByte(c byte) bool    { return isDigit(c) || c >= 'a' && c <= 'f' }
func isIPv6Byte(c byte) bool   { return isHexByte(c) || c >= 'A' && c <= 'F' || c == ':' }
