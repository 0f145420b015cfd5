package strace

import (
	"strings"
	"testing"
)

// seen knows one link and one file.
func seen() Sight {
	return Sight{
		Link: func(index int) string { return map[int]string{2: "br9"}[index] },
		File: func(number int) string { return map[int]string{7: "/run/ns"}[number] },
	}
}

// one reads a line of a log.
func one(t *testing.T, line string) []Message {
	t.Helper()
	calls, err := Parse(line + "\n")
	if err != nil || len(calls) != 1 {
		t.Fatalf("%v, %v", calls, err)
	}
	messages, ok := Messages(calls[0])
	if !ok {
		t.Fatalf("no messages in %s", line)
	}
	return messages
}

// What iproute2 sent is taken from real logs; what the kernel's headers say of it is
// compared with its command.
func TestRouteMessagesAreReadFromTheirBytes(t *testing.T) {
	for _, c := range []struct{ command, sent, want string }{
		{
			"ip link add br9 address 02:00:00:00:00:01 type bridge",
			`[{nlmsg_len=80, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|0x600, nlmsg_seq=5, nlmsg_pid=0}, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x01\x00\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00\x03\x00\x62\x72\x39\x00\x10\x00\x12\x00\x0a\x00\x01\x00\x62\x72\x69\x64\x67\x65\x00\x00"]`,
			`RTM_NEWLINK {IFLA_ADDRESS=02:00:00:00:00:01, IFLA_IFNAME="br9", IFLA_INFO_KIND="bridge"}`,
		},
		{
			"ip link add v1 up master br9 type veth peer name eth0",
			`[{nlmsg_len=96, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|0x600, nlmsg_seq=5, nlmsg_pid=0}, "\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x08\x00\x0a\x00\x02\x00\x00\x00\x07\x00\x03\x00\x76\x31\x00\x00\x30\x00\x12\x00\x08\x00\x01\x00\x76\x65\x74\x68\x24\x00\x02\x00\x20\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x03\x00\x65\x74\x68\x30\x00\x00\x00\x00"]`,
			`RTM_NEWLINK {IFF_UP, IFLA_MASTER=if_nametoindex("br9"), IFLA_IFNAME="v1", IFLA_INFO_KIND="veth", VETH_INFO_PEER={IFLA_IFNAME="eth0"}}`,
		},
		{
			"ip addr add 10.9.0.1/24 dev br9",
			`[{nlmsg_len=40, nlmsg_type=0x14 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|0x600, nlmsg_seq=5, nlmsg_pid=0}, "\x02\x18\x00\x00\x02\x00\x00\x00\x08\x00\x02\x00\x0a\x09\x00\x01\x08\x00\x01\x00\x0a\x09\x00\x01"]`,
			`RTM_NEWADDR {ifa_index=if_nametoindex("br9"), IFA_LOCAL=10.9.0.1/24}`,
		},
		{
			"the same with a broadcast address, to a link that nobody knows, and another peer",
			`[{nlmsg_len=48, nlmsg_type=0x14, nlmsg_flags=0, nlmsg_seq=5, nlmsg_pid=0}, "\x02\x18\x00\x00\x09\x00\x00\x00\x08\x00\x02\x00\x0a\x09\x00\x01\x08\x00\x01\x00\x0a\x09\x00\x02\x08\x00\x04\x00\x0a\x09\x00\xff"]`,
			`RTM_NEWADDR {ifa_index=9, IFA_LOCAL=10.9.0.1/24, IFA_1=0a090002, IFA_BROADCAST=10.9.0.255}`,
		},
		{
			"a way into a namespace, a size, and flags that nobody tells",
			`[{nlmsg_len=48, nlmsg_type=0x13, nlmsg_flags=0, nlmsg_seq=5, nlmsg_pid=0}, "\x00\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00\x08\x00\x1c\x00\x07\x00\x00\x00\x08\x00\x04\x00\x78\x05\x00\x00\x0c\x00\x0c\x80\x05\x00\x04\x00\x01\x00\x00\x00"]`,
			`RTM_SETLINK {ifi_index=if_nametoindex("br9"), ifi_flags=0x1, ifi_change=0x3, IFLA_NET_NS_FD="/run/ns", IFLA_MTU=1400, IFLA_BRPORT_MODE=1}`,
		},
		{
			"ip route add default via 10.9.0.1",
			`[{nlmsg_len=36, nlmsg_type=0x18, nlmsg_flags=0, nlmsg_seq=5, nlmsg_pid=0}, "\x02\x00\x00\x00\xfe\x03\x00\x01\x00\x00\x00\x00\x08\x00\x05\x00\x0a\x09\x00\x01"]`,
			`RTM_NEWROUTE {rtm_dst_len=0, RTA_GATEWAY=10.9.0.1}`,
		},
		{
			"a question",
			`[{nlmsg_len=32, nlmsg_type=0x12, nlmsg_flags=0, nlmsg_seq=5, nlmsg_pid=0}, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"]`,
			`RTM_GETLINK`,
		},
	} {
		messages := one(t, "12 sendto(3<socket:[7]>, "+c.sent+", 80, 0, NULL, 0) = 80")
		if len(messages) != 1 || messages[0].Seq != "5" {
			t.Errorf("%s: %+v", c.command, messages)
		}
		if got, err := seen().Route(messages[0]); got != c.want || err != nil {
			t.Errorf("%s:\n%s, %v, want\n%s", c.command, got, err, c.want)
		}
	}
}

func TestBrokenMessageIsAnError(t *testing.T) {
	for _, payload := range []string{"", "\x00", strings.Repeat("\x00", 16) + "\x09\x00\x03\x00abc", strings.Repeat("\x00", 16) + "\x02\x00\x03\x00", strings.Repeat("\x00", 17)} {
		if got, err := seen().Route(Message{Type: 16, Payload: []byte(payload)}); err == nil {
			t.Errorf("%q reads as %s", payload, got)
		}
	}
}

func TestAnswerNamesALinkOrAnError(t *testing.T) {
	around := func(message string) string {
		return "12 recvmsg(3<socket:[7]>, {msg_name={sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=" + message + ", iov_len=16384}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 52"
	}
	found := one(t, around(`[{nlmsg_len=40, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=0, nlmsg_seq=5, nlmsg_pid=12}, "\x00\x00\x01\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x03\x00\x62\x72\x39\x00"]`))
	if index, name := LinkOf(found[0]); index != 2 || name != "br9" {
		t.Errorf("link %d is %q", index, name)
	}
	refused := one(t, around(`[{nlmsg_len=52, nlmsg_type=NLMSG_ERROR, nlmsg_flags=0, nlmsg_seq=6, nlmsg_pid=12}, {error=-ENODEV, msg=[{nlmsg_len=32, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK, nlmsg_seq=6, nlmsg_pid=0}, "\x00"]}]`))
	if refused[0].Refused != "-ENODEV" || refused[0].Seq != "6" {
		t.Errorf("%+v", refused)
	}
	done := one(t, around(`[{nlmsg_len=36, nlmsg_type=NLMSG_ERROR, nlmsg_flags=NLM_F_CAPPED, nlmsg_seq=6, nlmsg_pid=12}, {error=0, msg={nlmsg_len=68, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=0, nlmsg_seq=6, nlmsg_pid=0}}]`))
	if done[0].Refused != "" {
		t.Errorf("%+v", done)
	}
}

func TestWhatHasNoMessagesHasNone(t *testing.T) {
	for _, line := range []string{
		`12 sendto(3<socket:[7]>, "text", 4, 0, NULL, 0) = 4`,
		`12 sendto(3<socket:[7]>, [{nlmsg_len=32, nlmsg_type=0x10, nlmsg_flags=0, nlmsg_seq=0, nlmsg_pid=0}, "\x00"...], 32, 0, NULL, 0) = 32`,
		`12 recvmsg(3<socket:[7]>, {msg_namelen=12, msg_iov=[{iov_base=NULL, iov_len=0}], msg_iovlen=1, msg_controllen=0, msg_flags=MSG_TRUNC}, MSG_PEEK) = 36`,
		`12 sendmsg(3<socket:[7]>, {msg_iov=[{iov_base="a", iov_len=1}, {iov_base="b", iov_len=1}], msg_iovlen=2}, 0) = 2`,
	} {
		calls, err := Parse(line + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := Messages(calls[0]); ok {
			t.Errorf("%s: %+v", line, got)
		}
	}
}
