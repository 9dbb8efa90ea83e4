// Package dhcp reads DHCP and BOOTP for IPv4 (RFC 2131, RFC 2132): who asks for an address, under which name, and which
// address it is given or refused. One datagram in, one message out; nothing is kept between datagrams.
//
// Bounds: a message is one datagram; at most maxOptions options are read and maxText bytes of each text.
package dhcp

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	fixedSize  = 236        // RFC 951: all before the vendor area
	cookie     = 0x63825363 // RFC 2131 clause 3
	maxOptions = 128
	maxText    = 128
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{
	ID:        "dhcp",
	Name:      "DHCP",
	Ports:     []uint16{67, 68},
	DetectUDP: detect,
	NewParser: func() dissect.Parser { return &Parser{} },
}

// Offsets of the fixed fields, and options.
const (
	bootRequest = 1
	bootReply   = 2

	atClient   = 12 // ciaddr
	atYours    = 16 // yiaddr
	atHardware = 28 // chaddr

	optionPad         = 0
	optionHostName    = 12
	optionRequested   = 50
	optionType        = 53
	optionVendorClass = 60
	optionFQDN        = 81
	optionEnd         = 255
)

// types are the message types of option 53.
var types = []string{
	"BOOTP", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM",
	"FORCERENEW", "LEASEQUERY", "LEASEUNASSIGNED", "LEASEUNKNOWN", "LEASEACTIVE",
}

const (
	typeDiscover = 1
	typeOffer    = 2
	typeRequest  = 3
	typeACK      = 5
	typeNAK      = 6
	typeInform   = 8
)

// detect knows a message by its fixed fields and the cookie behind them. A BOOTP message without the cookie is only
// believed on its port.
func detect(p dissect.Probe) dissect.Verdict {
	data, swap := p.Forward, false
	if len(data) == 0 {
		data, swap = p.Backward, true
	}
	if len(data) < fixedSize || data[0] != bootRequest && data[0] != bootReply || data[2] > 16 {
		return dissect.Verdict{}
	}
	v := dissect.Verdict{Match: dissect.Weak, Swap: swap != (data[0] == bootReply)}
	if len(data) >= fixedSize+4 && binary.BigEndian.Uint32(data[fixedSize:]) == cookie {
		v.Match = dissect.Strong
	}
	return v
}

// Parser reads one conversation. It keeps nothing.
type Parser struct{}

var _ dissect.Parser = (*Parser)(nil)

// Parse implements dissect.Parser.
func (*Parser) Parse(s dissect.Segment, emit func(*dissect.Message)) int {
	m := &dissect.Message{Direction: s.Direction, Subcode: -1, Size: len(s.Data)}
	read(m, s.Data)
	emit(m)
	return len(s.Data)
}

func malformed(m *dissect.Message, offset int, rule string) {
	if m.Malformed == nil {
		m.Malformed = &packet.Malformed{Layer: "dhcp", Offset: offset, Rule: rule}
	}
}

func read(m *dissect.Message, data []byte) {
	if len(data) < fixedSize {
		malformed(m, len(data), "message ends within its fixed fields")
		return
	}
	switch data[0] {
	case bootRequest:
		m.Kind = dissect.Request
	case bootReply:
		m.Kind = dissect.Response
	default:
		malformed(m, 0, "op is neither request nor reply")
	}
	var hardware packet.MAC
	switch {
	case data[2] > 16:
		malformed(m, 2, "hardware address is longer than its field")
	case data[1] == 1 && data[2] == 6:
		hardware = packet.MAC(data[atHardware:])
	}
	o := options(m, data)
	m.Code, m.CodeName = o.kind, types[0]
	switch {
	case o.kind > 0 && o.kind < len(types):
		m.CodeName = types[o.kind]
	case o.kind != 0:
		m.CodeName = ""
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
	}
	m.Operation = dissect.OpSession
	switch o.kind {
	case typeDiscover, typeOffer:
		m.Operation = dissect.OpDiscovery
	case typeNAK:
		m.Conditions = append(m.Conditions, dissect.CondNoLease)
	}
	for _, name := range []string{o.hostName, o.vendorClass} {
		if name != "" {
			m.Names = append(m.Names, name)
		}
	}
	if o.requested.IsValid() {
		m.Targets = []dissect.Target{{Space: "address", Count: 1, Value: o.requested.String()}}
	}
	if !hardware.IsZero() && !hardware.IsMulticast() {
		identify(m, data, hardware, o)
	}
}

// identify tells what the message says of the client, which it names by hardware address: a relay may stand between.
func identify(m *dissect.Message, data []byte, hardware packet.MAC, o found) {
	addr := netip.Addr{}
	switch {
	case m.Kind == dissect.Response && o.kind == typeACK:
		addr = netip.AddrFrom4([4]byte(data[atYours:]))
	case m.Kind == dissect.Request && (o.kind == typeRequest || o.kind == typeInform):
		addr = netip.AddrFrom4([4]byte(data[atClient:])) // set where the client already uses it
	}
	if addr.IsValid() && !addr.IsUnspecified() {
		m.Identity = append(m.Identity, dissect.Fact{Addr: addr, MAC: hardware, Kind: dissect.FactAddress, Value: addr.String()})
	}
	if m.Kind != dissect.Request {
		return
	}
	if o.hostName != "" {
		m.Identity = append(m.Identity, dissect.Fact{MAC: hardware, Kind: dissect.FactName, Value: o.hostName})
	}
	if system := systemOf(o.vendorClass); system != "" {
		m.Identity = append(m.Identity, dissect.Fact{MAC: hardware, Kind: dissect.FactOS, Value: system})
	}
}

// systemOf names the operating system of the vendor classes that tell one; the others name products in ways of their own.
func systemOf(class string) string {
	for _, known := range []struct{ prefix, system string }{
		{"MSFT ", "Windows"}, {"android-dhcp-", "Android"}, {"dhcpcd", "Linux"}, {"udhcp ", "Linux"},
	} {
		if strings.HasPrefix(class, known.prefix) {
			return known.system
		}
	}
	return ""
}

// found is what the options say.
type found struct {
	kind        int
	hostName    string
	vendorClass string
	requested   netip.Addr
}

// options walks the vendor area (RFC 2132 clause 2): a code, a length, that many bytes.
func options(m *dissect.Message, data []byte) found {
	var o found
	if len(data) < fixedSize+4 || binary.BigEndian.Uint32(data[fixedSize:]) != cookie {
		return o
	}
	at := fixedSize + 4
	for range maxOptions {
		if at >= len(data) || data[at] == optionEnd {
			return o
		}
		code := data[at]
		if code == optionPad {
			for at < len(data) && data[at] == optionPad {
				at++
			}
			continue
		}
		if at+1 >= len(data) || at+2+int(data[at+1]) > len(data) {
			malformed(m, at, "option exceeds the message")
			return o
		}
		value := data[at+2 : at+2+int(data[at+1])]
		o.take(m, at, code, value)
		at += 2 + len(value)
	}
	malformed(m, at, "more options than any client sends")
	return o
}

func (o *found) take(m *dissect.Message, at int, code byte, value []byte) {
	switch code {
	case optionType:
		if len(value) != 1 {
			malformed(m, at, "message type is not one byte")
			return
		}
		o.kind = int(value[0])
	case optionHostName:
		o.hostName = text(value)
	case optionFQDN: // RFC 4702: flags and two unused bytes first; the wire form of names only with a flag
		if len(value) > 3 && value[0]&4 == 0 && o.hostName == "" {
			o.hostName = text(value[3:])
		}
	case optionVendorClass:
		o.vendorClass = text(value)
	case optionRequested:
		if len(value) == 4 {
			o.requested = netip.AddrFrom4([4]byte(value))
		} else {
			malformed(m, at, "requested address is not four bytes")
		}
	}
}

// text takes what can be printed of an option, up to the zero that some clients append.
func text(value []byte) string {
	value = value[:min(len(value), maxText)]
	for i, b := range value {
		if b == 0 {
			value = value[:i]
			break
		}
	}
	if !utf8.Valid(value) {
		return ""
	}
	for _, r := range string(value) {
		if r < ' ' || r == 0x7f {
			return ""
		}
	}
	return string(value)
}
