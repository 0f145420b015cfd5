// Package netns is about network namespaces: what a container sees of the network,
// and how it is joined to others.
//
// A network namespace has its own links, addresses, routes, firewall rules and port
// numbers (network_namespaces(7)). A network of minidock's is a bridge on the host, a
// switch in software, and a container on it has a pair of links (veth(4)): one end is
// a port of the bridge, the other is eth0 in the container's namespace. The host has
// the gateway's address on the bridge itself, passes packets on, gives those that
// leave its own address (masquerading), and leads published ports to containers. All
// of that is rules in one nftables table, which never change: which networks and ports
// there are is in the table's sets and maps.
//
//	container web                     host                          other machines
//	┌───────────────────┐
//	│ eth0 172.18.0.2   │──veth── v3f2a….0 ─┐
//	│ 127.0.0.11:53     │                   ├─ md-54fa… 172.18.0.1 ── nftables ── eth0
//	└───────────────────┘         v9c1b….0 ─┘  (bridge)              NAT, walls
//
// Names are answered by a resolver in each container's monitor, at 127.0.0.11 inside
// the container: it knows the containers on the same networks, and asks the host's
// servers for all others. Running containers leave a file in the network's run
// directory, at which the others' resolvers look before they answer.
//
// Files, see docs/layout.md: a network is a directory, an address a symbolic link in
// it to the container that has it, so it is given once, and survives a reboot.
//
// To look at it:
//
//	ls -l /var/lib/minidock/networks/NAME/leases        addresses and who has them
//	ip -d link show type bridge; bridge link            bridges and what is plugged in
//	nft list table ip minidock                          rules, with their counters
//	nsenter --net=/run/minidock/netns/ID ip address     a container's links and addresses
//	nsenter --net=/run/minidock/netns/ID ip route       its way out
//	nsenter --net=/run/minidock/netns/ID nft list ruleset   how port 53 leads to the resolver
//	cat /run/minidock/networks/NAME/*.json              who is on a network now
package netns
