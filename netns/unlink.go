package netns

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// deleteLink removes a link by its name; a missing one is no error. It returns when
// the link is gone for everybody, and leaves the rest of the call to a goroutine: the
// kernel takes a link from its lists at once, and then waits for readers of its own, 15 ms
// for a veth pair and 30 for a bridge, before it frees the memory (netdev_run_todo and
// br_multicast_dev_del, both by rcu_barrier). Whoever kills this process can't stop that.
func deleteLink(name string) error {
	if !listed(name) {
		return nil
	}
	// Sockets belong to the namespace of the thread that opens them, so that the
	// goroutine's own does not matter.
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_NETCONF)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		events.Close()
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	returned := make(chan error, 1)
	go func() {
		returned <- askToDelete(socket, name)
		socket.Close()
		events.Close() // This ends the waiting below, if nothing else has.
	}()
	for {
		if _, _, err := events.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return <-returned
		}
		// Whatever has changed, a look at the link itself says what has come of it.
		if !listed(name) {
			return nil
		}
	}
}

func askToDelete(socket *nl.NetlinkSocket, name string) error {
	request := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	request.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	request.AddData(linkName(name))
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// listed says whether there is a link of that name. It asks for the directory of
// the link's settings, which comes after the link and goes after it: a question over
// netlink would wait for whoever changes links, for as long as he waits.
func listed(name string) bool { return exists(sysctlFile("net.ipv4.conf") + "/" + name) }
