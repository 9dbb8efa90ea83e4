// Package arp reads the Address Resolution Protocol (RFC 826): who asks for which address, and which hardware address
// answers for it. One packet in, one message out; nothing is kept.
//
// Bounds: a packet is 28 bytes, decoded by sensor/packet before it comes here; one name and one fact a message.
package arp

import (
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{ID: "arp", Name: "ARP", Packet: read}

// Operations of the IANA registry "Address Resolution Protocol (ARP) Parameters".
const (
	opRequest        = 1
	opReply          = 2
	opReverseRequest = 3
	opReverseReply   = 4
	opInverseRequest = 8
	opInverseReply   = 9
)

var names = map[uint16]string{
	opRequest: "request", opReply: "reply", opReverseRequest: "reverse request", opReverseReply: "reverse reply",
	opInverseRequest: "inverse request", opInverseReply: "inverse reply",
}

const size = 28

func read(p *packet.Packet, emit func(*dissect.Message)) {
	if p.EtherType != packet.EtherARP || !p.ARP.SenderIP.IsValid() {
		return
	}
	a := &p.ARP
	m := &dissect.Message{
		Code: int(a.Op), Subcode: -1, CodeName: names[a.Op], Operation: dissect.OpDiscovery, Size: size,
	}
	switch a.Op {
	case opReply, opReverseReply, opInverseReply:
		m.Direction, m.Kind = dissect.FromServer, dissect.Response
	case opRequest, opReverseRequest, opInverseRequest:
	default:
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
	}
	if m.Kind == dissect.Request && a.SenderIP == a.TargetIP {
		m.Kind = dissect.Unsolicited // an announcement (RFC 5227 clause 3)
		m.CodeName = "announcement"
	}
	if !a.TargetIP.IsUnspecified() {
		m.Names = []string{a.TargetIP.String()}
	}
	// A probe (RFC 5227 clause 2.1.1) has no address yet: its sender is 0.0.0.0.
	if !a.SenderIP.IsUnspecified() && !a.SenderMAC.IsZero() && !a.SenderMAC.IsMulticast() {
		m.Identity = []dissect.Fact{{
			Addr: a.SenderIP, MAC: a.SenderMAC, Kind: dissect.FactAddress, Value: a.SenderIP.String(),
		}}
	}
	emit(m)
}
