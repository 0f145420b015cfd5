package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// containerVerbs are the verbs that Docker has both alone and under `container`.
// A verb of this name in commands() is there in both forms, with one definition.
func containerVerbs() []string {
	return []string{
		"attach", "commit", "cp", "create", "diff", "exec", "explain", "export", "kill", "logs", "pause", "port",
		"rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait",
	}
}

// onlyContainerCommands are those that have another name, or another meaning, than
// the verb that stands alone.
func onlyContainerCommands() []*cli.Command {
	return []*cli.Command{
		inspectContainerCommand(),
		named(psCommand(), "ls", "list", "ps"),
		pruneContainersCommand(),
	}
}

// allCommands are the verbs, and the management form of those that are about
// containers.
func allCommands() []*cli.Command {
	container := &cli.Command{Name: "container", Usage: "Manage containers", Subcommands: onlyContainerCommands()}
	for _, c := range commands() {
		if slices.Contains(containerVerbs(), c.Name) {
			container.Subcommands = append(container.Subcommands, c)
		}
	}
	slices.SortFunc(container.Subcommands, func(a, b *cli.Command) int { return strings.Compare(a.Name, b.Name) })
	return append(commands(), container)
}
