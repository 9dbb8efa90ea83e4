// Package icmp reads ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861): echoes, errors and neighbour discovery. One packet
// in, one message out; nothing is kept.
//
// Bounds: at most maxOptions options of a neighbour message are read; one name and one fact a message.
package icmp

import (
	"net/netip"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	maxOptions = 16 // of neighbour discovery; RFC 4861 has five kinds
	checksum   = 4  // type, code and checksum, which the packet's Payload leaves out
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{ID: "icmp", Name: "ICMP", Packet: read}

// Types with a meaning of their own here.
const (
	echoReply4          = 0
	echoRequest4        = 8
	timestampRequest4   = 13
	timestampReply4     = 14
	maskRequest4        = 17
	maskReply4          = 18
	echoRequest6        = 128
	echoReply6          = 129
	routerSolicitation  = 133
	routerAdvertisement = 134
	neighborSolicit     = 135
	neighborAdvertise   = 136
	optionSourceLink    = 1
	optionTargetLink    = 2
)

var names4 = map[uint8]string{
	echoReply4: "echo reply", 3: "destination unreachable", 4: "source quench", 5: "redirect", echoRequest4: "echo request",
	9: "router advertisement", 10: "router solicitation", 11: "time exceeded", 12: "parameter problem",
	timestampRequest4: "timestamp request", timestampReply4: "timestamp reply", maskRequest4: "address mask request",
	maskReply4: "address mask reply",
}

var names6 = map[uint8]string{
	1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem",
	echoRequest6: "echo request", echoReply6: "echo reply", 130: "multicast listener query",
	131: "multicast listener report", 132: "multicast listener done", routerSolicitation: "router solicitation",
	routerAdvertisement: "router advertisement", neighborSolicit: "neighbor solicitation",
	neighborAdvertise: "neighbor advertisement", 137: "redirect", 143: "multicast listener report v2",
}

func read(p *packet.Packet, emit func(*dissect.Message)) {
	version6 := p.IPProto == packet.ProtoICMPv6
	if !version6 && p.IPProto != packet.ProtoICMP || p.Fragment {
		return
	}
	if p.ICMPType == 0 && p.PayloadLength == 0 {
		return // the header could not be read
	}
	m := &dissect.Message{
		Layer: "v4", Code: int(p.ICMPType), Subcode: int(p.ICMPCode), CodeName: names4[p.ICMPType],
		Kind: dissect.Unsolicited, Size: checksum + p.PayloadLength,
	}
	if version6 {
		m.Layer, m.CodeName = "v6", names6[p.ICMPType]
		kind6(m, p)
	} else {
		kind4(m, p)
	}
	emit(m)
}

func kind4(m *dissect.Message, p *packet.Packet) {
	switch p.ICMPType {
	case echoRequest4, timestampRequest4, maskRequest4:
		m.Kind, m.Operation = dissect.Request, dissect.OpDiagnostics
	case echoReply4, timestampReply4, maskReply4:
		m.Kind, m.Operation, m.Direction = dissect.Response, dissect.OpDiagnostics, dissect.FromServer
	}
}

func kind6(m *dissect.Message, p *packet.Packet) {
	switch p.ICMPType {
	case echoRequest6:
		m.Kind, m.Operation = dissect.Request, dissect.OpDiagnostics
	case echoReply6:
		m.Kind, m.Operation, m.Direction = dissect.Response, dissect.OpDiagnostics, dissect.FromServer
	case routerSolicitation:
		m.Kind, m.Operation = dissect.Request, dissect.OpDiscovery
	case routerAdvertisement:
		m.Operation = dissect.OpDiscovery
	case neighborSolicit:
		m.Kind, m.Operation = dissect.Request, dissect.OpDiscovery
		if target, ok := neighborTarget(m, p); ok {
			m.Names = []string{target.String()}
			if !p.Src.IsUnspecified() { // a probe for duplicates has no address yet
				tie(m, p.Src, linkAddress(p.Payload[20:], optionSourceLink))
			}
		}
	case neighborAdvertise:
		m.Kind, m.Operation, m.Direction = dissect.Response, dissect.OpDiscovery, dissect.FromServer
		if target, ok := neighborTarget(m, p); ok {
			tie(m, target, linkAddress(p.Payload[20:], optionTargetLink))
		}
	}
}

// neighborTarget reads the target behind four bytes of flags (RFC 4861 clauses 4.3 and 4.4).
func neighborTarget(m *dissect.Message, p *packet.Packet) (netip.Addr, bool) {
	if len(p.Payload) < 20 {
		if p.PayloadLength < 20 {
			m.Malformed = &packet.Malformed{Layer: "icmp", Offset: checksum + len(p.Payload), Rule: "neighbor message ends within its target"}
		}
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(p.Payload[4:20])), true
}

// linkAddress finds an Ethernet address among the options (RFC 4861 clause 4.6), whose lengths count 8 bytes each.
func linkAddress(options []byte, kind uint8) packet.MAC {
	for range maxOptions {
		if len(options) < 8 {
			break
		}
		size := int(options[1]) * 8
		if size == 0 || size > len(options) {
			break
		}
		if options[0] == kind && size == 8 {
			return packet.MAC(options[2:8])
		}
		options = options[size:]
	}
	return packet.MAC{}
}

func tie(m *dissect.Message, addr netip.Addr, mac packet.MAC) {
	if !mac.IsZero() && !mac.IsMulticast() {
		m.Identity = []dissect.Fact{{Addr: addr, MAC: mac, Kind: dissect.FactAddress, Value: addr.String()}}
	}
}
