package runtime

import (
	"context"
	"errors"
	"io"

	"github.com/minidock/minidock/steps"
)

// Export writes a container's whole root file system as a tar archive, as it is
// without what is mounted over it while the container runs. tell, when not nil,
// hears the steps; warn hears what is left out.
func Export(ctx context.Context, l Layout, ref string, w io.Writer, tell func(steps.Record), warn func(string)) error {
	v, err := openView(ctx, l, ref, false, tell)
	if err != nil {
		return err
	}
	err = v.stream(ctx, w, source{path: "/", dir: true}, warn)
	if err == nil {
		v.container.emit("export", nil)
	}
	return errors.Join(err, v.close())
}
