package netns

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// The table is the same for every installation: what varies from network to
// network and from port to port is in sets and maps. Each piece of a rule is kept
// as nft(8) writes it and as the kernel is sent it; a test compares the two.

// set is a set of the table, or a map where values has types.
type set struct {
	name         string
	keys, values []string // types, in nft's words
	interval     bool
}

func sets() []set {
	return []set{
		{name: "bridges", keys: []string{"ifname"}},
		{name: "internal", keys: []string{"ifname"}},
		{name: "same", keys: []string{"ifname", "ifname"}},
		{name: "subnets", keys: []string{"ipv4_addr"}, interval: true},
		{name: publishedAt, keys: []string{"ipv4_addr", "inet_proto", "inet_service"}, values: []string{"ipv4_addr", "inet_service"}},
		{name: published, keys: []string{"inet_proto", "inet_service"}, values: []string{"ipv4_addr", "inet_service"}},
	}
}

// The maps from a host's port to a container's: at one address of the host, and
// at all of them.
const (
	publishedAt = "published_at"
	published   = "published"
)

// text is the set as nft writes it.
func (s set) text() string {
	types := strings.Join(s.keys, " . ")
	switch {
	case len(s.values) > 0:
		return fmt.Sprintf("map %s { type %s : %s; counter; }", s.name, types, strings.Join(s.values, " . "))
	case s.interval:
		return fmt.Sprintf("set %s { type %s; flags interval; }", s.name, types)
	}
	return fmt.Sprintf("set %s { type %s; }", s.name, types)
}

// in is the set as the kernel is sent it. Its number is unique in a transaction.
func (s set) in(table *nftables.Table, number int) *nftables.Set {
	sent := &nftables.Set{
		Table: table, ID: uint32(number + 1), Name: s.name, Interval: s.interval,
		KeyType: dataType(s.keys), Concatenation: len(s.keys) > 1,
		IsMap: len(s.values) > 0, Counter: len(s.values) > 0, DataType: dataType(s.values),
	}
	if len(s.keys) == 1 && s.keys[0] == "ifname" {
		sent.KeyByteOrder = binaryutil.NativeEndian // Without it nft lists the names as empty.
	}
	return sent
}

func dataType(names []string) nftables.SetDatatype {
	known := map[string]nftables.SetDatatype{
		"ifname": nftables.TypeIFName, "ipv4_addr": nftables.TypeIPAddr,
		"inet_proto": nftables.TypeInetProto, "inet_service": nftables.TypeInetService,
	}
	if len(names) == 1 {
		return known[names[0]]
	}
	var types []nftables.SetDatatype
	for _, n := range names {
		types = append(types, known[n])
	}
	return nftables.MustConcatSetType(types...)
}

// chain is a base chain: the kernel takes packets through it at its hook, in the
// order of priorities (nft(8), "CHAINS").
type chain struct {
	name, hook string
	kind       nftables.ChainType
	number     *nftables.ChainHook
	priority   *nftables.ChainPriority
	// device is the link at whose packets a chain of the family netdev looks.
	device string
}

func chains() []chain {
	return []chain{
		{"martians", "prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, ""},
		{"prerouting", "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, ""},
		{"output", "output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, ""},
		{"forward", "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, ""},
		{"postrouting", "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, ""},
	}
}

func (c chain) text() string {
	hook := c.hook
	if c.device != "" {
		hook += " device " + c.device
	}
	return fmt.Sprintf("type %s hook %s priority %d; policy accept;", c.kind, hook, *c.priority)
}

func (c chain) in(table *nftables.Table) *nftables.Chain {
	accept := nftables.ChainPolicyAccept
	return &nftables.Chain{Table: table, Name: c.name, Type: c.kind, Hooknum: c.number, Priority: c.priority, Policy: &accept, Device: c.device}
}

// rule is one rule of a chain: what it is about, and what becomes of it.
type rule struct {
	chain   string
	matches []phrase
	verdict phrase
	comment string
}

func rules() []rule {
	return []rule{
		{"martians", []phrase{loopback("daddr"), notOn("iifname", "lo")}, drop(), "127.0.0.0/8 is for the host itself"},
		{"martians", []phrase{loopback("saddr"), notOn("iifname", "lo")}, drop(), "127.0.0.0/8 comes from the host itself"},

		{"prerouting", []phrase{toHost()}, dnat(publishedAt), "ports published at one address"},
		{"prerouting", []phrase{toHost()}, dnat(published), "ports published at every address"},
		{"output", []phrase{toHost()}, dnat(publishedAt), "the host's own calls of ports published at one address"},
		{"output", []phrase{toHost()}, dnat(published), "the host's own calls of ports published at every address"},

		{"forward", []phrase{established()}, accept(), "replies, and what belongs to a connection"},
		{"forward", []phrase{sameNetwork()}, accept(), "within one network"},
		{"forward", []phrase{on("iifname", "internal")}, drop(), "no way out of an internal network"},
		{"forward", []phrase{on("oifname", "internal")}, drop(), "no way into an internal network"},
		{"forward", []phrase{on("oifname", "bridges"), readdressed()}, accept(), "published ports"},
		{"forward", []phrase{on("iifname", "bridges"), on("oifname", "bridges")}, drop(), "walls between networks"},
		{"forward", []phrase{on("oifname", "bridges")}, drop(), "not published"},

		{"postrouting", []phrase{fromNetworks(), off("oifname", "bridges"), notOn("oifname", "lo")}, masquerade(), "the way out"},
		{"postrouting", []phrase{readdressed(), fromNetworks(), on("oifname", "bridges")}, masquerade(), "containers that call a published port"},
		{"postrouting", []phrase{loopback("saddr"), on("oifname", "bridges")}, masquerade(), "127.0.0.1 that calls a published port"},
	}
}

func (r rule) text() string {
	var words []string
	for _, m := range r.matches {
		words = append(words, m.text)
	}
	return strings.Join(words, " ") + " " + r.verdict.text + fmt.Sprintf(" comment %q", r.comment)
}

func (r rule) in(table *nftables.Table) *nftables.Rule {
	var expressions []expr.Any
	for _, m := range r.matches {
		expressions = append(expressions, m.expressions...)
	}
	return &nftables.Rule{
		Table: table, Chain: &nftables.Chain{Name: r.chain},
		Exprs:    append(expressions, r.verdict.expressions...),
		UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment),
	}
}

// phrase is a piece of a rule.
type phrase struct {
	text        string
	expressions []expr.Any
}

// Registers hold what a rule has read of a packet. The first is 16 bytes long and
// consists of four short ones, of which second and third take the further parts of
// a concatenation (linux/netfilter/nf_tables.h, enum nft_registers).
const (
	register       = unix.NFT_REG_1
	registerSecond = unix.NFT_REG32_01
	registerThird  = unix.NFT_REG32_02
	// registerName2 is the next long one, for a second link's name.
	registerName2 = unix.NFT_REG_2
)

// Where a header has what (RFC 791, section 3.1; RFC 9293, section 3.1; RFC 768):
// offset and length in bytes.
const (
	sourceOffset, destinationOffset, addressLength = 12, 16, 4
	portOffset, portLength                         = 2, 2
)

func metaKey(word string) expr.MetaKey {
	if word == "iifname" {
		return expr.MetaKeyIIFNAME
	}
	return expr.MetaKeyOIFNAME
}

func lookup(name string) *expr.Lookup {
	return &expr.Lookup{SourceRegister: register, SetName: name}
}

// on matches packets that come in (iifname) or go out (oifname) on a link of a set.
func on(word, name string) phrase {
	return phrase{word + " @" + name, []expr.Any{&expr.Meta{Key: metaKey(word), Register: register}, lookup(name)}}
}

// off matches those that don't.
func off(word, name string) phrase {
	find := lookup(name)
	find.Invert = true
	return phrase{word + " != @" + name, []expr.Any{&expr.Meta{Key: metaKey(word), Register: register}, find}}
}

// notOn matches packets of any link but one.
func notOn(word, link string) phrase {
	return phrase{fmt.Sprintf("%s != %q", word, link), []expr.Any{
		&expr.Meta{Key: metaKey(word), Register: register},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: paddedName(link)},
	}}
}

// paddedName is a link's name as the kernel compares it (IFNAMSIZ bytes).
func paddedName(link string) []byte { return append([]byte(link), make([]byte, 16-len(link))...) }

func sameNetwork() phrase {
	return phrase{"iifname . oifname @same", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: registerName2},
		lookup("same"),
	}}
}

func fromNetworks() phrase {
	return phrase{"ip saddr @subnets", []expr.Any{address(sourceOffset), lookup("subnets")}}
}

func address(offset uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: addressLength}
}

// loopback matches 127.0.0.0/8 (RFC 1122, 3.2.1.3) by the first byte of an address.
func loopback(word string) phrase {
	first := address(destinationOffset)
	if word == "saddr" {
		first.Offset = sourceOffset
	}
	first.Len = 1
	return phrase{"ip " + word + " 127.0.0.0/8", []expr.Any{first, &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{127}}}}
}

// toHost matches packets to any address of the host's own.
func toHost() phrase {
	return phrase{"fib daddr type local", []expr.Any{
		&expr.Fib{Register: register, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}}
}

// Bits of a tracked connection (linux/netfilter/nf_conntrack_common.h).
const statusDNAT = 1 << 5 // IPS_DST_NAT

func established() phrase {
	return tracked("ct state established,related", expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// readdressed matches connections whose destination was changed on the way.
func readdressed() phrase { return tracked("ct status dnat", expr.CtKeySTATUS, statusDNAT) }

func tracked(text string, key expr.CtKey, bits uint32) phrase {
	none := make([]byte, 4)
	return phrase{text, []expr.Any{
		&expr.Ct{Key: key, Register: register},
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: none},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: none},
	}}
}

// counted counts the packets of which a verdict is.
func counted(verdict phrase) phrase {
	return phrase{"counter " + verdict.text, append([]expr.Any{&expr.Counter{}}, verdict.expressions...)}
}

// pass accepts without counting, which costs a packet more than the rest of a rule.
func pass() phrase { return phrase{"accept", []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}} }

func accept() phrase { return counted(pass()) }

func drop() phrase { return counted(phrase{"drop", []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}}) }

func masquerade() phrase { return counted(phrase{"masquerade", []expr.Any{&expr.Masq{}}}) }

// dnat looks a port up in a map and leads the connection to what it says; where
// the map has no such port, the next rule is asked.
func dnat(name string) phrase {
	words := "meta l4proto . th dport"
	protocol, port := uint32(register), uint32(registerSecond)
	var expressions []expr.Any
	if name == publishedAt {
		words = "ip daddr . " + words
		expressions = append(expressions, address(destinationOffset))
		protocol, port = registerSecond, registerThird
	}
	find := lookup(name)
	find.DestRegister, find.IsDestRegSet = register, true
	return counted(phrase{"dnat ip to " + words + " map @" + name, append(expressions,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: protocol},
		&expr.Payload{DestRegister: port, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: portLength},
		find,
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: register, RegProtoMin: registerSecond},
	)})
}

// table is a whole table: as it is told, as nft reads it, and as the kernel is sent it.
type table struct {
	family string // in nft's word
	number nftables.TableFamily
	name   string
	sets   []set
	chains []chain
	rules  []rule
}

// messages tell what the kernel is sent.
func (t table) messages() []string {
	messages := []string{fmt.Sprintf("NFT_MSG_NEWTABLE %s %q", t.family, t.name)}
	for _, s := range t.sets {
		messages = append(messages, fmt.Sprintf("NFT_MSG_NEWSET %q", s.name))
	}
	for _, c := range t.chains {
		messages = append(messages, fmt.Sprintf("NFT_MSG_NEWCHAIN %q", c.name))
	}
	for _, r := range t.rules {
		messages = append(messages, fmt.Sprintf("NFT_MSG_NEWRULE %q", r.chain))
	}
	return messages
}

// add puts the table into a transaction.
func (t table) add(conn *nftables.Conn) error {
	made := conn.AddTable(&nftables.Table{Family: t.number, Name: t.name})
	for i, s := range t.sets {
		if err := conn.AddSet(s.in(made, i), nil); err != nil {
			return fmt.Errorf("describe set %s: %w", s.name, err)
		}
	}
	for _, c := range t.chains {
		conn.AddChain(c.in(made))
	}
	for _, r := range t.rules {
		conn.AddRule(r.in(made))
	}
	return nil
}

func (t table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", t.family, t.name)
	for _, s := range t.sets {
		fmt.Fprintf(&b, "  %s\n", s.text())
	}
	for _, c := range t.chains {
		fmt.Fprintf(&b, "  chain %s {\n    %s\n", c.name, c.text())
		for _, r := range t.rules {
			if r.chain == c.name {
				fmt.Fprintf(&b, "    %s\n", r.text())
			}
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}")
	return b.String()
}
