package images

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os/exec"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/go-archive/compression"

	"github.com/minidock/minidock/steps"
)

// Bounds on the memory that a hostile stream can make a decompressor take; the
// window is what zstd's own command line allows (zstd(1), --memory).
const (
	maxZstdWindow = 128 << 20
	maxXzMemory   = "512MiB"
)

// magicLength is how much of a stream tells its compression.
const magicLength = 10

// decompress recognises gzip, zstd, bzip2 and xz by their first bytes; anything
// else is taken as it is. xz is left to the program of that name.
func decompress(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	magic, err := buffered.Peek(magicLength)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch compression.Detect(magic) {
	case compression.Gzip:
		return gzip.NewReader(buffered)
	case compression.Zstd:
		d, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case compression.Xz:
		return decompressXz(ctx, buffered)
	}
	return compression.DecompressStream(buffered)
}

func decompressXz(ctx context.Context, r io.Reader) (io.ReadCloser, error) {
	if _, err := exec.LookPath("xz"); err != nil {
		return nil, &steps.Fault{
			Msg:  "the archive is compressed with xz, and there is no xz here to unpack it",
			Hint: "Install xz (apt-get install xz-utils), or give the archive uncompressed.",
			Err:  err,
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--memlimit-decompress="+maxXzMemory)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, in, &complaint
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start xz: %w", err)
	}
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%s: %w", bytes.TrimSpace(complaint.Bytes()), err)
		}
		in.CloseWithError(err)
	}()
	return stoppable{out, cancel}, nil
}

// stoppable ends the program at the other end of a pipe when it is closed.
type stoppable struct {
	*io.PipeReader
	stop context.CancelFunc
}

func (s stoppable) Close() error {
	s.stop()
	return s.PipeReader.Close()
}

// budget bounds what an archive may take, as it says of itself and as it is.
type budget struct {
	// max is the limit in bytes, for the files' sizes together.
	max int64
	// maxEntries bounds the inodes.
	maxEntries int64
	size       int64
	entries    int64
}

// DefaultMaxSize is how much an archive may unpack unless something else is
// said, in bytes.
const DefaultMaxSize = 8 << 30

const (
	// bytesPerInode is mke2fs's inode_ratio (mke2fs.conf(5)): a filesystem with
	// room for so many bytes has one inode for each such piece.
	bytesPerInode = 16 << 10
	// entryOverhead is more than an entry costs in the archive beside its
	// content: a header, an extended header with its own, and padding, 512
	// bytes each (POSIX.1-2017, pax, "ustar Interchange Format").
	entryOverhead = 4 << 10
	// archiveOverhead allows for the blocks that tar fills up an archive with.
	archiveOverhead = 1 << 20
)

func newBudget(maxSize int64) *budget {
	if maxSize <= 0 {
		maxSize = DefaultMaxSize
	}
	return &budget{max: maxSize, maxEntries: max(DefaultMaxSize, maxSize) / bytesPerInode}
}

// entry takes one entry of so many bytes out of the budget, before any is written.
func (b *budget) entry(size int64) error {
	b.entries++
	if size > b.max-b.size {
		return b.tooBig()
	}
	b.size += size
	if b.entries > b.maxEntries {
		return &steps.Fault{
			Msg:  fmt.Sprintf("the archive holds more than %d files", b.maxEntries),
			Hint: "A larger --max-size allows more; an archive like this is often a mistake or an attack.",
		}
	}
	return nil
}

// stream says whether an archive may be so long, uncompressed, at this point.
func (b *budget) stream(length int64) error {
	if length-archiveOverhead-b.entries*entryOverhead > b.max {
		return b.tooBig()
	}
	return nil
}

func (b *budget) tooBig() error {
	return &steps.Fault{
		Msg:  fmt.Sprintf("the archive unpacks to more than %s", sizeText(b.max)),
		Hint: "Such an archive is often a mistake or an attack; if it is neither, give a larger --max-size.",
	}
}

// sizeText writes a number of bytes as --max-size takes it.
func sizeText(n int64) string {
	for _, unit := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.bytes && n%unit.bytes == 0 {
			return fmt.Sprintf("%d %s", n/unit.bytes, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// intake is what an uncompressed archive passes on its way in: it is counted,
// hashed and kept.
type intake struct {
	src    io.Reader
	keep   io.Writer
	sum    hash.Hash
	budget *budget
	length int64
	// zeros counts the zero bytes that the archive ends with so far.
	zeros int64
}

func newIntake(src io.Reader, keep io.Writer, b *budget) *intake {
	return &intake{src: src, keep: keep, sum: sha256.New(), budget: b}
}

func (in *intake) Read(p []byte) (int, error) {
	n, err := in.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, damaged(err)
	}
	in.length += int64(n)
	if err := in.budget.stream(in.length); err != nil {
		return 0, err
	}
	in.sum.Write(p[:n])
	in.countZeros(p[:n])
	if _, err := in.keep.Write(p[:n]); err != nil {
		return 0, fmt.Errorf("keep archive: %w", err)
	}
	return n, err
}

func (in *intake) countZeros(p []byte) {
	tail := bytes.TrimRight(p, "\x00")
	if len(tail) > 0 {
		in.zeros = 0
	}
	in.zeros += int64(len(p) - len(tail))
}

// digest names the archive by its content: the layer's DiffID.
func (in *intake) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(in.sum.Sum(nil))}
}

// ended says whether the archive has its end mark (two blocks of 512 zero bytes,
// of which the second is often forgotten).
func (in *intake) ended() bool { return in.zeros >= 512 }

// damaged explains what a stream's reader or decompressor says of it.
func damaged(err error) error {
	var fault *steps.Fault
	switch {
	case errors.As(err, &fault), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return cutShort(err)
	}
	return &steps.Fault{
		Msg:  "read archive: " + err.Error(),
		Hint: "Check the file (`tar -tf FILE`), or get it again.",
		Err:  err,
	}
}

func cutShort(err error) error {
	return &steps.Fault{
		Msg:  "the archive is cut short: it ends in the middle of a file",
		Hint: "Get it again; a download or a copy may have broken off, or the disk was full.",
		Err:  err,
	}
}

// blobWriter compresses an archive into a file, and learns the blob's digest.
type blobWriter struct {
	gzip *gzip.Writer
	sum  hash.Hash
	size int64
	file io.Writer
}

// newBlobWriter compresses quickly rather than well: an import should take about
// as long as copying the files.
func newBlobWriter(file io.Writer) *blobWriter {
	b := &blobWriter{sum: sha256.New(), file: file}
	b.gzip, _ = gzip.NewWriterLevel((*blobSink)(b), gzip.BestSpeed) // It fails for other levels only.
	return b
}

func (b *blobWriter) Write(p []byte) (int, error) { return b.gzip.Write(p) }

// finish writes what is still held back, and describes the blob.
func (b *blobWriter) finish() (v1.Descriptor, error) {
	if err := b.gzip.Close(); err != nil {
		return v1.Descriptor{}, fmt.Errorf("compress archive: %w", err)
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(b.sum.Sum(nil))}
	return v1.Descriptor{MediaType: types.OCILayer, Digest: digest, Size: b.size}, nil
}

// blobSink is the compressed side of a blobWriter.
type blobSink blobWriter

func (b *blobSink) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	b.sum.Write(p[:n])
	b.size += int64(n)
	return n, err
}
