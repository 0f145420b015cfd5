package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func diskCommand() *cli.Command {
	return &cli.Command{
		Name: "df", Usage: "Show disk usage",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Usage: "Format output: 'table', 'table TEMPLATE', 'json' or a `TEMPLATE`"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "Show detailed information on space usage"},
		},
		Action: showDisk,
	}
}

func showDisk(c *cli.Context) error {
	if c.NArg() > 0 {
		return takesNoArguments(c)
	}
	if c.Bool("verbose") && c.String("format") != "" {
		return &steps.Fault{Msg: "the verbose and the format options conflict", Hint: "Give one of them."}
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	disk, err := runtime.Disk(layout)
	if err != nil {
		return err
	}
	if c.Bool("verbose") {
		return printDisk(os.Stdout, layout, disk)
	}
	columns := listColumns{
		headings: headings{"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"},
		standard: `{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}`,
	}
	return printRows(os.Stdout, c.String("format"), columns, []map[string]string{
		imagesSum(disk), containersSum(disk),
		// Docker's rows for what minidock has none of.
		sumRow("Local Volumes", 0, 0, 0, 0), sumRow("Build Cache", 0, 0, 0, 0),
	})
}

// imagesSum counts as reclaimable what no container's image needs, as Docker does.
func imagesSum(d runtime.DiskUsage) map[string]string {
	active, reclaimable := 0, d.LayersSize
	for _, i := range d.Images {
		if i.Containers > 0 {
			active++
			reclaimable -= i.Size - i.Shared
		}
	}
	return sumRow("Images", len(d.Images), active, d.LayersSize, reclaimable)
}

func containersSum(d runtime.DiskUsage) map[string]string {
	active := 0
	var size, reclaimable int64
	for _, c := range d.Containers {
		size += c.Size
		if c.Active {
			active++
		} else {
			reclaimable += c.Size
		}
	}
	return sumRow("Containers", len(d.Containers), active, size, reclaimable)
}

func sumRow(kind string, count, active int, size, reclaimable int64) map[string]string {
	row := map[string]string{
		"Type": kind, "TotalCount": strconv.Itoa(count), "Active": strconv.Itoa(active),
		"Size": units.HumanSize(float64(size)), "Reclaimable": units.HumanSize(float64(reclaimable)),
	}
	if size > 0 {
		row["Reclaimable"] += fmt.Sprintf(" (%d%%)", reclaimable*100/size)
	}
	return row
}

// printDisk names each image and container.
func printDisk(w io.Writer, l runtime.Layout, d runtime.DiskUsage) error {
	fmt.Fprint(w, "Images space usage:\n\n")
	columns := imageColumns()
	columns.standard = `{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}`
	if err := printRows(w, "", columns, diskImages(d)); err != nil {
		return err
	}
	fmt.Fprint(w, "\nContainers space usage:\n\n")
	rows, err := diskContainers(l, d)
	if err != nil {
		return err
	}
	columns = psColumns(false)
	columns.standard = `{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}`
	return printRows(w, "", columns, rows)
}

func diskImages(d runtime.DiskUsage) []map[string]string {
	var rows []map[string]string
	for _, i := range d.Images {
		for n := range max(1, len(i.Names)) {
			image := i.Image
			if n < len(i.Names) {
				image.Name = i.Names[n]
			}
			row := imageRow(image, false)
			row["Size"], row["SharedSize"], row["UniqueSize"] = humanSize(i.Size), humanSize(i.Shared), humanSize(i.Size-i.Shared)
			row["Containers"] = strconv.Itoa(i.Containers)
			rows = append(rows, row)
		}
	}
	return rows
}

func diskContainers(l runtime.Layout, d runtime.DiskUsage) ([]psRow, error) {
	v := psView{layout: l, now: time.Now(), names: map[[2]string]string{}}
	var rows []psRow
	for _, u := range d.Containers {
		row, err := v.row(u.Container)
		if err != nil {
			return nil, err
		}
		row.Size = humanSize(u.Size)
		rows = append(rows, row)
	}
	return rows, nil
}
