package baseline

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/inventory"
	"github.com/otus-project/otus/sensor/packet"
)

// deviceKinds are the entries on a device as a whole, by the operation of its requests.
var deviceKinds = map[dissect.Operation]string{
	dissect.OpProgramDownload: KindProgramming,
	dissect.OpProgramDelete:   KindProgramming,
	dissect.OpProgramUpload:   KindProgramUpload,
	dissect.OpConfigWrite:     KindConfigWrite,
	dissect.OpConfigRead:      KindConfigRead,
}

// Message looks at one message. deviate gets what is outside the baseline; it may keep it.
func (b *Baseline) Message(m *dissect.Message, inv *inventory.Inventory, now time.Time, deviate func(*Deviation)) {
	tell := func(e Entry, details ...event.Detail) {
		from, to := m.From(), m.Server
		if m.Direction == dissect.FromServer {
			to = m.Client
		}
		deviate(&Deviation{Entry: e, Time: now, Frame: m.Frame, Source: from, Destination: to,
			Protocol: m.Protocol, Message: m, Details: details})
	}
	if m.Operation == dissect.OpNameQuery {
		if m.Kind == dissect.Request {
			b.names(m, tell)
		}
		return
	}
	if m.Kind == dissect.Response {
		b.answer(m, tell)
		return
	}
	if m.Protocol.OT || m.Transport == "tcp" || m.Transport == "udp" {
		b.function(m, tell)
	}
	if m.Kind == dissect.Unsolicited {
		b.answer(m, tell)
		return
	}
	if !m.Protocol.OT || m.Direction != dissect.FromClient {
		return
	}
	b.targets(m, tell)
	if slices.Contains(m.Conditions, dissect.CondIntegrityPoll) {
		b.condition(m, dissect.CondIntegrityPoll, tell)
	}
	if kind := deviceKinds[m.Operation]; kind != "" {
		b.device(kind, m, inv, tell)
	}
}

type teller func(e Entry, details ...event.Detail)

func (b *Baseline) names(m *dissect.Message, tell teller) {
	for _, name := range m.Names {
		b.begin(KindName)
		b.endpoint(m.Client)
		b.buf = append(b.buf, 0)
		b.text(strings.ToLower(name))
		if e, unknown := b.observe(KindName); unknown {
			tell(e, event.Detail{Name: "name", Value: e.Value})
		}
	}
}

// code appends protocol, layer, code and subcode as one word of the baseline.
func (b *Baseline) code(m *dissect.Message) {
	b.buf = append(b.buf, m.Protocol.ID...)
	if m.Layer != "" {
		b.buf = append(append(b.buf, ' '), m.Layer...)
	}
	b.buf = append(b.buf, ' ')
	b.number(m.Code)
	if m.Subcode >= 0 {
		b.buf = append(b.buf, '/')
		b.number(m.Subcode)
	}
}

func (b *Baseline) function(m *dissect.Message, tell teller) {
	from, to := m.Client, m.Server
	if m.Direction == dissect.FromServer {
		from, to = to, from
	}
	b.begin(KindFunction)
	b.pair(from, to, m.Unit)
	b.buf = append(b.buf, 0)
	b.code(m)
	if e, unknown := b.observe(KindFunction); unknown {
		tell(e, codeDetails(m)...)
	}
}

// codeDetails is the evidence about a message's function.
func codeDetails(m *dissect.Message) []event.Detail {
	code := strconv.Itoa(m.Code)
	if m.Subcode >= 0 {
		code += "/" + strconv.Itoa(m.Subcode)
	}
	details := []event.Detail{{Name: "function code", Value: code}}
	if m.CodeName != "" {
		details = append(details, event.Detail{Name: "function", Value: m.CodeName})
	}
	if m.Unit != "" {
		details = append(details, event.Detail{Name: "unit", Value: m.Unit})
	}
	return details
}

// targets looks at which addresses are touched. An address counts as outside only where some are known for the
// same pair, space and direction; otherwise the function as such is the news.
func (b *Baseline) targets(m *dissect.Message, tell teller) {
	if m.Operation != dissect.OpRead && m.Operation != dissect.OpWrite && m.Operation != dissect.OpControl {
		return
	}
	for n := range m.Targets {
		t := &m.Targets[n]
		if t.Space == "DB" {
			b.dataBlock(m, t, tell)
			continue
		}
		if t.Count == 0 || t.Instance != 0 {
			continue
		}
		b.begin(KindRegister)
		b.pair(m.Client, m.Server, m.Unit)
		b.buf = append(append(b.buf, ' '), m.Protocol.ID...)
		b.buf = append(append(b.buf, ' '), m.Operation...)
		b.buf = append(append(b.buf, ' '), t.Space...)
		s := span{t.Start, t.Start + min(t.Count-1, ^uint32(0)-t.Start)}
		spans := b.state.Spans[string(b.buf)]
		if covers(spans, s) {
			continue
		}
		if b.state.Mode == event.ModeLearning {
			b.learnSpan(string(b.buf), s)
			continue
		}
		if len(spans) == 0 {
			continue
		}
		e := Entry{Kind: KindRegister, Subject: string(b.buf[len(KindRegister)+1:]), Value: s.String()}
		details := append(codeDetails(m), event.Detail{Name: "address", Value: t.Space + " " + e.Value},
			event.Detail{Name: "usual addresses", Value: printSpans(spans)})
		if t.Value != "" {
			details = append(details, event.Detail{Name: "value", Value: t.Value})
		}
		tell(e, details...)
	}
}

// printSpans names the first few intervals.
func printSpans(spans []span) string {
	const few = 6
	var words []string
	for _, s := range spans[:min(len(spans), few)] {
		words = append(words, s.String())
	}
	if len(spans) > few {
		words = append(words, "...")
	}
	return strings.Join(words, ", ")
}

func (b *Baseline) dataBlock(m *dissect.Message, t *dissect.Target, tell teller) {
	b.begin(KindDataBlock)
	b.pair(m.Client, m.Server, "")
	b.buf = append(b.buf, 0)
	b.buf = append(append(b.buf, m.Protocol.ID...), " DB "...)
	b.number(int(t.Instance))
	if e, unknown := b.observe(KindDataBlock); unknown {
		tell(e, event.Detail{Name: "data block", Value: "DB" + strconv.Itoa(int(t.Instance))},
			event.Detail{Name: "operation", Value: string(m.Operation)})
	}
}

// answer looks at refusals and conditions that a server tells.
func (b *Baseline) answer(m *dissect.Message, tell teller) {
	if !m.Protocol.OT || m.Direction != dissect.FromServer {
		return
	}
	if m.Exception != 0 {
		b.begin(KindException)
		b.pair(m.Server, m.Client, m.Unit)
		b.buf = append(b.buf, 0)
		b.code(m)
		b.buf = append(b.buf, " exception "...)
		b.number(m.Exception)
		if e, unknown := b.observe(KindException); unknown {
			tell(e, append(codeDetails(m), event.Detail{Name: "exception", Value: strings.TrimSpace(strconv.Itoa(m.Exception) + " " + m.ExceptionName)})...)
		}
	}
	for _, c := range m.Conditions {
		b.condition(m, c, tell)
	}
}

func (b *Baseline) condition(m *dissect.Message, c dissect.Condition, tell teller) {
	to := m.Server
	if m.Direction == dissect.FromServer {
		to = m.Client
	}
	b.begin(KindCondition)
	b.pair(m.From(), to, "")
	b.buf = append(b.buf, 0)
	b.buf = append(append(b.buf, m.Protocol.ID...), ' ')
	b.buf = append(b.buf, c...)
	if e, unknown := b.observe(KindCondition); unknown {
		tell(e, event.Detail{Name: "condition", Value: string(c)})
	}
}

// device looks at what a device does for the first time, to whomever. A known programming device programs freely.
func (b *Baseline) device(kind string, m *dissect.Message, inv *inventory.Inventory, tell teller) {
	b.begin(kind)
	if d := inv.Lookup(m.Client); d != nil {
		if d.Programming && kind != KindConfigRead {
			return
		}
		b.buf = append(b.buf, d.ID...)
	} else {
		b.endpoint(m.Client)
	}
	b.buf = append(b.buf, 0)
	if e, unknown := b.observe(kind); unknown {
		details := codeDetails(m)
		for n := range m.Targets[:min(len(m.Targets), 1)] {
			t := &m.Targets[n]
			details = append(details, event.Detail{Name: "target", Value: strings.TrimSpace(t.Space + " " + strconv.Itoa(int(t.Instance)))})
		}
		for _, name := range m.Names[:min(len(m.Names), 1)] {
			details = append(details, event.Detail{Name: "name", Value: name})
		}
		tell(e, details...)
	}
}

// Opened looks at a flow that appeared: who tries to reach the Internet. certain says that the client is: a flow met in
// the middle may run the other way.
func (b *Baseline) Opened(c *dissect.Connection, certain bool, inv *inventory.Inventory, now time.Time, frame uint64, deviate func(*Deviation)) {
	if !certain || !inv.Internal(c.Client.Addr) || !remote(c.Server.Addr, inv) {
		return
	}
	b.internet(KindInternet, c.Client, c.Server, c, now, frame, deviate)
}

// Established looks at a flow that has come about: served ports, and exchanges with the Internet.
func (b *Baseline) Established(c *dissect.Connection, inv *inventory.Inventory, now time.Time, frame uint64, deviate func(*Deviation)) {
	if inv.Internal(c.Server.Addr) {
		b.serverPort(c, now, frame, deviate)
	}
	inside, outside := c.Client, c.Server
	if !inv.Internal(inside.Addr) {
		inside, outside = outside, inside
	}
	if !inv.Internal(inside.Addr) || !remote(outside.Addr, inv) {
		return
	}
	kind := KindInternetUsed
	if publicRange(inside.Addr) {
		kind = KindExternalUsed
	}
	b.internet(kind, inside, outside, c, now, frame, deviate)
}

func remote(addr netip.Addr, inv *inventory.Inventory) bool {
	return addr.IsValid() && !addr.IsMulticast() && publicRange(addr) && !inv.Internal(addr)
}

func publicRange(addr netip.Addr) bool {
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !broadcast(addr)
}

func broadcast(addr netip.Addr) bool { return addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

func (b *Baseline) internet(kind string, inside, outside dissect.Endpoint, c *dissect.Connection, now time.Time, frame uint64, deviate func(*Deviation)) {
	b.begin(kind)
	b.endpoint(inside)
	b.buf = append(b.buf, 0)
	b.endpoint(outside)
	if e, unknown := b.observe(kind); unknown {
		deviate(&Deviation{Entry: e, Time: now, Frame: frame, Source: c.Client, Destination: c.Server, Protocol: c.Protocol,
			Details: []event.Detail{{Name: "port", Value: c.Transport + " " + strconv.Itoa(int(c.Server.Port))},
				{Name: "remote address", Value: outside.Addr.String()}}})
	}
}

// ephemeral is the first port of the range that Linux gives to clients; other systems begin higher.
const ephemeral = 32768

// serverPort looks at a port that answers. Where neither the opening nor the protocol tells which side serves, a
// high port is a client's.
func (b *Baseline) serverPort(c *dissect.Connection, now time.Time, frame uint64, deviate func(*Deviation)) {
	if c.Transport != "tcp" && c.Transport != "udp" || c.Server.Addr.IsMulticast() || broadcast(c.Server.Addr) {
		return
	}
	if c.Protocol == nil && (c.Transport == "udp" || !c.HandshakeSeen) && c.Server.Port >= ephemeral {
		return
	}
	b.begin(KindPort)
	b.endpoint(c.Server)
	b.buf = append(b.buf, 0)
	b.buf = append(append(b.buf, c.Transport...), ' ')
	b.number(int(c.Server.Port))
	if e, unknown := b.observe(KindPort); unknown {
		deviate(&Deviation{Entry: e, Time: now, Frame: frame, Source: c.Client, Destination: c.Server, Protocol: c.Protocol,
			Details: []event.Detail{{Name: "port", Value: e.Value}}})
	}
}

// quietPorts carry what every host sends to all by itself: DHCP and DHCPv6.
var quietPorts = [...]uint16{67, 68, 546, 547}

// Packet looks at traffic to many.
func (b *Baseline) Packet(p *packet.Packet, now time.Time, deviate func(*Deviation)) {
	if !p.Dst.IsValid() || p.Malformed != nil || p.Fragment || !p.Dst.IsMulticast() && !broadcast(p.Dst) && !(p.DstMAC.IsMulticast() && p.IPProto == packet.ProtoUDP) {
		return
	}
	const igmp = 2
	if p.IPProto == igmp || p.IPProto == packet.ProtoICMPv6 || slices.Contains(quietPorts[:], p.DstPort) {
		return
	}
	transport := "ip " + strconv.Itoa(int(p.IPProto))
	if p.IPProto == packet.ProtoUDP {
		transport = "udp"
	}
	source := dissect.Endpoint{MAC: p.SrcMAC, Addr: p.Src, Port: p.SrcPort}
	target := dissect.Endpoint{MAC: p.DstMAC, Addr: p.Dst, Port: p.DstPort}
	b.begin(KindMulticast)
	b.endpoint(source)
	b.buf = append(b.buf, 0)
	b.endpoint(target)
	b.buf = append(append(b.buf, ' '), transport...)
	if p.DstPort != 0 {
		b.buf = append(b.buf, ' ')
		b.number(int(p.DstPort))
	}
	if e, unknown := b.observe(KindMulticast); unknown {
		deviate(&Deviation{Entry: e, Time: now, Frame: p.Frame.Index, Source: source, Destination: target,
			Details: []event.Detail{{Name: "group", Value: e.Value}}})
	}
}

// Device looks at a change of a device: its appearing among OT devices, and its firmware.
func (b *Baseline) Device(c *inventory.Change, now time.Time, deviate func(*Deviation)) {
	row := c.Device
	endpoint := dissect.Endpoint{}
	if len(row.IPAddresses) > 0 {
		endpoint.Addr = row.IPAddresses[0]
	}
	if len(row.MACAddresses) > 0 {
		if mac, err := net.ParseMAC(row.MACAddresses[0]); err == nil && len(mac) == len(endpoint.MAC) {
			endpoint.MAC = packet.MAC(mac)
		}
	}
	tell := func(e Entry, before string, details ...event.Detail) {
		deviate(&Deviation{Entry: e, Time: now, Frame: c.Frame, Source: endpoint, Protocol: c.Protocol,
			Before: before, OT: row.OT, Details: details})
	}
	learning := b.state.Mode == event.ModeLearning
	if c.New && learning || row.OT && !row.Authorized && (c.New || slices.Contains(c.Fields, "ot")) {
		b.deviceEntry(KindDevice, row, tell)
	}
	if row.PurdueLevel == "Process Control" && (c.New || slices.Contains(c.Fields, "purdueLevel")) {
		b.deviceEntry(KindFieldDevice, row, tell)
	}
	if row.FirmwareVersion != "" && slices.Contains(c.Fields, "firmwareVersion") {
		key := KindFirmware + "\x00" + row.ID
		before, known := b.state.Single[key]
		switch {
		case !known || learning:
			b.learnSingle(key, row.FirmwareVersion)
		case before != row.FirmwareVersion:
			tell(Entry{KindFirmware, row.ID, row.FirmwareVersion}, before,
				event.Detail{Name: "firmware", Value: row.FirmwareVersion}, event.Detail{Name: "firmware before", Value: before})
		}
	}
}

func (b *Baseline) deviceEntry(kind string, row *event.Device, tell func(Entry, string, ...event.Detail)) {
	b.begin(kind)
	b.buf = append(append(b.buf, row.ID...), 0)
	if len(row.IPAddresses) > 0 {
		b.buf = row.IPAddresses[0].AppendTo(b.buf)
	} else if len(row.MACAddresses) > 0 {
		b.text(row.MACAddresses[0])
	}
	if e, unknown := b.observe(kind); unknown {
		details := []event.Detail{{Name: "address", Value: e.Value}}
		if row.Vendor != "" {
			details = append(details, event.Detail{Name: "vendor", Value: row.Vendor})
		}
		tell(e, "", details...)
	}
}
