package main

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/capability"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
)

// wordList lists what there is at this moment, or may be said.
type wordList func(q *question) []suggestion

// argumentWords are what the verb's next argument may be.
func (q *question) argumentWords() []suggestion {
	rules := argumentRules()
	rule, known := rules[q.verb]
	if !known { // The management form of a verb is that verb.
		rule, known = rules[strings.TrimPrefix(q.verb, "container ")]
	}
	if !known || rule.most > 0 && len(q.arguments) >= rule.most {
		return nil
	}
	return slices.DeleteFunc(rule.list(q), func(c suggestion) bool { return slices.Contains(q.arguments, c.word) })
}

// argumentRule says what a verb's arguments are, and how many of them; 0 is any
// number.
type argumentRule struct {
	list wordList
	most int
}

// argumentRules are by the path of the verb, also of verbs that are yet to come.
func argumentRules() map[string]argumentRule {
	return map[string]argumentRule{
		"attach": {runningNames, 1}, "exec": {runningNames, 1}, "port": {runningNames, 1}, "top": {runningNames, 1},
		"kill": {runningNames, 0}, "pause": {runningNames, 0}, "stats": {runningNames, 0}, "stop": {runningNames, 0}, "wait": {runningNames, 0},
		"unpause": {pausedNames, 0}, "start": {stoppedNames, 0}, "rm": {removableNames, 0},
		"commit": {containerNames, 1}, "diff": {containerNames, 1}, "explain": {containerNames, 1}, "export": {containerNames, 1},
		"logs": {containerNames, 1}, "rename": {containerNames, 1}, "restart": {containerNames, 0}, "update": {containerNames, 0},
		"cp": {copyPlaces, 2}, "inspect": {objectNames, 0}, "container inspect": {containerNames, 0},
		"run": {imageNames, 1}, "create": {imageNames, 1},
		"images": {imageNames, 1}, "image ls": {imageNames, 1}, "image inspect": {imageNames, 0},
		"rmi": {imageNames, 0}, "image rm": {imageNames, 0}, "image import": {importSources, 2},
		"network explain": {networkNames, 1}, "network trace": {traceEnds, 2},
		"network inspect": {networkNames, 0}, "network rm": {customNetworks, 0},
		"network connect": {networkThenContainer, 2}, "network disconnect": {networkThenContainer, 2},
	}
}

func runningNames(q *question) []suggestion {
	return q.containers(func(c *runtime.Container) bool { return c.Started() })
}

// traceEnds are the containers that run, and as a beginning the host.
func traceEnds(q *question) []suggestion {
	all := runningNames(q)
	if len(q.arguments) == 0 {
		all = append(all, suggestion{"host", "the host itself"})
	}
	return all
}

func pausedNames(q *question) []suggestion {
	return q.containers(func(c *runtime.Container) bool { return c.Status() == "paused" })
}

func stoppedNames(q *question) []suggestion {
	return q.containers(func(c *runtime.Container) bool { return !c.Started() })
}

func containerNames(q *question) []suggestion {
	return q.containers(func(*runtime.Container) bool { return true })
}

// removableNames are the stopped ones, and with --force all.
func removableNames(q *question) []suggestion {
	if _, force := q.given["force"]; force {
		return containerNames(q)
	}
	return stoppedNames(q)
}

// objectNames are what inspect finds.
func objectNames(q *question) (all []suggestion) {
	kind := q.given["type"]
	for _, k := range []struct {
		kind string
		list wordList
	}{{"container", containerNames}, {"image", imageNames}, {"network", networkNames}} {
		if kind == "" || kind == k.kind {
			all = append(all, k.list(q)...)
		}
	}
	return all
}

// copyPlaces are files here, and containers, whose paths minidock does not look into.
func copyPlaces(q *question) (all []suggestion) {
	for _, c := range containerNames(q) {
		all = append(all, suggestion{c.word + ":", c.text})
	}
	return append(all, suggestion{word: askFiles})
}

func importSources(q *question) []suggestion {
	if len(q.arguments) > 0 {
		return imageNames(q)
	}
	return []suggestion{{word: askFiles}}
}

// containers lists by name. What can't be read is left out: a shell has no place
// for an error.
func (q *question) containers(wanted func(*runtime.Container) bool) (all []suggestion) {
	layout, err := q.layout()
	if err != nil {
		return nil
	}
	list, _ := runtime.List(layout)
	for _, c := range list {
		if wanted(c) {
			all = append(all, suggestion{c.Config.Name, c.Config.Image + ", " + statusWords(c, c.Status(), time.Now())})
		}
	}
	return all
}

func imageNames(q *question) (all []suggestion) {
	layout, err := q.layout()
	if err != nil {
		return nil
	}
	list, _ := images.Open(layout.Root).List()
	for _, i := range list {
		if i.Name != "" {
			all = append(all, suggestion{strings.TrimSuffix(i.Name, ":latest"), humanSize(i.Size)})
		}
	}
	return all
}

func networkNames(q *question) []suggestion {
	return q.networks(func(netns.Network) bool { return true })
}

// networkModes are what --network can be set to.
func (q *question) networkModes() []suggestion {
	return append(networkNames(q), prefixed(sharedNamespace, runningNames(q))...)
}

// networkThenContainer are the two arguments of connect and disconnect.
func networkThenContainer(q *question) []suggestion {
	if len(q.arguments) == 0 {
		return networkNames(q)
	}
	return containerNames(q)
}

// customNetworks are those that can be removed.
func customNetworks(q *question) []suggestion {
	return q.networks(func(n netns.Network) bool { return !netns.Predefined(n.Name) })
}

func (q *question) networks(wanted func(netns.Network) bool) (all []suggestion) {
	layout, err := q.layout()
	if err != nil {
		return nil
	}
	list, _ := layout.Networks().List()
	for _, n := range list {
		if text := n.Driver; wanted(n) {
			if n.Subnet.IsValid() {
				text += ", " + n.Subnet.String()
			}
			all = append(all, suggestion{n.Name, text})
		}
	}
	return all
}

// layout is that of --root, or of the environment, as for any command.
func (q *question) layout() (runtime.Layout, error) {
	root, given := q.given["root"]
	if !given {
		root = os.Getenv("MINIDOCK_ROOT")
	}
	return runtime.LayoutOf(root)
}

// values are what a flag may be set to, where that is known.
func (q *question) values(f cli.Flag) []suggestion {
	switch name := f.Names()[0]; name {
	case "root", "env-file", "cidfile", "label-file":
		return []suggestion{{word: askFiles}}
	case "driver":
		return plainWords("bridge")
	case "opt":
		return plainWords(netns.BridgeNameOption + "=")
	case "restart":
		return plainWords("no", "on-failure", "always", "unless-stopped")
	case "log-driver":
		return plainWords("json-file", "none")
	case "log-opt":
		return plainWords("max-size=", "max-file=", "labels=", "env=")
	case "type":
		return plainWords("container", "image", "network")
	case "network":
		return q.networkModes()
	case "format":
		return plainWords("json", "table")
	case "security-opt":
		return plainWords("no-new-privileges", "seccomp=", "seccomp=unconfined")
	case "signal", "stop-signal":
		return plainWords(signalNames()...)
	case "cap-add", "cap-drop":
		return plainWords(capabilityNames()...)
	case "filter":
		return q.filterWords()
	}
	return nil
}

func plainWords(list ...string) (all []suggestion) {
	for _, word := range list {
		all = append(all, suggestion{word: word})
	}
	return all
}

// filterWords knows the filters of ps and of network ls.
func (q *question) filterWords() []suggestion {
	if q.verb == "network ls" {
		return plainWords("dangling=true", "driver=", "id=", "label=", "name=", "scope=local", "type=builtin", "type=custom")
	}
	if q.verb != "ps" && q.verb != "container ls" {
		return nil
	}
	all := plainWords("ancestor=", "before=", "exited=", "expose=", "id=", "label=", "name=", "network=", "publish=", "since=")
	for _, state := range containerStates() {
		all = append(all, suggestion{word: "status=" + state})
	}
	return all
}

// signalNames are those of signal(7), without SIG.
func signalNames() (names []string) {
	for number := syscall.Signal(1); number < 32; number++ {
		if name := unix.SignalName(number); name != "" {
			names = append(names, strings.TrimPrefix(name, "SIG"))
		}
	}
	return names
}

func capabilityNames() []string {
	names := []string{"ALL"}
	for _, c := range capability.ListKnown() {
		names = append(names, strings.ToUpper(c.String()))
	}
	return names
}
