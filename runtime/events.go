package runtime

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// Event is one thing that happened to a container, as `events` tells it.
type Event struct {
	Time time.Time `json:"time"`
	// Type is "container" or "image".
	Type   string `json:"type"`
	Action string `json:"action"`
	ID     string `json:"id"`
	// Attributes always hold image and name of a container.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// eventsFile holds all events of an installation, one JSON object in each line.
func (l Layout) eventsFile() string { return filepath.Join(l.Root, "events.jsonl") }

// emit appends an event to the log: one line by one write, so that those of
// several processes do not mix (write(2), O_APPEND). That an event could not be
// written keeps nobody from doing what it tells.
func (c *Container) emit(action string, attributes map[string]string) {
	e := Event{Time: time.Now().UTC(), Type: "container", Action: action, ID: c.Config.ID, Attributes: map[string]string{}}
	for k, v := range c.Config.Labels {
		e.Attributes[k] = v
	}
	for k, v := range attributes {
		e.Attributes[k] = v
	}
	e.Attributes["image"], e.Attributes["name"] = c.Config.Image, c.Config.Name
	_ = appendLine(c.layout.eventsFile(), e)
}

func appendLine(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}
