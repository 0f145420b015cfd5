package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/minidock/minidock/steps"
)

// logOptions are json-file's, and what minidock does not do of Docker's.
var logOptions = []string{"max-size", "max-file", "compress", "mode", "labels", "env"}

// readable says whether the driver keeps what a container writes.
func (c LogConfig) readable() bool { return c.Driver != "none" }

// check refuses, in Docker's words, drivers that there are not and options that
// the driver has not.
func (c LogConfig) check() error {
	switch c.Driver {
	case "", "json-file":
	case "none":
		if len(c.Options) > 0 {
			return logFault("invalid logging opts for driver none", "Leave --log-opt out: there is no log.")
		}
		return nil
	default:
		return logFault(fmt.Sprintf("error looking up logging plugin %s: plugin %q not found", c.Driver, c.Driver), "minidock has the drivers json-file and none.")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Options)) {
		if !slices.Contains(logOptions, name) {
			return logFault(fmt.Sprintf("unknown log opt '%s' for json-file log driver", name), "minidock knows "+strings.Join(logOptions, ", ")+".")
		}
	}
	if err := c.checkMode(); err != nil {
		return err
	}
	_, _, err := c.rotation()
	return err
}

// checkMode refuses what Docker has and minidock has not.
func (c LogConfig) checkMode() error {
	switch mode, set := c.Options["mode"]; {
	case mode == "non-blocking":
		return logFault("logging mode non-blocking is not supported", "Leave it out: only a full disk could slow a container down, and then its log goes on without the lines that do not fit.")
	case set && mode != "blocking" && mode != "":
		return logFault("logger: logging mode not supported: "+mode, "The mode is blocking.")
	}
	compress, set := c.Options["compress"]
	if !set {
		return nil
	}
	switch yes, err := strconv.ParseBool(compress); {
	case err != nil:
		return driverFault(fmt.Errorf("strconv.ParseBool: parsing %q: invalid syntax", compress))
	case yes:
		return logFault("log opt compress=true is not supported", "Leave it out: rotated files stay as they are, and every command can read them.")
	}
	return nil
}

// rotation reads when a file is full, in bytes (0 for never), and how many are kept.
func (c LogConfig) rotation() (maxSize int64, maxFile int, err error) {
	maxFile = 1
	if text, set := c.Options["max-size"]; set {
		// Powers of ten, as in Docker: 1k is 1000 bytes.
		if maxSize, err = units.FromHumanSize(text); err != nil {
			return 0, 0, driverFault(err)
		}
		if maxSize <= 0 {
			return 0, 0, driverFault(fmt.Errorf("max-size must be a positive number"))
		}
	}
	if text, set := c.Options["max-file"]; set {
		if maxFile, err = strconv.Atoi(text); err != nil {
			return 0, 0, driverFault(fmt.Errorf("strconv.Atoi: parsing %q: invalid syntax", text))
		}
		if maxFile < 1 {
			return 0, 0, driverFault(fmt.Errorf("max-file cannot be less than 1"))
		}
	}
	return maxSize, maxFile, nil
}

func driverFault(err error) error {
	return logFault("failed to initialize logging driver: "+err.Error(), "Give --log-opt max-size=10m, max-file=3, or the like.")
}

func logFault(msg, hint string) error { return &steps.Fault{Msg: msg, Hint: hint, Code: 125} }

// logAttributes is the part of every entry that the options labels and env ask
// for, with a comma behind it; most have none.
func (c *Config) logAttributes() ([]byte, error) {
	attrs := map[string]string{}
	for _, name := range splitList(c.Log.Options["labels"]) {
		if value, ok := c.Labels[name]; ok {
			attrs[name] = value
		}
	}
	for _, name := range splitList(c.Log.Options["env"]) {
		for _, entry := range c.Env {
			if value, ok := strings.CutPrefix(entry, name+"="); ok {
				attrs[name] = value
			}
		}
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(attrs)
	if err != nil {
		return nil, fmt.Errorf("encode log attributes: %w", err)
	}
	return append(append([]byte(`"attrs":`), text...), ','), nil
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}
