// Package packet turns captured frames into decoded packets: link, VLAN, network and transport headers,
// and the payload above them. A frame that cannot be decoded is data, not an error: it comes back with
// Malformed set. Well-formed frames are decoded without allocation; the only state is the bounded table of
// datagrams whose fragments are still incomplete.
package packet

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"
)

// LinkType is a DLT/LINKTYPE number of the pcap format.
type LinkType uint32

// Link types the decoder understands.
const (
	LinkNull     LinkType = 0 // BSD loopback: address family in the byte order of the capturing machine
	LinkEthernet LinkType = 1
	LinkRawBSD   LinkType = 12
	LinkRaw      LinkType = 101
	LinkLoop     LinkType = 108 // OpenBSD loopback: address family in network order
	LinkSLL      LinkType = 113
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276
)

// Supported reports whether the decoder understands the link type.
func (l LinkType) Supported() bool {
	switch l {
	case LinkNull, LinkEthernet, LinkRawBSD, LinkRaw, LinkLoop, LinkSLL, LinkIPv4, LinkIPv6, LinkSLL2:
		return true
	}
	return false
}

// Frame is one captured frame. Data is only valid until the next frame is read.
type Frame struct {
	// Index counts frames of the whole source from 1, over all its files.
	Index uint64
	Time  time.Time // UTC; shifted already where a replay shifts
	Link  LinkType
	Data  []byte
	// Length is the length on the wire; more than len(Data) where the capture cut the frame.
	Length int
}

// MAC is a hardware address; the zero value means there was none.
type MAC [6]byte

// String gives the address as lower-case hex with colons.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsZero reports the absence of an address.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports group addresses, broadcast among them.
func (m MAC) IsMulticast() bool { return m[0]&1 == 1 }

// TCP flags.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// IP protocol numbers used by name.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
)

// EtherTypes used by name.
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherVLAN = 0x8100 // IEEE 802.1Q
	EtherIPv6 = 0x86dd
)

// Packet is one decoded frame. Fields above the first header that could not be decoded are zero.
// Payload aliases Frame.Data (or the reassembled datagram): valid until the next frame.
type Packet struct {
	Frame *Frame

	SrcMAC, DstMAC MAC
	VLANs          [2]uint16 // outer first; 0 where absent
	EtherType      uint16    // after the VLAN tags; 0 for raw IP

	Src, Dst netip.Addr // invalid where the frame holds no IP
	IPProto  uint8
	TTL      uint8
	// Fragment is set on an IP fragment that did not complete a datagram; ports and Payload are then empty.
	Fragment bool
	// Reassembled is set on the fragment that completed a datagram; the fields above IP are the whole datagram's.
	Reassembled bool

	SrcPort, DstPort uint16
	Seq, Ack         uint32 // TCP only
	Flags            uint8  // TCP only
	Window           uint16 // TCP only
	ICMPType         uint8
	ICMPCode         uint8

	ARP ARP // EtherType EtherARP only

	// Network is the IP packet from its header on, without link-layer padding; nil where the frame holds no IP.
	Network []byte

	// Payload is what the innermost decoded header carries: the TCP segment's or UDP datagram's data, the ICMP
	// message after its checksum, or the link-layer payload where nothing above was decoded.
	Payload []byte
	// PayloadLength is the length of the payload on the wire by its headers: more than len(Payload) where the
	// capture cut the frame or a length field lies.
	PayloadLength int

	// Malformed is set where a header contradicts itself or is cut short.
	Malformed *Malformed
}

// ARP is the body of an ARP packet (RFC 826) for IPv4 over Ethernet.
type ARP struct {
	Op        uint16 // 1 request, 2 reply
	SenderMAC MAC
	SenderIP  netip.Addr
	TargetMAC MAC
	TargetIP  netip.Addr
}

// Malformed says where a header or message breaks its specification.
type Malformed struct {
	Layer  string // "ethernet", "ipv4", "tcp", or a protocol id such as "modbus"
	Offset int    // byte offset within that layer
	Rule   string // the rule broken, such as "length field 300 exceeds the frame"
}

// MarshalText writes the address as String does, for checkpoints.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *MAC) UnmarshalText(text []byte) error {
	if len(text) != 17 {
		return fmt.Errorf("read hardware address %q: want six bytes in hex with colons", text)
	}
	for i := range m {
		if i > 0 && text[i*3-1] != ':' {
			return fmt.Errorf("read hardware address %q: want colons between the bytes", text)
		}
		if _, err := hex.Decode(m[i:i+1], text[i*3:i*3+2]); err != nil {
			return fmt.Errorf("read hardware address %q: %w", text, err)
		}
	}
	return nil
}
