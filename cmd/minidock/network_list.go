package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

func listNetworksCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Aliases: []string{"list"}, Usage: "List networks",
		Flags: []cli.Flag{
			filterFlag(),
			&cli.StringFlag{Name: "format", Usage: "Format output: 'table', 'table TEMPLATE', 'json' or a `TEMPLATE`"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Do not truncate the output", DisableDefaultText: true},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Only display network IDs", DisableDefaultText: true},
		},
		Action: listNetworks,
	}
}

// listNetworks prints what can be read even where some network's state can't.
func listNetworks(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	store := layout.Networks()
	filter, err := readNetworkFilter(store, c.StringSlice("filter"))
	if err != nil {
		return err
	}
	all, listErr := store.List()
	var rows []networkRow
	var errs []error
	for _, n := range all {
		wanted, err := filter.admitsNetwork(n)
		if errs = append(errs, err); wanted {
			rows = append(rows, rowOf(n, c.Bool("no-trunc")))
		}
	}
	format := c.String("format")
	if format == "" && c.Bool("quiet") {
		format = "{{.ID}}"
	}
	return errors.Join(printRows(os.Stdout, format, networkColumns(), rows), listErr, errors.Join(errs...))
}

// localScope is Docker's word for networks that end at the host.
const localScope = "local"

// networkRow is a network as ls shows it: Docker's fields.
type networkRow struct {
	CreatedAt, Driver, ID, IPv4, IPv6, Internal, Labels, Name, Scope string

	labels map[string]string
}

// Label is the value of one label.
func (r networkRow) Label(name string) string { return r.labels[name] }

func rowOf(n netns.Network, whole bool) networkRow {
	row := networkRow{
		CreatedAt: n.Created.String(), Driver: n.Driver, ID: n.ID, IPv4: "true", IPv6: "false", Internal: strconv.FormatBool(n.Internal),
		Labels: labelList(n.Labels), Name: n.Name, Scope: localScope, labels: n.Labels,
	}
	if !whole {
		row.ID = shortID(row.ID)
	}
	return row
}

func networkColumns() listColumns {
	return listColumns{
		headings: headings{
			"CreatedAt": "CREATED AT", "Driver": "DRIVER", "ID": "NETWORK ID", "IPv4": "IPV4", "IPv6": "IPV6", "Internal": "INTERNAL",
			"Labels": "LABELS", "Name": "NAME", "Scope": "SCOPE",
		},
		standard: `{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}`,
	}
}

// networkFilter says which networks ls shows.
type networkFilter struct {
	filters
	store *netns.Store
	// dangling, where it is given, wants those that nobody uses, or the others.
	dangling *bool
}

func readNetworkFilter(store *netns.Store, values []string) (f networkFilter, err error) {
	f.store = store
	if f.filters, err = readFilters(values, "dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return f, err
	}
	for _, kind := range f.filters["type"] {
		if kind != "builtin" && kind != "custom" {
			return f, &steps.Fault{Msg: fmt.Sprintf("invalid filter: 'type'='%s'", kind), Hint: "Networks are of the type builtin or custom."}
		}
	}
	switch asked := f.filters["dangling"]; {
	case len(asked) > 1:
		return f, &steps.Fault{Msg: `got more than one value for filter key "dangling"`, Hint: "Give one of them."}
	case len(asked) == 1:
		wanted, err := strconv.ParseBool(asked[0])
		if err != nil {
			return f, &steps.Fault{Msg: `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`, Hint: "A network is dangling that no container has an address on."}
		}
		f.dangling = &wanted
	}
	return f, nil
}

func (f networkFilter) admitsNetwork(n netns.Network) (bool, error) {
	kind := "custom"
	if netns.Predefined(n.Name) {
		kind = "builtin"
	}
	if !f.admits("driver", n.Driver) || !f.admits("scope", localScope) || !f.admits("type", kind) ||
		!f.admitsPattern("id", n.ID) || !f.admitsPattern("name", n.Name) || !f.admitsLabels(n.Labels) {
		return false, nil
	}
	if f.dangling == nil {
		return true, nil
	}
	leases, err := f.store.Leases(n.Name)
	return *f.dangling == (kind == "custom" && len(leases) == 0), err
}
