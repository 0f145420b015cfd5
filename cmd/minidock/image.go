package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/urfave/cli/v2"

	"github.com/minidock/minidock/images"
	"github.com/minidock/minidock/runtime"
	"github.com/minidock/minidock/steps"
)

func imageCommand() *cli.Command {
	return &cli.Command{
		Name: "image", Usage: "Manage images",
		Subcommands: []*cli.Command{
			importCommand(), inspectImageCommand(), pruneImagesCommand(),
			named(imagesCommand(), "ls", "list"), named(removeImageCommand(), "rm", "remove"),
		},
	}
}

// named gives a command another name, under which Docker has it too.
func named(c *cli.Command, name string, aliases ...string) *cli.Command {
	c.Name, c.Aliases = name, aliases
	return c
}

func importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "Import the contents from a tarball or a directory to create a filesystem image",
		ArgsUsage: "TARBALL|DIR|- [REPOSITORY[:TAG]]",
		Flags: []cli.Flag{
			list("change", "c", "Apply Dockerfile instruction to the created image"),
			&cli.BoolFlag{Name: "explain", Usage: "Tell every step while doing it"},
			&cli.StringFlag{Name: "max-size", Usage: "Refuse what unpacks to more than this", Value: "8g"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "Set commit message for imported image"},
		},
		Action: importImage,
	}
}

func importImage(c *cli.Context) error {
	if c.NArg() < 1 || c.NArg() > 2 {
		return needsArguments(c, "1 or 2 arguments")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	maxSize, err := units.RAMInBytes(c.String("max-size"))
	if err == nil && maxSize <= 0 {
		err = errors.New("must be more than 0")
	}
	if err != nil {
		return invalidArgument("--max-size", c.String("max-size"), err, "Give a size such as 512m or 20g.")
	}
	warnings := &warnings{w: os.Stderr}
	o := images.ImportOptions{Changes: c.StringSlice("change"), Message: c.String("message"), MaxSize: maxSize, Warn: warnings.add}
	if c.Bool("explain") {
		o.Tell = importTeller(os.Stderr, layout).tell
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	image, err := importFrom(ctx, images.Open(layout.Root), c.Args().Get(0), c.Args().Get(1), o)
	warnings.end()
	if errors.Is(err, context.Canceled) {
		return &steps.Fault{Msg: "import interrupted: nothing was kept", Code: 128 + int(syscall.SIGINT), Err: err}
	}
	if err != nil {
		return &steps.Fault{Msg: err.Error(), Hint: steps.HintOf(err), Code: 1, Err: err}
	}
	if image.Name != "" {
		runtime.TellImage(layout, "tag", image.ID, image.Name)
	}
	runtime.TellImage(layout, "import", image.ID, image.ID)
	fmt.Println(image.ID)
	return nil
}

// importTeller tells an import's steps with its root written short.
func importTeller(w io.Writer, l runtime.Layout) *teller {
	t := newTeller(w, l)
	fmt.Fprintf(w, "    ROOT=%s\n", l.Root)
	t.short = strings.NewReplacer(l.Root+"/", "$ROOT/")
	return t
}

func importFrom(ctx context.Context, store *images.Store, source, name string, o images.ImportOptions) (images.Image, error) {
	if source == "-" {
		return store.Import(ctx, os.Stdin, name, o)
	}
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
		return images.Image{}, &steps.Fault{
			Msg:  "minidock downloads nothing: " + source,
			Hint: fmt.Sprintf("Let another program do it: curl -L %s | minidock image import - NAME", steps.ShellQuote(source)),
		}
	}
	f, err := os.Open(source)
	if err != nil {
		return images.Image{}, &steps.Fault{
			Msg:  err.Error(),
			Hint: "Give a tar archive, a directory, or - for standard input; the image's name comes after it.",
			Err:  err,
		}
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return store.ImportDir(ctx, source, name, o)
	}
	return store.Import(ctx, f, name, o)
}

// warnings prints the first few of what may be thousands.
type warnings struct {
	w     io.Writer
	count int
}

// shownWarnings is how many still fit on a screen beside the result.
const shownWarnings = 10

func (s *warnings) add(text string) {
	if s.count++; s.count <= shownWarnings {
		fmt.Fprintf(s.w, "minidock: warning: %s\n", text)
	}
}

func (s *warnings) end() {
	if more := s.count - shownWarnings; more > 0 {
		fmt.Fprintf(s.w, "minidock: warning: and %d more like these\n", more)
	}
}

func imagesCommand() *cli.Command {
	return &cli.Command{
		Name: "images", Usage: "List images", ArgsUsage: "[REPOSITORY[:TAG]]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "Show all images; minidock hides none"},
			&cli.StringFlag{Name: "format", Usage: "Format output: 'table', 'table TEMPLATE', 'json' or a `TEMPLATE`"},
			&cli.BoolFlag{Name: "no-trunc", Usage: "Don't truncate output"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "Only show image IDs"},
		},
		Action: listImages,
	}
}

func listImages(c *cli.Context) error {
	if c.NArg() > 1 {
		return needsArguments(c, "at most 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	all, err := images.Open(layout.Root).List()
	if err != nil {
		return err
	}
	if pattern := c.Args().First(); pattern != "" {
		all = slices.DeleteFunc(all, func(i images.Image) bool { return !matches(pattern, i) })
	}
	format := c.String("format")
	if format == "" && c.Bool("quiet") {
		format = "{{.ID}}"
	}
	var rows []map[string]string
	for _, image := range all {
		rows = append(rows, imageRow(image, c.Bool("no-trunc")))
	}
	return printRows(os.Stdout, format, imageColumns(), rows)
}

// matches takes a repository for all of its tags; both may be patterns.
func matches(pattern string, i images.Image) bool {
	byName, _ := path.Match(pattern, i.Name)
	byRepository, _ := path.Match(pattern, i.Repository())
	return i.Name != "" && (byName || byRepository)
}

func imageColumns() listColumns {
	return listColumns{
		headings: headings{
			"Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID", "CreatedSince": "CREATED",
			"CreatedAt": "CREATED AT", "Size": "SIZE", "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
		},
		standard: `{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`,
	}
}

func imageRow(i images.Image, whole bool) map[string]string {
	id := i.ID
	if !whole {
		id = shortID(id)
	}
	row := map[string]string{
		"Repository": i.Repository(), "Tag": i.Tag(), "Digest": "<none>", "ID": id,
		"CreatedSince": "N/A", "CreatedAt": "N/A",
		"Size": humanSize(i.Size), "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
	}
	if !i.Created.IsZero() {
		row["CreatedSince"], row["CreatedAt"] = ago(i.Created), localTime(i.Created)
	}
	for _, field := range []string{"Repository", "Tag"} {
		if row[field] == "" {
			row[field] = "<none>"
		}
	}
	return row
}

func removeImageCommand() *cli.Command {
	return &cli.Command{
		Name: "rmi", Usage: "Remove one or more images", ArgsUsage: "IMAGE [IMAGE...]",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "Force removal of the image"}},
		Action: removeImages,
	}
}

// removeImages removes what it can and names what it can't, one by one.
func removeImages(c *cli.Context) error {
	if c.NArg() == 0 {
		return needsArguments(c, "at least 1 argument")
	}
	layout, err := layoutOf(c)
	if err != nil {
		return err
	}
	o := images.RemoveOptions{Force: c.Bool("force"), Users: func(id string) ([]images.User, error) { return imageUsers(layout, id) }}
	failed := false
	for _, ref := range c.Args().Slice() {
		store := images.Open(layout.Root)
		image, _ := store.Resolve(ref) // Remove says what is wrong with it.
		said, err := store.Remove(ref, o)
		runtime.TellRemoval(layout, image.ID, said)
		for _, line := range said {
			fmt.Println(line)
		}
		if err != nil {
			report(os.Stderr, err)
			// As in Docker, force also makes a missing image no error.
			failed = failed || !o.Force || !errors.Is(err, images.ErrNoImage)
		}
	}
	if failed {
		return exitStatus(1)
	}
	return nil
}

// imageUsers finds the containers that were made from an image. One whose state
// can't be read may be among them, so that is an error.
func imageUsers(l runtime.Layout, imageID string) ([]images.User, error) {
	all, err := runtime.List(l)
	if err != nil {
		return nil, err
	}
	var users []images.User
	for _, c := range all {
		if c.Config.ImageID == imageID {
			users = append(users, images.User{ID: c.Config.ID, Running: c.Running()})
		}
	}
	return users, nil
}

// imageInspect has the fields of Docker's image inspect, in its order.
type imageInspect struct {
	ID           string `json:"Id"`
	RepoTags     []string
	RepoDigests  []string
	Comment      string
	Created      string
	Author       string `json:",omitempty"`
	Config       imageConfig
	Architecture string
	Variant      string `json:",omitempty"`
	OS           string `json:"Os"`
	Size         int64
	GraphDriver  graphDriver
	RootFS       rootFS
	Metadata     imageMetadata
}

// imageConfig adds the one health setting that the library's type lacks.
type imageConfig struct {
	v1.Config
	Healthcheck *imageHealth `json:",omitempty"`
}

type imageHealth struct {
	v1.HealthConfig
	StartInterval time.Duration `json:",omitempty"`
}

// graphDriver says where the layers are unpacked; LowerDir is as overlayfs takes
// it, the topmost first.
type graphDriver struct {
	Data map[string]string
	Name string
}

type rootFS struct {
	Type   string
	Layers []string
}

type imageMetadata struct{ LastTagTime time.Time }

func inspectImage(store *images.Store, ref string) (*imageInspect, error) {
	image, err := store.Resolve(ref)
	if errors.Is(err, images.ErrNoImage) {
		return nil, images.NotFound(ref)
	}
	if err != nil {
		return nil, err
	}
	tags, err := tagsOf(store, image.ID)
	if err != nil {
		return nil, err
	}
	lower := slices.Clone(image.Layers)
	slices.Reverse(lower)
	inspected := &imageInspect{
		ID: image.ID, RepoTags: tags, RepoDigests: []string{},
		Created: image.Created.Format(time.RFC3339Nano), Author: image.Config.Author,
		Config:       imageConfig{Config: image.Config.Config},
		Architecture: image.Config.Architecture, Variant: image.Config.Variant, OS: image.Config.OS, Size: image.Size,
		GraphDriver: graphDriver{Name: "overlayfs", Data: map[string]string{"LowerDir": strings.Join(lower, ":")}},
		RootFS:      rootFS{Type: image.Config.RootFS.Type},
		Metadata:    imageMetadata{image.Tagged},
	}
	for _, diffID := range image.Config.RootFS.DiffIDs {
		inspected.RootFS.Layers = append(inspected.RootFS.Layers, diffID.String())
	}
	if n := len(image.Config.History); n > 0 {
		inspected.Comment = image.Config.History[n-1].Comment
	}
	if h := image.Config.Config.Healthcheck; h != nil {
		inspected.Config.Healthcheck = &imageHealth{*h, image.HealthStartInterval}
	}
	return inspected, nil
}

func tagsOf(store *images.Store, id string) ([]string, error) {
	all, err := store.List()
	if err != nil {
		return nil, err
	}
	tags := []string{}
	for _, image := range all {
		if image.ID == id && image.Name != "" {
			tags = append(tags, image.Name)
		}
	}
	return tags, nil
}
