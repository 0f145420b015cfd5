// Package cgroups limits what a container may use of the machine, and counts
// what it used.
//
// # The kernel feature
//
// A control group (cgroup) is a directory in a file system that the kernel makes
// up: mkdir makes a group, writing a process id to the group's cgroup.procs moves
// the process there, its children are born there, and rmdir removes the empty
// group. What a group may use is written to files in that directory; what it did
// use is read from others. There is nothing else to it: every act of this package
// can be done by hand with mkdir, echo and cat.
//
// Controllers (cpu, cpuset, io, memory, pids) bring those files. A group has the
// files of a controller only if its parent passes the controller on, in the
// parent's cgroup.subtree_control; and a group that passes one on may hold no
// processes itself ("no internal processes"; the root group is exempt). So
// processes live in the leaves of the tree:
//
//	/sys/fs/cgroup/                        the root; all controllers there are: cgroup.controllers
//	├── cgroup.subtree_control             "+cpu +cpuset +io +memory +pids": passed on to minidock
//	└── minidock/                          ours; holds no process (minidock-HASH beside another --root)
//	    ├── cgroup.subtree_control         the same, passed on to the containers
//	    ├── monitors/                      minidock's own processes, one for each container
//	    └── 3f2a…/                         one container, and the limits of one container
//	        ├── cgroup.procs               who is in it
//	        ├── cpu.max                    "50000 100000": 50 ms of CPU time in each 100 ms
//	        ├── cpu.weight  cpuset.cpus    its share when CPUs are short; the CPUs it may run on
//	        ├── memory.max                 above it the kernel reclaims, then kills
//	        ├── memory.swap.max            how much of its memory may be moved to swap
//	        ├── memory.high  memory.low    above: slowed and reclaimed; below: protected
//	        ├── pids.max                   how many tasks: fork and clone fail beyond it
//	        ├── cpu.stat                   usage_usec; nr_periods, nr_throttled, throttled_usec
//	        ├── memory.current  .peak      in use now; the most ever
//	        ├── memory.events              how often low, high, max were hit, and oom_kill
//	        ├── pids.current  pids.events  tasks now; how often a fork was refused
//	        └── cgroup.kill                "1" kills everyone in it, at once
//
// # How to look
//
//	cat /proc/self/cgroup                              which group a process is in
//	cat /sys/fs/cgroup/cgroup.controllers              what this kernel can limit
//	ls  /sys/fs/cgroup/minidock                        a directory for each container
//	cat /sys/fs/cgroup/minidock/ID/cpu.max             a limit
//	cat /sys/fs/cgroup/minidock/ID/cpu.stat            was it throttled?
//	cat /sys/fs/cgroup/minidock/ID/memory.events       was something killed?
//	systemd-cgls, systemd-cgtop                        the whole tree, as systemd draws it
//
// The kernel's own text is Documentation/admin-guide/cgroup-v2.rst; see also
// cgroups(7).
//
// # Version 1
//
// Before, each controller had a tree of its own (/sys/fs/cgroup/memory,
// /sys/fs/cgroup/pids, …). A controller is on version 1 or on version 2, never
// on both, and a host that has version 1 trees and an (almost empty) version 2
// tree at /sys/fs/cgroup/unified is called hybrid. Limits need version 2 here;
// on such a host containers without limits run, in groups that libcontainer
// makes in every tree ([JoinSteps] tells them), and are counted from there.
//
// # Who writes what
//
// On version 2 this package is the only writer of limits: containerd/cgroups
// writes them and reads the counters, except for the few files that it can't
// (see [Group.Apply] and [Group.Counters]). libcontainer puts the process in
// and writes the device rules; this package removes the group. Controllers that were passed
// on in the root's cgroup.subtree_control stay passed on: others may use them by
// then, and it makes no group and limits nobody.
package cgroups
