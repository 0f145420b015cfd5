package strace

import (
	"strings"
	"testing"
)

// transaction is what nft(8) sends for: add table ip xx; add set ip xx s { type
// ifname . ifname; }; add element ip xx s { "a" . "b" }.
const transaction = `12 sendmsg(3<socket:[7]>, {msg_name={sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, msg_namelen=12, msg_iov=[{iov_base=[` +
	`[{nlmsg_len=20, nlmsg_type=0x10 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST, nlmsg_seq=0, nlmsg_pid=0}, "\x00\x00\x00\x0a"], ` +
	`[{nlmsg_len=36, nlmsg_type=0xa00 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST, nlmsg_seq=1, nlmsg_pid=0}, "\x02\x00\x00\x00\x07\x00\x01\x00\x78\x78\x00\x00\x08\x00\x02\x00\x00\x00\x00\x00"], ` +
	`[{nlmsg_len=48, nlmsg_type=0xa09 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST|0x400, nlmsg_seq=2, nlmsg_pid=0}, "\x02\x00\x00\x00\x07\x00\x01\x00\x78\x78\x00\x00\x06\x00\x02\x00\x73\x00\x00\x00\x08\x00\x05\x00\x00\x00\x00\x20"], ` +
	`[{nlmsg_len=92, nlmsg_type=0xa0c /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST|0x400, nlmsg_seq=3, nlmsg_pid=0}, "\x02\x00\x00\x00\x07\x00\x01\x00\x78\x78\x00\x00\x06\x00\x02\x00\x73\x00\x00\x00\x30\x00\x03\x80\x2c\x00\x01\x80\x28\x00\x01\x80\x24\x00\x01\x00` +
	`\x61\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x62\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"], ` +
	`[{nlmsg_len=20, nlmsg_type=0x11 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST, nlmsg_seq=4, nlmsg_pid=0}, "\x00\x00\x00\x0a"]` +
	`], iov_len=216}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 216`

func TestTransactionsAreReadFromTheirBytes(t *testing.T) {
	var got []string
	for _, m := range one(t, transaction) {
		text, err := Netfilter(m)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, text)
	}
	told, err := ToldMessages(`[NFNL_MSG_BATCH_BEGIN, NFT_MSG_NEWTABLE ip "xx", NFT_MSG_NEWSET "s", NFT_MSG_NEWSETELEM "s" {"a" . "b"}, NFNL_MSG_BATCH_END]`)
	if text := "[" + strings.Join(got, ", ") + "]"; err != nil || text != told {
		t.Errorf("%v: sent\n%s, told\n%s", err, text, told)
	}
}

func TestMessagesThatChangeNothingAreNamedAsSuch(t *testing.T) {
	for kind, want := range map[uint16]string{
		0xa01: "NFT_MSG_GETTABLE", 0xa04: "NFT_MSG_GETCHAIN", 0xa0a: "NFT_MSG_GETSET", 0xa0d: "NFT_MSG_GETSETELEM", 0xa10: "NFT_MSG_GETGEN", 0x101: "IPCTNL_MSG_CT_GET",
		0x102: "IPCTNL_MSG_CT_DELETE", 0xa17: "NFT_MSG_2583",
	} {
		if got, err := Netfilter(Message{Type: kind, Payload: make([]byte, 4)}); got != want || err != nil {
			t.Errorf("%#x is %s, %v; want %s", kind, got, err, want)
		}
	}
}

// The kernel's layout: registers of four bytes, in network order, the rest zero.
func TestElementsAreWrittenAsBytes(t *testing.T) {
	for text, want := range map[string]string{
		`"br0"`:                                  "62723000000000000000000000000000",
		"172.17.0.0/16":                          "ac110000, <ac120000",
		"tcp . 8080 : 172.17.0.2 . 80":           "060000001f900000 : ac11000200500000",
		"127.0.0.1 . udp . 53 : 10.0.0.1 . 5353": "7f000001" + "11000000" + "00350000" + " : 0a000001" + "14e90000",
	} {
		if got, err := ElementBytes(text); got != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "65536", `"a name that is too long"`, "tcp . ", "tcp : x"} {
		if got, err := ElementBytes(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestIntervalsAndValuesOfElementsAreRead(t *testing.T) {
	element := func(attributes string) []byte {
		return []byte("\x02\x00\x00\x00" + "\x06\x00\x02\x00s\x00\x00\x00" + attributes)
	}
	for _, c := range []struct{ list, want string }{
		{"\x14\x00\x03\x80\x10\x00\x01\x80\x0c\x00\x01\x80\x08\x00\x01\x00\xac\x11\x00\x00", "ac110000"},
		{"\x1c\x00\x03\x80\x18\x00\x01\x80\x0c\x00\x01\x80\x08\x00\x01\x00\xac\x12\x00\x00\x08\x00\x03\x00\x00\x00\x00\x01", "<ac120000"},
		{"\x20\x00\x03\x80\x1c\x00\x01\x80\x0c\x00\x01\x80\x08\x00\x01\x00\x06\x00\x00\x00\x0c\x00\x02\x80\x08\x00\x01\x00\xac\x11\x00\x02", "06000000 : ac110002"},
	} {
		got, err := Netfilter(Message{Type: 0xa0e, Payload: element(c.list)})
		if want := `NFT_MSG_DELSETELEM "s" {` + c.want + "}"; got != want || err != nil {
			t.Errorf("%s, %v; want %s", got, err, want)
		}
	}
	if got, err := Netfilter(Message{Type: 0xa0e, Payload: element("\x0c\x00\x03\x80\x08\x00\x01\x80\x09\x00\x01\x80")}); err == nil {
		t.Errorf("a broken element reads as %s", got)
	}
}
