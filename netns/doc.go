// Package netns is about network namespaces: what a container sees of the network.
//
// A network namespace has its own links, addresses, routes, firewall rules and
// port numbers (network_namespaces(7)). For now a container has a namespace with
// the loopback link only; bridges, addresses and DNS come on top of it.
//
// The package writes the three files through which a C library learns its names:
// /etc/hostname, /etc/hosts and /etc/resolv.conf. They belong to the namespace,
// not to the image, so each container has its own, bind-mounted over the image's.
//
// To look at it:
//
//	readlink /proc/PID/ns/net                    which namespace a process is in
//	nsenter --net=/proc/PID/ns/net ip address    its links and addresses
//	ls /var/lib/minidock/containers/ID           hostname, hosts, resolv.conf
package netns
