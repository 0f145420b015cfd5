package images

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/steps"
)

// settings is an image's configuration while --change instructions work on it.
// The instructions are those of a Dockerfile that only write configuration.
type settings struct {
	config v1.Config
	// health is HEALTHCHECK's flags, until its command is read.
	health *v1.HealthConfig
	// startInterval is a health setting that [v1.HealthConfig] has no field for.
	startInterval time.Duration
	// commandSet keeps an ENTRYPOINT from dropping a CMD of the same changes.
	commandSet bool
}

// instruction reads the rest of its line into the settings.
type instruction func(s *settings, rest string) error

// instructionNamed returns nil for what --change does not take: the others of a
// Dockerfile make layers.
func instructionNamed(keyword string) instruction {
	switch strings.ToLower(keyword) {
	case "cmd":
		return (*settings).cmd
	case "entrypoint":
		return (*settings).entrypoint
	case "env":
		return (*settings).env
	case "expose":
		return (*settings).expose
	case "healthcheck":
		return (*settings).healthcheck
	case "label":
		return (*settings).label
	case "onbuild":
		return (*settings).onbuild
	case "stopsignal":
		return (*settings).stopsignal
	case "user":
		return (*settings).user
	case "volume":
		return (*settings).volume
	case "workdir":
		return (*settings).workdir
	}
	return nil
}

// applyChanges makes a configuration of Dockerfile instructions. An error is a
// *[steps.Fault] that quotes the instruction.
func applyChanges(changes []string) (*settings, error) {
	s := &settings{}
	for _, line := range instructionLines(changes) {
		if err := s.apply(line); err != nil {
			return nil, &steps.Fault{
				Msg:  fmt.Sprintf("--change %q: %v", line, err),
				Hint: "--change takes CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR, written as in a Dockerfile",
				Err:  err,
			}
		}
	}
	return s, nil
}

func (s *settings) apply(line string) error {
	keyword, rest := cutSpace(line)
	act := instructionNamed(keyword)
	if act == nil {
		return fmt.Errorf("%s is not a valid change command", strings.ToLower(keyword))
	}
	flags, rest := cutFlags(rest)
	if err := s.setFlags(keyword, flags); err != nil {
		return err
	}
	if rest == "" {
		return fmt.Errorf("%s requires at least one argument", strings.ToUpper(keyword))
	}
	return act(s, rest)
}

// instructionLines joins lines that end in a backslash, and leaves out comments
// and empty lines, as in a Dockerfile.
func instructionLines(changes []string) []string {
	var lines []string
	var open string
	for line := range strings.SplitSeq(strings.Join(changes, "\n"), "\n") {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
			continue
		}
		if part, more := strings.CutSuffix(line, `\`); more && !strings.HasSuffix(part, `\`) {
			open += part
			continue
		}
		lines = append(lines, strings.TrimSpace(open+line))
		open = ""
	}
	if open = strings.TrimSpace(open); open != "" {
		lines = append(lines, open)
	}
	return lines
}

func (s *settings) cmd(rest string) (err error) {
	s.config.Cmd, err = commandLine(rest)
	s.commandSet = true
	return err
}

func (s *settings) entrypoint(rest string) (err error) {
	s.config.Entrypoint, err = commandLine(rest)
	if !s.commandSet {
		s.config.Cmd = nil
	}
	return err
}

func (s *settings) env(rest string) error {
	pairs, err := s.pairs("ENV", rest)
	for _, p := range pairs {
		s.setEnv(p.key, p.value)
	}
	return err
}

func (s *settings) setEnv(key, value string) {
	entry := key + "=" + value
	at := slices.IndexFunc(s.config.Env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
	if at >= 0 {
		s.config.Env[at] = entry
		return
	}
	s.config.Env = append(s.config.Env, entry)
}

func (s *settings) label(rest string) error {
	pairs, err := s.pairs("LABEL", rest)
	for _, p := range pairs {
		if s.config.Labels == nil {
			s.config.Labels = map[string]string{}
		}
		s.config.Labels[p.key] = p.value
	}
	return err
}

func (s *settings) expose(rest string) error {
	for _, word := range strings.Fields(rest) {
		expanded, err := s.expand(word)
		if err != nil {
			return err
		}
		// One variable may hold several ports.
		for _, spec := range strings.Fields(expanded) {
			if err := s.exposePort(spec); err != nil {
				return err
			}
		}
	}
	return nil
}

// exposePort takes port[-port][/protocol]; the host's side of a mapping says
// nothing about an image and is left out, as Docker does.
func (s *settings) exposePort(spec string) error {
	ports, protocol, given := strings.Cut(spec[strings.LastIndexByte(spec, ':')+1:], "/")
	protocol = strings.ToLower(protocol)
	if !given {
		protocol = "tcp"
	}
	if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
		return fmt.Errorf("invalid proto: %s", protocol)
	}
	low, high, isRange := strings.Cut(ports, "-")
	if !isRange {
		high = low
	}
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || first > last {
		return fmt.Errorf("invalid containerPort: %s", ports)
	}
	for port := first; port <= last; port++ {
		if s.config.ExposedPorts == nil {
			s.config.ExposedPorts = map[string]struct{}{}
		}
		s.config.ExposedPorts[fmt.Sprintf("%d/%s", port, protocol)] = struct{}{}
	}
	return nil
}

func (s *settings) onbuild(rest string) error {
	trigger, _ := cutSpace(rest)
	switch trigger = strings.ToUpper(trigger); trigger {
	case "ONBUILD":
		return errors.New("chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
	case "FROM", "MAINTAINER":
		return fmt.Errorf("%s isn't allowed as an ONBUILD trigger", trigger)
	}
	s.config.OnBuild = append(s.config.OnBuild, rest)
	return nil
}

func (s *settings) stopsignal(rest string) error {
	signal, err := s.expand(rest)
	if err != nil {
		return err
	}
	if !isSignal(signal) {
		return fmt.Errorf("invalid signal: %s", signal)
	}
	s.config.StopSignal = signal
	return nil
}

// isSignal accepts a number, or a name with or without SIG; RTMIN+n and RTMAX-n
// too (signal(7): 32 real-time signals up to 64, of which glibc keeps two).
func isSignal(s string) bool {
	if n, err := strconv.Atoi(s); err == nil {
		return n > 0 && n <= 64
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for base, sign := range map[string]string{"RTMIN": "+", "RTMAX": "-"} {
		if offset, ok := strings.CutPrefix(name, base); ok {
			n, err := strconv.Atoi(strings.TrimPrefix(offset, sign))
			return offset == "" || err == nil && n > 0 && n <= 15 && strings.HasPrefix(offset, sign)
		}
	}
	return unix.SignalNum("SIG"+name) != 0
}

func (s *settings) user(rest string) (err error) {
	s.config.User, err = s.expand(rest)
	return err
}

func (s *settings) volume(rest string) error {
	list, isJSON, err := jsonWords(rest)
	if err != nil {
		return err
	}
	if !isJSON {
		list = strings.Fields(rest)
	}
	if len(list) == 0 {
		return errors.New("VOLUME requires at least one argument")
	}
	for _, word := range list {
		dir, err := s.expand(word)
		if err != nil {
			return err
		}
		if dir = strings.TrimSpace(dir); dir == "" {
			return errors.New("VOLUME specified can not be an empty string")
		}
		if s.config.Volumes == nil {
			s.config.Volumes = map[string]struct{}{}
		}
		s.config.Volumes[dir] = struct{}{}
	}
	return nil
}

func (s *settings) workdir(rest string) error {
	dir, err := s.expand(rest)
	if err != nil {
		return err
	}
	if dir == "" {
		return errors.New("cannot normalize nothing")
	}
	if !path.IsAbs(dir) {
		dir = path.Join("/", s.config.WorkingDir, dir)
	}
	s.config.WorkingDir = dir
	return nil
}

func (s *settings) healthcheck(rest string) error {
	h := s.health
	s.health = nil
	var err error
	kind, rest := cutSpace(rest)
	switch strings.ToUpper(kind) {
	case "NONE":
		if rest != "" {
			return errors.New("HEALTHCHECK NONE takes no arguments")
		}
		h.Test = []string{"NONE"}
	case "CMD":
		if h.Test, err = healthCommand(rest); err != nil {
			return err
		}
	case "":
		return errors.New("HEALTHCHECK requires at least one argument")
	default:
		return fmt.Errorf("unknown type %q in HEALTHCHECK (try CMD)", kind)
	}
	s.config.Healthcheck = h
	return nil
}

func healthCommand(rest string) ([]string, error) {
	list, isJSON, err := jsonWords(rest)
	switch {
	case err != nil:
		return nil, err
	case rest == "" || isJSON && len(list) == 0:
		return nil, errors.New("missing command after HEALTHCHECK CMD")
	case isJSON:
		return append([]string{"CMD"}, list...), nil
	}
	return []string{"CMD-SHELL", rest}, nil
}

// setFlags takes what stands in front of an instruction's arguments; of those
// that --change allows only HEALTHCHECK has flags.
func (s *settings) setFlags(keyword string, flags []string) error {
	if strings.EqualFold(keyword, "healthcheck") {
		return s.setHealthFlags(flags)
	}
	if len(flags) > 0 {
		return fmt.Errorf("unknown flag: %s", flags[0])
	}
	return nil
}

func (s *settings) setHealthFlags(flags []string) error {
	s.health, s.startInterval = &v1.HealthConfig{}, 0
	durations := map[string]*time.Duration{
		"--interval": &s.health.Interval, "--timeout": &s.health.Timeout,
		"--start-period": &s.health.StartPeriod, "--start-interval": &s.startInterval,
	}
	for _, flag := range flags {
		name, value, given := strings.Cut(flag, "=")
		var err error
		switch into := durations[name]; {
		case into == nil && name != "--retries":
			err = fmt.Errorf("unknown flag: %s, not one of %v and --retries", name, slices.Sorted(maps.Keys(durations)))
		case !given:
			err = fmt.Errorf("missing a value on flag: %s", name)
		case into != nil:
			*into, err = healthDuration(name, value)
		default:
			s.health.Retries, err = healthRetries(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// healthDuration refuses what Docker refuses: less than a millisecond, its
// MinimumDuration; nothing or 0 leaves the default.
func healthDuration(name, value string) (time.Duration, error) {
	if value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err == nil && d != 0 && d < time.Millisecond {
		err = fmt.Errorf("%s cannot be less than 1ms", name)
	}
	return d, err
}

func healthRetries(value string) (int, error) {
	if value == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err == nil && n < 0 {
		err = fmt.Errorf("--retries cannot be negative (%d)", n)
	}
	return int(n), err
}

// commandLine takes a JSON list as it is, and gives anything else to a shell.
func commandLine(rest string) ([]string, error) {
	list, isJSON, err := jsonWords(rest)
	if isJSON || err != nil {
		return list, err
	}
	return []string{"/bin/sh", "-c", rest}, nil
}

// cutFlags takes off the words that begin with two hyphens; two hyphens alone end
// them.
func cutFlags(s string) (flags []string, rest string) {
	for strings.HasPrefix(s, "--") {
		var flag string
		if flag, s = cutSpace(s); flag == "--" {
			break
		}
		flags = append(flags, flag)
	}
	return flags, s
}

func cutSpace(s string) (word, rest string) {
	at := strings.IndexFunc(s, unicode.IsSpace)
	if at < 0 {
		return s, ""
	}
	return s[:at], strings.TrimSpace(s[at:])
}
