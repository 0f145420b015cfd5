// Package images keeps images and makes root filesystems of them.
//
// The kernel feature is overlayfs: a stack of directories that looks like one.
// The lower ones, an image's unpacked layers, are only read, so any number of
// containers can share them; what a container writes goes to an upper one of its
// own. A file that is changed is first copied up, one that is deleted leaves a
// "whiteout", a character device 0/0, in its place.
//
// Files, below the root directory (docs/layout.md):
//
//	images/oci-layout        marks an OCI image layout (image-spec, image-layout.md)
//	images/index.json        which images there are, and their names
//	images/blobs/sha256/     manifests, configurations and layers (tar.gz), named by their digest
//	images/lock              held (flock) by whoever changes anything of all this
//	layers/HEX/              a layer unpacked, named by the digest of its tar archive
//	staging/ID/              an import under way; locked (flock) while its process lives
//	ledgers/ID.jsonl         what that import has done so far
//
// Look for yourself:
//
//	cat /var/lib/minidock/images/index.json
//	ls /var/lib/minidock/layers/
//	findmnt -t overlay
//	ls /var/lib/minidock/containers/ID/upper      what a container has changed
//
// Archives come from others, so nothing in them is trusted: see [Store.Import].
// Names and configurations are Docker's, so that what is learned here holds
// there.
package images
