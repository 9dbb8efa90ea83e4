// Package dissecttest makes frames for tests of the stages from packet on, byte by byte, and prints what a runner finds
// in them as text for golden files.
package dissecttest

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Start is the time of the first frame of a Wire.
var Start = time.Date(2024, 3, 1, 8, 0, 0, 0, time.UTC)

// Host is one side of a conversation.
type Host struct {
	MAC  packet.MAC
	Addr netip.Addr
	Port uint16
}

// NewHost makes a host at addr whose hardware address ends in the address's last bytes.
func NewHost(addr string, port uint16) Host {
	a := netip.MustParseAddr(addr)
	raw := a.As16()
	return Host{MAC: packet.MAC{0x02, 0, raw[12], raw[13], raw[14], raw[15]}, Addr: a, Port: port}
}

// Wire collects frames. Each comes Step after the one before.
type Wire struct {
	Frames []packet.Frame
	Now    time.Time
	Step   time.Duration
	VLAN   uint16 // 0: no tag
	id     uint16 // of the next IPv4 packet
}

// NewWire returns an empty wire with a millisecond between frames.
func NewWire() *Wire {
	return &Wire{Now: Start, Step: time.Millisecond}
}

// Frame adds raw bytes of an Ethernet frame.
func (w *Wire) Frame(data []byte) {
	w.Frames = append(w.Frames, packet.Frame{
		Index: uint64(len(w.Frames) + 1), Time: w.Now, Link: packet.LinkEthernet, Data: data, Length: len(data),
	})
	w.Now = w.Now.Add(w.Step)
}

// Ethernet adds a frame with the given type and payload.
func (w *Wire) Ethernet(from, to packet.MAC, kind uint16, payload []byte) {
	frame := append(append([]byte{}, to[:]...), from[:]...)
	if w.VLAN != 0 {
		frame = binary.BigEndian.AppendUint16(frame, 0x8100)
		frame = binary.BigEndian.AppendUint16(frame, w.VLAN)
	}
	frame = binary.BigEndian.AppendUint16(frame, kind)
	w.Frame(append(frame, payload...))
}

// IP adds a packet of the given transport protocol, IPv4 or IPv6 as the addresses are.
func (w *Wire) IP(from, to Host, proto uint8, payload []byte) {
	w.id++
	if from.Addr.Is4() {
		w.Ethernet(from.MAC, to.MAC, packet.EtherIPv4, IPv4(from.Addr, to.Addr, w.id, 0, proto, payload))
		return
	}
	header := []byte{0x60, 0, 0, 0}
	header = binary.BigEndian.AppendUint16(header, uint16(len(payload)))
	header = append(header, proto, 64)
	source, destination := from.Addr.As16(), to.Addr.As16()
	header = append(append(header, source[:]...), destination[:]...)
	w.Ethernet(from.MAC, to.MAC, packet.EtherIPv6, append(header, payload...))
}

// IPv4 gives a packet with its checksum; fragment is the flags and offset field.
func IPv4(from, to netip.Addr, id, fragment uint16, proto uint8, payload []byte) []byte {
	header := []byte{0x45, 0}
	header = binary.BigEndian.AppendUint16(header, uint16(20+len(payload)))
	header = binary.BigEndian.AppendUint16(header, id)
	header = binary.BigEndian.AppendUint16(header, fragment)
	header = append(header, 64, proto, 0, 0)
	source, destination := from.As4(), to.As4()
	header = append(append(header, source[:]...), destination[:]...)
	binary.BigEndian.PutUint16(header[10:], Checksum(header))
	return append(header, payload...)
}

// Checksum is the ones' complement sum of RFC 1071.
func Checksum(data []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(data[i])<<8 | uint32(data[i+1])
	}
	if len(data)%2 == 1 {
		sum += uint32(data[len(data)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// UDP adds a datagram.
func (w *Wire) UDP(from, to Host, payload []byte) {
	w.IP(from, to, packet.ProtoUDP, UDP(from.Port, to.Port, payload))
}

// UDP gives a datagram without a checksum.
func UDP(from, to uint16, payload []byte) []byte {
	header := binary.BigEndian.AppendUint16(nil, from)
	header = binary.BigEndian.AppendUint16(header, to)
	header = binary.BigEndian.AppendUint16(header, uint16(8+len(payload)))
	return append(append(header, 0, 0), payload...)
}

// Segment adds a TCP segment exactly as told.
func (w *Wire) Segment(from, to Host, seq, ack uint32, flags uint8, payload []byte) {
	header := binary.BigEndian.AppendUint16(nil, from.Port)
	header = binary.BigEndian.AppendUint16(header, to.Port)
	header = binary.BigEndian.AppendUint32(header, seq)
	header = binary.BigEndian.AppendUint32(header, ack)
	header = append(header, 0x50, flags, 0x20, 0, 0, 0, 0, 0)
	w.IP(from, to, packet.ProtoTCP, append(header, payload...))
}

// TCP is a connection that keeps count of its sequence numbers.
type TCP struct {
	w              *Wire
	Client, Server Host
	// Seq are the next sequence numbers of the client and the server.
	Seq [2]uint32
}

// Connect makes a connection without a frame: what follows begins mid-stream.
func (w *Wire) Connect(client, server Host) *TCP {
	return &TCP{w: w, Client: client, Server: server, Seq: [2]uint32{1000, 5000}}
}

// Dial makes a connection with its handshake.
func (w *Wire) Dial(client, server Host) *TCP {
	c := w.Connect(client, server)
	c.Open()
	return c
}

// Open adds the three segments of the handshake.
func (c *TCP) Open() {
	c.w.Segment(c.Client, c.Server, c.Seq[0], 0, packet.SYN, nil)
	c.Seq[0]++
	c.w.Segment(c.Server, c.Client, c.Seq[1], c.Seq[0], packet.SYN|packet.ACK, nil)
	c.Seq[1]++
	c.w.Segment(c.Client, c.Server, c.Seq[0], c.Seq[1], packet.ACK, nil)
}

// Send adds data of the client, Reply of the server.
func (c *TCP) Send(data []byte) {
	c.w.Segment(c.Client, c.Server, c.Seq[0], c.Seq[1], packet.PSH|packet.ACK, data)
	c.Seq[0] += uint32(len(data))
}

// Reply adds data of the server.
func (c *TCP) Reply(data []byte) {
	c.w.Segment(c.Server, c.Client, c.Seq[1], c.Seq[0], packet.PSH|packet.ACK, data)
	c.Seq[1] += uint32(len(data))
}

// SendAt adds data of the client at an offset from its next sequence number, which stays.
func (c *TCP) SendAt(offset int, data []byte) {
	c.w.Segment(c.Client, c.Server, c.Seq[0]+uint32(offset), c.Seq[1], packet.PSH|packet.ACK, data)
}

// AckClient adds the server's acknowledgement of all the client sent; AckServer the client's.
func (c *TCP) AckClient() { c.w.Segment(c.Server, c.Client, c.Seq[1], c.Seq[0], packet.ACK, nil) }

// AckServer adds the client's acknowledgement of all the server sent.
func (c *TCP) AckServer() { c.w.Segment(c.Client, c.Server, c.Seq[0], c.Seq[1], packet.ACK, nil) }

// Close adds both FINs and their acknowledgements.
func (c *TCP) Close() {
	c.w.Segment(c.Client, c.Server, c.Seq[0], c.Seq[1], packet.FIN|packet.ACK, nil)
	c.Seq[0]++
	c.w.Segment(c.Server, c.Client, c.Seq[1], c.Seq[0], packet.FIN|packet.ACK, nil)
	c.Seq[1]++
	c.AckServer()
}

// Reset adds the client's RST.
func (c *TCP) Reset() {
	c.w.Segment(c.Client, c.Server, c.Seq[0], c.Seq[1], packet.RST|packet.ACK, nil)
}
