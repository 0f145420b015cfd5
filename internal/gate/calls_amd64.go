package gate

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// legacy are the calls that newer architectures no longer have.
func legacy() table {
	return table{
		unix.SYS_OPEN:    createsFile(byPath("open", 0), 1),
		unix.SYS_CREAT:   byPath("creat", 0),
		unix.SYS_MKDIR:   byPath("mkdir", 0),
		unix.SYS_MKNOD:   byPath("mknod", 0),
		unix.SYS_RMDIR:   byPath("rmdir", 0),
		unix.SYS_SYMLINK: byPath("symlink", 1),
		unix.SYS_LINK:    byPath("link", 1),
		unix.SYS_UNLINK:  byPath("unlink", 0),
		unix.SYS_RENAME:  byPath("rename", 1),
		unix.SYS_CHMOD:   byPath("chmod", 0),
		unix.SYS_CHOWN:   byPath("chown", 0),
		unix.SYS_LCHOWN:  byPath("lchown", 0),
		unix.SYS_FORK:    byLook("fork", lookNothing),
		unix.SYS_VFORK:   byLook("vfork", lookNothing),
	}
}
