package main

import (
	"slices"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestVerbsAreTheSameUnderContainer(t *testing.T) {
	app := application()
	container := app.Commands[slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.Name == "container" })]
	find := func(list []*cli.Command, name string) *cli.Command {
		i := slices.IndexFunc(list, func(c *cli.Command) bool { return c.HasName(name) })
		if i < 0 {
			t.Fatalf("no %s", name)
		}
		return list[i]
	}
	for _, name := range []string{"run", "rm", "ps", "explain"} {
		short, long := find(app.Commands, name), find(container.Subcommands, name)
		if short == long {
			t.Errorf("%s is one object under two names", name)
		}
		if !slices.Equal(flagNames(short), flagNames(long)) || short.Usage != long.Usage || short.ArgsUsage != long.ArgsUsage {
			t.Errorf("%s differs from container %s", name, name)
		}
	}
	if ls := find(container.Subcommands, "ls"); ls != find(container.Subcommands, "list") || ls != find(container.Subcommands, "ps") {
		t.Error("ls, list and ps differ")
	}
	seen := map[string]bool{}
	for _, c := range container.Subcommands {
		for _, name := range c.Names() {
			if seen[name] {
				t.Errorf("container %s is there twice", name)
			}
			seen[name] = true
		}
	}
}

func flagNames(c *cli.Command) (names []string) {
	for _, f := range c.Flags {
		names = append(names, f.Names()...)
	}
	return names
}
