package strace

import (
	"fmt"
	"slices"
	"strings"
)

// Networks knows the network namespaces of threads, each by the file that names it;
// that in which the commands are typed is "".
type Networks struct {
	of map[int]string
	// links are the names of links by namespace and index, as the kernel told them.
	links map[string]map[int]string
	// protocols are those of netlink sockets, by what -y says of the descriptor.
	protocols map[string]string
	// asked are the acts that an answer may be about, by socket and number.
	asked map[string]int
}

// NewNetworks knows nothing yet.
func NewNetworks() *Networks {
	return &Networks{of: map[int]string{}, links: map[string]map[int]string{}, protocols: map[string]string{}, asked: map[string]int{}}
}

// Of is the network namespace of a thread; see [Networks].
func (n *Networks) Of(thread int) string { return n.of[thread] }

// Born notes a new thread, which begins where its maker is.
func (n *Networks) Born(maker, child int) { n.of[child] = n.of[maker] }

// Note follows a call that succeeded. Path says which file an argument means.
func (n *Networks) Note(c Call, path func(arg string) string) {
	switch {
	case c.Name == "unshare" && slices.Contains(FlagSet(c.Args[0]), "CLONE_NEWNET"):
		n.of[c.Thread] = fmt.Sprintf("new, of line %d", c.Line)
	case c.Name == "setns" && c.Args[1] == "CLONE_NEWNET":
		n.of[c.Thread] = path(c.Args[0])
	case c.Name == "mount" && c.Args[0] == `"/proc/thread-self/ns/net"`:
		n.of[c.Thread] = path(c.Args[1])
	case c.Name == "socket" && c.Args[0] == "AF_NETLINK":
		n.protocols[c.Path] = c.Args[2]
	case c.Name == "recvfrom" || c.Name == "recvmsg":
		n.hear(c)
	}
}

// hear learns from the kernel's answers which link has which index.
func (n *Networks) hear(c Call) {
	_, socket := Descriptor(c.Args[0])
	messages, _ := Messages(c)
	if n.protocols[socket] != "NETLINK_ROUTE" {
		return
	}
	where := n.of[c.Thread]
	if n.links[where] == nil {
		n.links[where] = map[int]string{}
	}
	for _, m := range messages {
		if index, name := LinkOf(m); name != "" {
			n.links[where][index] = name
		}
	}
}

// Sent writes the arguments of what is sent to the kernel, by act number at, as steps
// tell it, with "netlink" as the first; what is sent to others is of no interest.
// File says which file a descriptor is.
func (n *Networks) Sent(c Call, at int, file func(number int) string) []string {
	_, socket := Descriptor(c.Args[0])
	protocol := n.protocols[socket]
	messages, ok := Messages(c)
	if protocol == "" {
		return []string{"other"}
	}
	if !ok {
		return []string{"netlink", "what can't be read"}
	}
	sight := Sight{
		Link: func(index int) string {
			if index == 1 {
				return "lo" // In every namespace: LOOPBACK_IFINDEX of the kernel's net/flow.h.
			}
			return n.links[n.of[c.Thread]][index]
		},
		File: file,
	}
	var texts []string
	for _, m := range messages {
		text, err := n.write(sight, protocol, m)
		if err != nil {
			text = err.Error()
		}
		texts = append(texts, text)
		n.asked[socket+" "+m.Seq] = at
	}
	if c.Name == "sendmsg" && len(texts) > 1 {
		return []string{"netlink", "[" + strings.Join(texts, ", ") + "]"}
	}
	return []string{"netlink", strings.Join(texts, ", ")}
}

func (n *Networks) write(sight Sight, protocol string, m Message) (string, error) {
	switch protocol {
	case "NETLINK_ROUTE":
		return sight.Route(m)
	case "NETLINK_NETFILTER":
		return Netfilter(m)
	}
	return fmt.Sprintf("%s %d", protocol, m.Type), nil
}

// Refused finds the act that the kernel answers with an error.
func (n *Networks) Refused(c Call) (at int, why string, ok bool) {
	if c.Name != "recvfrom" && c.Name != "recvmsg" {
		return 0, "", false
	}
	_, socket := Descriptor(c.Args[0])
	messages, _ := Messages(c)
	for _, m := range messages {
		if m.Refused != "" {
			at, ok = n.asked[socket+" "+m.Seq]
			return at, strings.TrimPrefix(m.Refused, "-"), ok
		}
	}
	return 0, "", false
}

// Asks says whether a message, as [Networks.Sent] writes it, only asks.
func Asks(message string) bool {
	return slices.ContainsFunc([]string{"RTM_GET", "NFT_MSG_GET", "IPCTNL_MSG_CT_GET"}, func(start string) bool { return strings.HasPrefix(message, start) })
}
