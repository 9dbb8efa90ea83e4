package packet

import (
	"encoding/binary"
	"net/netip"
)

// Bounds of one frame. Deeper nesting than any device sends is malformed, and never followed.
const (
	maxVLANTags   = 8  // two are in use anywhere (QinQ); more is an attack on the parser
	maxExtensions = 16 // IPv6 extension headers; RFC 8200 clause 4.1 names seven kinds, each once
)

// EtherTypes and IPv6 extension headers that only the decoder needs.
const (
	etherQinQ       = 0x88a8 // IEEE 802.1ad
	etherQinQOld    = 0x9100 // QinQ before 802.1ad
	etherMinimum    = 0x0600 // below: an IEEE 802.3 length
	extHopByHop     = 0
	extRouting      = 43
	extFragment     = 44
	extAuth         = 51
	extNone         = 59
	extDestination  = 60
	extMobility     = 135
	extHIP          = 139
	extShim6        = 140
	ipv4MoreFlag    = 0x2000
	ipv4OffsetMask  = 0x1fff
	maxDatagram     = 65535
	largestSegments = 1500 // an IPv4 total length of 0 in a longer frame is segmentation offload
)

// Decoder decodes one frame at a time. It is used by one goroutine. Checksums are not verified: a capture on a host
// sees packets before its network card fills them in.
type Decoder struct {
	packet Packet
	frags  fragments
}

// NewDecoder returns a decoder without state.
func NewDecoder() *Decoder { return &Decoder{} }

// Decode reads f. The packet is the decoder's and valid until the next call; its Malformed may be kept.
func (d *Decoder) Decode(f *Frame) *Packet {
	d.packet = Packet{Frame: f}
	p := &d.packet
	wire := max(f.Length, len(f.Data))
	switch f.Link {
	case LinkEthernet:
		d.ethernet(p, f.Data, wire)
	case LinkSLL:
		d.cooked(p, f.Data, wire)
	case LinkSLL2:
		d.cooked2(p, f.Data, wire)
	case LinkRaw, LinkRawBSD, LinkIPv4, LinkIPv6:
		d.raw(p, f.Data, wire)
	case LinkNull, LinkLoop:
		// The family only says 4 or 6, in numbers that differ between systems; so does the packet itself.
		if !p.short("loopback", f.Data, wire, 4) {
			d.raw(p, f.Data[4:], wire-4)
		}
	default:
		p.payload(f.Data, wire)
	}
	return p
}

// Evicted counts the incomplete datagrams dropped for age or lack of room.
func (d *Decoder) Evicted() uint64 { return d.frags.Dropped }

func (p *Packet) payload(data []byte, wire int) {
	p.Payload, p.PayloadLength = data, wire
}

// malformed keeps the first fault, which is the outermost header's.
func (p *Packet) malformed(layer string, offset int, rule string) {
	if p.Malformed == nil {
		p.Malformed = &Malformed{Layer: layer, Offset: offset, Rule: rule}
	}
}

// short records that a header ends early: a fault only where the wire, not the capture, cut it.
func (p *Packet) short(layer string, data []byte, wire, need int) bool {
	if len(data) >= need {
		return false
	}
	if wire < need {
		p.malformed(layer, len(data), "header is cut short")
	}
	p.payload(data, wire)
	return true
}

// ethernet reads an IEEE 802.3 / Ethernet II header. wire is the length of data on the wire, here and below.
func (d *Decoder) ethernet(p *Packet, data []byte, wire int) {
	if p.short("ethernet", data, wire, 14) {
		return
	}
	copy(p.DstMAC[:], data[0:6])
	copy(p.SrcMAC[:], data[6:12])
	d.ethertype(p, binary.BigEndian.Uint16(data[12:]), data[14:], wire-14)
}

// cooked reads LINKTYPE_LINUX_SLL: packet type, ARPHRD, address length, address (8), protocol.
func (d *Decoder) cooked(p *Packet, data []byte, wire int) {
	if p.short("sll", data, wire, 16) {
		return
	}
	if binary.BigEndian.Uint16(data[4:]) == 6 {
		copy(p.SrcMAC[:], data[6:12])
	}
	d.ethertype(p, binary.BigEndian.Uint16(data[14:]), data[16:], wire-16)
}

// cooked2 reads LINKTYPE_LINUX_SLL2: protocol, reserved, interface, ARPHRD, packet type, address length, address (8).
func (d *Decoder) cooked2(p *Packet, data []byte, wire int) {
	if p.short("sll2", data, wire, 20) {
		return
	}
	if data[11] == 6 {
		copy(p.SrcMAC[:], data[12:18])
	}
	d.ethertype(p, binary.BigEndian.Uint16(data[0:]), data[20:], wire-20)
}

func (d *Decoder) raw(p *Packet, data []byte, wire int) {
	if p.short("ip", data, wire, 1) {
		return
	}
	switch data[0] >> 4 {
	case 4:
		d.ipv4(p, data, wire)
	case 6:
		d.ipv6(p, data, wire)
	default:
		p.payload(data, wire)
		p.malformed("ip", 0, "version is neither 4 nor 6")
	}
}

// ethertype follows VLAN tags and hands the rest to the network layer.
func (d *Decoder) ethertype(p *Packet, kind uint16, data []byte, wire int) {
	for tags := 0; kind == EtherVLAN || kind == etherQinQ || kind == etherQinQOld; tags++ {
		if tags == maxVLANTags {
			p.payload(data, wire)
			p.malformed("vlan", 0, "more VLAN tags than any network uses")
			return
		}
		if p.short("vlan", data, wire, 4) {
			return
		}
		if tags < len(p.VLANs) {
			p.VLANs[tags] = binary.BigEndian.Uint16(data) & 0x0fff
		}
		kind = binary.BigEndian.Uint16(data[2:])
		data, wire = data[4:], wire-4
	}
	if kind < etherMinimum {
		d.llc(p, int(kind), data, wire)
		return
	}
	d.network(p, kind, data, wire)
}

// llc reads an IEEE 802.3 frame: its type field is a length, and an IEEE 802.2 header follows. Only SNAP with an
// EtherType leads further up.
func (d *Decoder) llc(p *Packet, length int, data []byte, wire int) {
	if length > wire {
		p.malformed("ethernet", 12, "length field exceeds the frame")
	} else {
		wire = length
		data = data[:min(len(data), length)]
	}
	if len(data) >= 8 && data[0] == 0xaa && data[1] == 0xaa && data[2] == 3 && data[3]|data[4]|data[5] == 0 {
		d.network(p, binary.BigEndian.Uint16(data[6:]), data[8:], wire-8)
		return
	}
	p.payload(data, wire)
}

func (d *Decoder) network(p *Packet, kind uint16, data []byte, wire int) {
	p.EtherType = kind
	switch kind {
	case EtherIPv4:
		d.ipv4(p, data, wire)
	case EtherIPv6:
		d.ipv6(p, data, wire)
	case EtherARP:
		d.arpBody(p, data, wire)
	default:
		p.payload(data, wire)
	}
}

// arpBody reads RFC 826 for Ethernet and IPv4; other kinds of address are left undecoded.
func (d *Decoder) arpBody(p *Packet, data []byte, wire int) {
	p.payload(data, wire)
	if p.short("arp", data, wire, 8) {
		return
	}
	hardware, protocol := binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
	if hardware != 1 || protocol != EtherIPv4 {
		return
	}
	if data[4] != 6 || data[5] != 4 {
		p.malformed("arp", 4, "address lengths are not those of Ethernet and IPv4")
		return
	}
	if p.short("arp", data, wire, 28) {
		return
	}
	p.ARP.Op = binary.BigEndian.Uint16(data[6:])
	copy(p.ARP.SenderMAC[:], data[8:14])
	p.ARP.SenderIP = netip.AddrFrom4([4]byte(data[14:18]))
	copy(p.ARP.TargetMAC[:], data[18:24])
	p.ARP.TargetIP = netip.AddrFrom4([4]byte(data[24:28]))
}

// ipv4 reads RFC 791.
func (d *Decoder) ipv4(p *Packet, data []byte, wire int) {
	if p.short("ipv4", data, wire, 20) {
		return
	}
	p.payload(data, wire)
	if data[0]>>4 != 4 {
		p.malformed("ipv4", 0, "version is not 4")
		return
	}
	header := int(data[0]&0x0f) * 4
	if header < 20 {
		p.malformed("ipv4", 0, "header length is below 20 bytes")
		return
	}
	total := int(binary.BigEndian.Uint16(data[2:]))
	if total == 0 && wire > largestSegments {
		total = wire
	}
	if total < header {
		p.malformed("ipv4", 2, "total length is below the header length")
		return
	}
	p.Src = netip.AddrFrom4([4]byte(data[12:16]))
	p.Dst = netip.AddrFrom4([4]byte(data[16:20]))
	p.TTL, p.IPProto = data[8], data[9]
	if total > wire {
		p.malformed("ipv4", 2, "total length exceeds the frame")
		wire = total // the reader above must know that bytes are missing
	}
	wire = total
	data = data[:min(len(data), total)]
	p.Network = data
	if p.short("ipv4", data, wire, header) {
		return
	}
	checkOptions(p, data[20:header])
	id := uint32(binary.BigEndian.Uint16(data[4:]))
	field := binary.BigEndian.Uint16(data[6:])
	offset, more := int(field&ipv4OffsetMask)*8, field&ipv4MoreFlag != 0
	data, wire = data[header:], wire-header
	if offset != 0 || more {
		d.fragment(p, id, offset, more, data, wire)
		return
	}
	d.transport(p, data, wire)
}

// checkOptions walks the options of RFC 791 clause 3.1: each but the one-byte kinds holds its own length.
func checkOptions(p *Packet, options []byte) {
	for i := 0; i < len(options); {
		switch options[i] {
		case 0: // end of the list
			return
		case 1: // padding
			i++
			continue
		}
		if i+1 >= len(options) || options[i+1] < 2 || i+int(options[i+1]) > len(options) {
			p.malformed("ipv4", 20+i, "option length is wrong")
			return
		}
		i += int(options[i+1])
	}
}

// ipv6 reads RFC 8200.
func (d *Decoder) ipv6(p *Packet, data []byte, wire int) {
	if p.short("ipv6", data, wire, 40) {
		return
	}
	p.payload(data, wire)
	if data[0]>>4 != 6 {
		p.malformed("ipv6", 0, "version is not 6")
		return
	}
	p.Src = netip.AddrFrom16([16]byte(data[8:24]))
	p.Dst = netip.AddrFrom16([16]byte(data[24:40]))
	p.TTL = data[7]
	next := data[6]
	length := int(binary.BigEndian.Uint16(data[4:]))
	if length == 0 && next != extNone {
		length = wire - 40 // jumbogram (RFC 2675) or segmentation offload
	}
	if length > wire-40 {
		p.malformed("ipv6", 4, "payload length exceeds the frame")
	}
	data = data[:min(len(data), 40+length)]
	p.Network = data
	d.extensions(p, next, data[40:], length)
}

// extensions follows the extension headers of IPv6 (RFC 8200 clause 4) to the transport header.
func (d *Decoder) extensions(p *Packet, next uint8, data []byte, wire int) {
	for count := 0; ; count++ {
		p.IPProto = next
		switch next {
		case extHopByHop, extRouting, extDestination, extAuth, extMobility, extHIP, extShim6, extFragment:
		case extNone:
			p.payload(nil, 0)
			return
		default:
			d.transport(p, data, wire)
			return
		}
		if count == maxExtensions {
			p.payload(data, wire)
			p.malformed("ipv6", 40, "more extension headers than the specification has")
			return
		}
		if p.short("ipv6", data, wire, 8) {
			return
		}
		size := 8 + int(data[1])*8
		switch next {
		case extAuth:
			size = (int(data[1]) + 2) * 4 // RFC 4302 counts in 32-bit words, less two
		case extFragment:
			size = 8
		}
		if size > wire {
			p.payload(data, wire)
			p.malformed("ipv6", 40, "extension header length exceeds the packet")
			return
		}
		if p.short("ipv6", data, wire, size) {
			return
		}
		header := data[:size]
		next, data, wire = data[0], data[size:], wire-size
		if p.IPProto != extFragment {
			continue
		}
		field := binary.BigEndian.Uint16(header[2:])
		offset, more := int(field&^7), field&1 != 0
		if offset != 0 || more {
			p.IPProto = next
			d.fragment(p, binary.BigEndian.Uint32(header[4:]), offset, more, data, wire)
			return
		}
	}
}

// fragment adds one fragment and goes on with the datagram it completes.
func (d *Decoder) fragment(p *Packet, id uint32, offset int, more bool, data []byte, wire int) {
	p.payload(nil, 0)
	p.Fragment = true
	if len(data) < wire { // cut by the capture, or lying: the datagram can never be complete
		return
	}
	whole := d.frags.add(p, id, offset, more, data)
	if whole == nil {
		return
	}
	p.Fragment, p.Reassembled = false, true
	if p.Src.Is6() {
		d.extensions(p, p.IPProto, whole, len(whole))
		return
	}
	d.transport(p, whole, len(whole))
}

func (d *Decoder) transport(p *Packet, data []byte, wire int) {
	p.payload(data, wire)
	switch p.IPProto {
	case ProtoTCP:
		d.tcp(p, data, wire)
	case ProtoUDP:
		d.udp(p, data, wire)
	case ProtoICMP, ProtoICMPv6:
		if p.short("icmp", data, wire, 4) {
			return
		}
		p.ICMPType, p.ICMPCode = data[0], data[1]
		p.payload(data[4:], wire-4)
	}
}

// tcp reads RFC 9293 clause 3.1.
func (d *Decoder) tcp(p *Packet, data []byte, wire int) {
	if p.short("tcp", data, wire, 20) {
		return
	}
	header := int(data[12]>>4) * 4
	if header < 20 || header > wire {
		p.malformed("tcp", 12, "data offset lies outside the segment")
		return
	}
	p.SrcPort = binary.BigEndian.Uint16(data)
	p.DstPort = binary.BigEndian.Uint16(data[2:])
	p.Seq = binary.BigEndian.Uint32(data[4:])
	p.Ack = binary.BigEndian.Uint32(data[8:])
	p.Flags = data[13]
	p.Window = binary.BigEndian.Uint16(data[14:])
	p.payload(data[min(header, len(data)):], wire-header)
}

// udp reads RFC 768.
func (d *Decoder) udp(p *Packet, data []byte, wire int) {
	if p.short("udp", data, wire, 8) {
		return
	}
	p.SrcPort = binary.BigEndian.Uint16(data)
	p.DstPort = binary.BigEndian.Uint16(data[2:])
	length := int(binary.BigEndian.Uint16(data[4:]))
	switch {
	case length == 0 && wire > maxDatagram: // RFC 2675: a datagram beyond the field
		length = wire
	case length < 8:
		p.malformed("udp", 4, "length is below the header length")
		length = wire
	case length > wire:
		p.malformed("udp", 4, "length exceeds the packet")
	}
	p.payload(data[8:min(len(data), length)], length-8)
}
