package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "Return low-level information on containers, images and networks", ArgsUsage: "NAME|ID [NAME|ID...]",
		Flags: append(inspectFlags(), sizeFlag(), &cli.StringFlag{Name: "type", Usage: "Only inspect objects of the given type: `container|image|network`"}),
		Action: func(c *cli.Context) error {
			find, ok := map[string]finder{"": anyObject, "container": containerObject, "image": imageObject, "network": networkObject}[c.String("type")]
			if !ok || c.IsSet("type") && c.String("type") == "" {
				return &steps.Fault{
					Msg:  fmt.Sprintf(`unknown type: %q: must be one of "container", "image", "network"`, c.String("type")),
					Hint: "Without --type a container is looked for first, then an image, and then a network.",
				}
			}
			return inspectObjects(c, find)
		},
	}
}

func inspectContainerCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "Display detailed information on one or more containers", ArgsUsage: "CONTAINER [CONTAINER...]",
		Flags:  append(inspectFlags(), sizeFlag()),
		Action: func(c *cli.Context) error { return inspectObjects(c, containerObject) },
	}
}

func inspectImageCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "Display detailed information on one or more images", ArgsUsage: "IMAGE [IMAGE...]",
		Flags:  inspectFlags(),
		Action: func(c *cli.Context) error { return inspectObjects(c, imageObject) },
	}
}

func inspectFlags() []cli.Flag {
	return []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "Format output using a Go template: 'json' or a `TEMPLATE`"}}
}

func sizeFlag() cli.Flag {
	return &cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "Display total file sizes if the type is container"}
}

// inspectObjects prints what it finds even where some are not found, as Docker
// does; what is wrong with the others follows, a message each.
func inspectObjects(c *cli.Context, find finder) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	found := []any{}
	var errs []error
	for _, ref := range c.Args().Slice() {
		one, err := find(layout, ref, c.Bool("size"))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, one)
	}
	if err := printInspected(os.Stdout, found, c.String("format")); err != nil {
		return err
	}
	for _, err := range errs {
		report(os.Stderr, err)
	}
	if len(errs) > 0 {
		return exitStatus(1)
	}
	return nil
}

// finder looks for what a name or ID means, and shows it; with sizes where asked.
type finder func(l runtime.Layout, ref string, sizes bool) (any, error)

func containerObject(l runtime.Layout, ref string, sizes bool) (any, error) {
	c, err := runtime.Find(l, ref)
	if err != nil {
		return nil, err
	}
	shown, err := runtime.Inspect(c)
	if err != nil || !sizes {
		return shown, err
	}
	own, whole, err := c.Sizes()
	shown.SizeRw, shown.SizeRootFs = &own, &whole
	return shown, err
}

func imageObject(l runtime.Layout, ref string, _ bool) (any, error) {
	return inspectImage(images.Open(l.Root), ref)
}

// anyObject looks for a container first, then for an image, and then for a network.
func anyObject(l runtime.Layout, ref string, sizes bool) (any, error) {
	found, err := containerObject(l, ref, sizes)
	if !errors.Is(err, runtime.ErrNoContainer) {
		return found, err
	}
	if found, err = imageObject(l, ref, false); !errors.Is(err, images.ErrNoImage) && !errors.Is(err, images.ErrBadName) {
		return found, err
	}
	if found, err = networkObject(l, ref, false); errors.Is(err, netns.ErrNoNetwork) {
		return nil, &steps.Fault{
			Msg:  "No such object: " + ref,
			Hint: "List containers with `minidock ps -a`, images with `minidock images`, networks with `minidock network ls`.", Err: err,
		}
	}
	return found, err
}
