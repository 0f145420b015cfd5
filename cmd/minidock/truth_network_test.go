package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/minidock/minidock/internal/strace"
	"github.com/minidock/minidock/netns"
	"github.com/minidock/minidock/steps"
)

// takesNetworkBack says whether an act takes back what a step of package netns made;
// known is false for steps of others.
func takesNetworkBack(kind steps.Kind, target string, a act) (takes, known bool) {
	quoted := strconv.Quote(target)
	switch kind {
	case netns.KindNamespace:
		return a.is("umount2", quoted) || a.is("unlinkat", quoted), true
	case netns.KindVeth, netns.KindSharedVeth:
		name, _, _ := strings.Cut(target, " -> ")
		return deletesLink(name, a), true
	case netns.KindBridge, netns.KindSharedBridge:
		name, _, _ := strings.Cut(target, " ")
		return deletesLink(name, a), true
	case netns.KindRules, netns.KindSharedRules:
		return forgets(target, a), true
	case netns.KindTable:
		return dropsTable(target, a), true
	case netns.KindForwarding:
		return dropsTable(target, a) || stopsForwarding(a), true
	case netns.KindPublished:
		return unpublishes(target, a), true
	case netns.KindResident:
		return a.is("unlinkat", quoted) || a.is("unlinkat", strconv.Quote(filepath.Dir(target)), "AT_REMOVEDIR"), true
	}
	return false, false
}

// connects says whether steps of a kind connect a container's networks, which a
// monitor does while libcontainer makes the rest of its namespaces.
func connects(kind steps.Kind) bool {
	switch kind {
	case netns.KindTable, netns.KindForwarding, netns.KindRules, netns.KindSharedRules, netns.KindBridge, netns.KindSharedBridge,
		netns.KindVeth, netns.KindSharedVeth, netns.KindHairpin, netns.KindAddress, netns.KindUp, netns.KindRoute, netns.KindSysctl,
		netns.KindResolver, netns.KindResolverRule, netns.KindResident, netns.KindPort, netns.KindPublished, netns.KindFlows, netns.KindAnnounce:
		return true
	}
	return false
}

// takesNetworkAlong says whether an act is part of taking back a step, because nobody
// else needs what it takes: a network goes with its last container, bridge and rules
// with each other, and the table and forwarding with the last network.
func takesNetworkAlong(kind steps.Kind, target string, a act) bool {
	switch kind {
	case netns.KindSharedVeth:
		_, target, _ = strings.Cut(target, " -> ")
	case netns.KindBridge, netns.KindSharedBridge, netns.KindRules, netns.KindSharedRules:
	case netns.KindTable:
		return stopsForwarding(a)
	default:
		return false
	}
	bridge, of, _ := strings.Cut(target, " ")
	_, table, _ := strings.Cut(of, " of ")
	return switchesOff(bridge, a) || deletesLink(bridge, a) || forgets(target, a) || dropsTable(table, a) || stopsForwarding(a)
}

func deletesLink(name string, a act) bool {
	return a.is("sendto", "netlink", "RTM_DELLINK {IFLA_IFNAME="+strconv.Quote(name)+"}")
}

func switchesOff(name string, a act) bool {
	return a.is("sendto", "netlink", "RTM_NEWLINK {ifi_flags=0x0, ifi_change=0x1, IFLA_IFNAME="+strconv.Quote(name)+"}")
}

// forgets is for a network, BRIDGE SUBNET of TABLE, and its entries in the table.
func forgets(target string, a act) bool {
	bridge, of, _ := strings.Cut(target, " ")
	subnet, _, _ := strings.Cut(of, " of ")
	return deletesOnly(a,
		fmt.Sprintf("bridges {%q}", bridge), fmt.Sprintf("same {%q . %[1]q}", bridge), fmt.Sprintf("internal {%q}", bridge), fmt.Sprintf("subnets {%s}", subnet))
}

func dropsTable(table string, a act) bool {
	return a.is("sendmsg", "netlink", fmt.Sprintf("[NFNL_MSG_BATCH_BEGIN, NFT_MSG_DELTABLE ip %q, NFNL_MSG_BATCH_END]", table))
}

func stopsForwarding(a act) bool {
	return a.is("write", `"/proc/sys/net/ipv4/ip_forward"`, `"0"`) || a.is("write", `"/proc/sys/net/ipv4/conf/all/accept_redirects"`, `"0"`)
}

// unpublishes is for TABLE MAP ENTRY.
func unpublishes(target string, a act) bool {
	fields := strings.SplitN(target, " ", 3)
	if len(fields) != 3 {
		return false
	}
	key, _, _ := strings.Cut(fields[2], " : ")
	return deletesOnly(a, fields[1]+" {"+key+"}")
}

// deletesOnly says whether an act deletes some of these elements of sets, and does
// nothing else.
func deletesOnly(a act, elements ...string) bool {
	if !a.is("sendmsg", "netlink") {
		return false
	}
	text := a.args[1]
	for _, e := range elements {
		set, element, _ := strings.Cut(e, " {")
		bytes, err := strace.ElementBytes(strings.TrimSuffix(element, "}"))
		if err != nil {
			return false
		}
		text = strings.Replace(text, fmt.Sprintf("NFT_MSG_DELSETELEM %q {%s}, ", set, bytes), "", 1)
	}
	return text != a.args[1] && text == "[NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END]"
}
