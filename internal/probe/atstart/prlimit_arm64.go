package atstart

// include/uapi/asm-generic/unistd.h
const sysPrlimit64 = 261
