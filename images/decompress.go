package images

import (
	"context"
	"io"
)

// Decompress recognises gzip, zstd, bzip2 and xz by their first bytes, and takes
// anything else as it is.
func Decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	plain, err := decompress(ctx, r)
	if err != nil {
		return nil, damaged(err)
	}
	return plain, nil
}
