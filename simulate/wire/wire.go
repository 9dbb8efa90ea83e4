// Package wire builds frames that never crossed a wire: whole TCP conversations and UDP exchanges between
// hosts, with right checksums, sequence numbers and IP ids, written to a capture or handed to a reader. A
// script of calls always gives the same bytes.
package wire

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Host is one station on the wire.
type Host struct {
	MAC  net.HardwareAddr
	Addr netip.Addr
	VLAN uint16 // 0: untagged
}

// NewHost makes a host of that address, with a locally administered MAC derived from it unless mac is given.
func NewHost(addr, mac string) Host {
	h := Host{Addr: netip.MustParseAddr(addr)}
	if mac == "" {
		sum := fnv.New32a()
		io.WriteString(sum, addr)
		h.MAC = binary.BigEndian.AppendUint32([]byte{0x02, 0x00}, sum.Sum32())
		return h
	}
	var err error
	if h.MAC, err = net.ParseMAC(mac); err != nil {
		panic(err)
	}
	return h
}

// Frame is one frame with its time.
type Frame struct {
	Time time.Time
	Data []byte
}

// Recorder collects frames. Its clock stands still until Wait moves it; every frame also takes Step.
type Recorder struct {
	Now    time.Time
	Step   time.Duration // between frames
	Frames []Frame
	// Out, where set, takes each frame instead of Frames: for recordings too long to hold.
	Out  func(Frame)
	ipID uint16
	port uint16
}

// NewRecorder starts a recording at that time.
func NewRecorder(start time.Time) *Recorder {
	return &Recorder{Now: start.UTC(), Step: 100 * time.Microsecond, port: 49152}
}

// Wait moves the clock on.
func (r *Recorder) Wait(d time.Duration) { r.Now = r.Now.Add(d) }

// Raw records a frame as it stands.
func (r *Recorder) Raw(data []byte) {
	frame := Frame{Time: r.Now, Data: data}
	if r.Out != nil {
		r.Out(frame)
	} else {
		r.Frames = append(r.Frames, frame)
	}
	r.Now = r.Now.Add(r.Step)
}

// WriteTo writes everything as a nanosecond pcap file.
func (r *Recorder) WriteTo(w io.Writer) (int64, error) {
	count := &countingWriter{w: w}
	out, err := NewWriter(count)
	if err != nil {
		return count.n, err
	}
	for _, f := range r.Frames {
		if err := out.Write(f); err != nil {
			return count.n, err
		}
	}
	return count.n, nil
}

// Writer writes frames as a nanosecond pcap file.
type Writer struct{ out *pcapgo.Writer }

// NewWriter writes the file header.
func NewWriter(w io.Writer) (*Writer, error) {
	out := pcapgo.NewWriterNanos(w)
	if err := out.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		return nil, fmt.Errorf("write capture header: %w", err)
	}
	return &Writer{out: out}, nil
}

// Write appends one frame.
func (w *Writer) Write(f Frame) error {
	info := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: len(f.Data)}
	if err := w.out.WritePacket(info, f.Data); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// link records the layers as one frame from src to the MAC address dst.
func (r *Recorder) link(src Host, dst net.HardwareAddr, ether layers.EthernetType, above ...gopacket.SerializableLayer) {
	eth := &layers.Ethernet{SrcMAC: src.MAC, DstMAC: dst, EthernetType: ether}
	stack := []gopacket.SerializableLayer{eth}
	if src.VLAN != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: src.VLAN, Type: ether})
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, append(stack, above...)...); err != nil {
		panic(fmt.Sprintf("serialize frame: %v", err)) // layers of our own making: a bug
	}
	r.Raw(append([]byte(nil), buf.Bytes()...))
}

// ip records an IP packet with those layers above.
func (r *Recorder) ip(src, dst Host, proto layers.IPProtocol, transport networked, above ...gopacket.SerializableLayer) {
	r.ipID++
	var network gopacket.SerializableLayer
	ether := layers.EthernetTypeIPv4
	if src.Addr.Is4() {
		v4 := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: r.ipID, Flags: layers.IPv4DontFragment, Protocol: proto,
			SrcIP: src.Addr.AsSlice(), DstIP: dst.Addr.AsSlice()}
		transport.SetNetworkLayerForChecksum(v4)
		network = v4
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.Addr.AsSlice(), DstIP: dst.Addr.AsSlice()}
		transport.SetNetworkLayerForChecksum(v6)
		network = v6
		ether = layers.EthernetTypeIPv6
	}
	stack := append([]gopacket.SerializableLayer{network, transport}, above...)
	r.link(src, dst.MAC, ether, stack...)
}

type networked interface {
	gopacket.SerializableLayer
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// UDP records one datagram.
func (r *Recorder) UDP(src Host, srcPort uint16, dst Host, dstPort uint16, payload []byte) {
	r.ip(src, dst, layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(srcPort), DstPort: layers.UDPPort(dstPort)},
		gopacket.Payload(payload))
}

// Ping records an ICMP echo request, and its reply if answered.
func (r *Recorder) Ping(src, dst Host, answered bool) {
	r.icmp(src, dst, layers.ICMPv4TypeEchoRequest)
	if answered {
		r.icmp(dst, src, layers.ICMPv4TypeEchoReply)
	}
}

func (r *Recorder) icmp(src, dst Host, kind uint8) {
	r.ipID++
	r.link(src, dst.MAC, layers.EthernetTypeIPv4,
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: r.ipID, Protocol: layers.IPProtocolICMPv4, SrcIP: src.Addr.AsSlice(), DstIP: dst.Addr.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: 1, Seq: r.ipID},
		gopacket.Payload("abcdefghijklmnop"))
}

// Broadcast is the all-ones hardware address.
var Broadcast = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ARP records a request of src for the address of dst, and the answer if answered.
func (r *Recorder) ARP(src, dst Host, answered bool) {
	arp := func(op uint16, from, to Host, target net.HardwareAddr) *layers.ARP {
		return &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: from.MAC, SourceProtAddress: from.Addr.AsSlice(),
			DstHwAddress: target, DstProtAddress: to.Addr.AsSlice()}
	}
	r.link(src, Broadcast, layers.EthernetTypeARP, arp(layers.ARPRequest, src, dst, make(net.HardwareAddr, 6)))
	if answered {
		r.link(dst, src.MAC, layers.EthernetTypeARP, arp(layers.ARPReply, dst, src, src.MAC))
	}
}

// Conversation is one TCP connection.
type Conversation struct {
	r              *Recorder
	client, server Host
	clientPort     uint16
	serverPort     uint16
	clientSeq      uint32
	serverSeq      uint32
}

// MSS is the most payload of one segment; longer sends are cut into several.
const MSS = 1400

// Dial records a handshake and returns the open connection. The client's port is the next free one.
func (r *Recorder) Dial(client, server Host, port uint16) *Conversation {
	c := r.Join(client, server, port)
	c.segment(true, nil, &layers.TCP{SYN: true})
	c.clientSeq++
	c.segment(false, nil, &layers.TCP{SYN: true, ACK: true})
	c.serverSeq++
	c.segment(true, nil, &layers.TCP{ACK: true})
	return c
}

// Join returns a connection that was open before the recording began: no handshake is recorded.
func (r *Recorder) Join(client, server Host, port uint16) *Conversation {
	r.port++
	if r.port < 49152 {
		r.port = 49152
	}
	return &Conversation{r: r, client: client, server: server, clientPort: r.port, serverPort: port,
		clientSeq: 1_000_000 + uint32(r.port)*977, serverSeq: 2_000_000 + uint32(r.port)*1009}
}

// Syn records a SYN that is answered by RST if refused, and not at all otherwise.
func (r *Recorder) Syn(client, server Host, port uint16, refused bool) {
	c := r.Join(client, server, port)
	c.segment(true, nil, &layers.TCP{SYN: true})
	c.clientSeq++
	if refused {
		c.segment(false, nil, &layers.TCP{RST: true, ACK: true})
	}
}

// Request sends payload from client to server, Response from server to client.
func (c *Conversation) Request(payload []byte)  { c.send(true, payload) }
func (c *Conversation) Response(payload []byte) { c.send(false, payload) }

// Exchange sends a request and its response, apart by the time a controller takes to answer.
func (c *Conversation) Exchange(request, response []byte) {
	c.Request(request)
	c.r.Wait(3 * time.Millisecond)
	c.Response(response)
	c.segment(true, nil, &layers.TCP{ACK: true})
}

// Close ends the connection by FIN from both sides.
func (c *Conversation) Close() {
	c.segment(true, nil, &layers.TCP{FIN: true, ACK: true})
	c.clientSeq++
	c.segment(false, nil, &layers.TCP{FIN: true, ACK: true})
	c.serverSeq++
	c.segment(true, nil, &layers.TCP{ACK: true})
}

// Reset ends the connection by RST from the client.
func (c *Conversation) Reset() { c.segment(true, nil, &layers.TCP{RST: true}) }

func (c *Conversation) send(fromClient bool, payload []byte) {
	for len(payload) > 0 {
		n := min(len(payload), MSS)
		c.segment(fromClient, payload[:n], &layers.TCP{ACK: true, PSH: n == len(payload)})
		if fromClient {
			c.clientSeq += uint32(n)
		} else {
			c.serverSeq += uint32(n)
		}
		payload = payload[n:]
	}
}

func (c *Conversation) segment(fromClient bool, payload []byte, tcp *layers.TCP) {
	src, dst := c.client, c.server
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(c.clientPort), layers.TCPPort(c.serverPort)
	tcp.Seq, tcp.Ack = c.clientSeq, c.serverSeq
	if !fromClient {
		src, dst = dst, src
		tcp.SrcPort, tcp.DstPort = tcp.DstPort, tcp.SrcPort
		tcp.Seq, tcp.Ack = c.serverSeq, c.clientSeq
	}
	if !tcp.ACK {
		tcp.Ack = 0
	}
	tcp.Window = 8192
	c.r.ip(src, dst, layers.IPProtocolTCP, tcp, gopacket.Payload(payload))
}
