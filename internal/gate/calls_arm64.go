package gate

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// legacy are the calls that newer architectures no longer have.
func legacy() table { return nil }
