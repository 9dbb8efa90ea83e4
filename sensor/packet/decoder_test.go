package packet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/otus-project/otus/internal/sharedtest"
	"github.com/otus-project/otus/sensor/capture/capturetest"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

var (
	left   = dissecttest.NewHost("10.0.0.9", 40000)
	right  = dissecttest.NewHost("10.0.0.5", 502)
	left6  = dissecttest.NewHost("fd00::9", 40000)
	right6 = dissecttest.NewHost("fd00::5", 502)
)

// print gives a packet as one line.
func print(p *packet.Packet) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s>%s vlan %v type %04x", p.SrcMAC, p.DstMAC, p.VLANs, p.EtherType)
	if p.Src.IsValid() {
		fmt.Fprintf(&b, " %s>%s proto %d ttl %d", p.Src, p.Dst, p.IPProto, p.TTL)
	}
	switch {
	case p.Fragment:
		b.WriteString(" fragment")
	case p.IPProto == packet.ProtoTCP:
		fmt.Fprintf(&b, " tcp %d>%d seq %d ack %d flags %02x window %d", p.SrcPort, p.DstPort, p.Seq, p.Ack, p.Flags, p.Window)
	case p.IPProto == packet.ProtoUDP:
		fmt.Fprintf(&b, " udp %d>%d", p.SrcPort, p.DstPort)
	case p.IPProto == packet.ProtoICMP || p.IPProto == packet.ProtoICMPv6:
		fmt.Fprintf(&b, " icmp %d.%d", p.ICMPType, p.ICMPCode)
	}
	fmt.Fprintf(&b, " payload %x", p.Payload)
	if p.PayloadLength != len(p.Payload) {
		fmt.Fprintf(&b, " of %d", p.PayloadLength)
	}
	if p.Malformed != nil {
		fmt.Fprintf(&b, " MALFORMED %s at %d: %s", p.Malformed.Layer, p.Malformed.Offset, p.Malformed.Rule)
	}
	return b.String()
}

func hex4(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// headers of one UDP datagram "hi", in each wrapping the decoder knows.
func TestLinkTypes(t *testing.T) {
	datagram := dissecttest.UDP(left.Port, right.Port, []byte("hi"))
	ip4 := dissecttest.IPv4(left.Addr, right.Addr, 1, 0, packet.ProtoUDP, datagram)
	var w dissecttest.Wire
	w.IP(left6, right6, packet.ProtoUDP, datagram)
	ip6 := w.Frames[0].Data[14:]
	macs := join(right.MAC[:], left.MAC[:])
	mac := "02:00:0a:00:00:09>02:00:0a:00:00:05"
	none := "00:00:00:00:00:00>00:00:00:00:00:00"
	udp4 := "10.0.0.9>10.0.0.5 proto 17 ttl 64 udp 40000>502 payload 6869"
	udp6 := "fd00::9>fd00::5 proto 17 ttl 64 udp 40000>502 payload 6869"
	for _, c := range []struct {
		name string
		link packet.LinkType
		data []byte
		want string
	}{
		{"ethernet", packet.LinkEthernet, join(macs, hex4(0x0800), ip4), mac + " vlan [0 0] type 0800 " + udp4},
		{"padded", packet.LinkEthernet, join(macs, hex4(0x0800), ip4, make([]byte, 16)), mac + " vlan [0 0] type 0800 " + udp4},
		{"vlan", packet.LinkEthernet, join(macs, hex4(0x8100), hex4(0x600c), hex4(0x0800), ip4), mac + " vlan [12 0] type 0800 " + udp4},
		{"qinq", packet.LinkEthernet, join(macs, hex4(0x88a8), hex4(7), hex4(0x8100), hex4(12), hex4(0x86dd), ip6),
			"02:00:0a:00:00:09>02:00:0a:00:00:05 vlan [7 12] type 86dd " + udp6},
		{"old-qinq", packet.LinkEthernet, join(macs, hex4(0x9100), hex4(7), hex4(0x8100), hex4(12), hex4(0x0800), ip4), mac + " vlan [7 12] type 0800 " + udp4},
		{"snap", packet.LinkEthernet, join(macs, hex4(uint16(8+len(ip4))), []byte{0xaa, 0xaa, 3, 0, 0, 0}, hex4(0x0800), ip4), mac + " vlan [0 0] type 0800 " + udp4},
		{"llc", packet.LinkEthernet, join(macs, hex4(3), []byte{0x42, 0x42, 3, 0, 0}), mac + " vlan [0 0] type 0000 payload 424203"},
		{"sll", packet.LinkSLL, join(hex4(0), hex4(1), hex4(6), left.MAC[:], hex4(0), hex4(0x0800), ip4),
			"02:00:0a:00:00:09>00:00:00:00:00:00 vlan [0 0] type 0800 " + udp4},
		{"sll2", packet.LinkSLL2, join(hex4(0x86dd), hex4(0), hex4(0), hex4(3), hex4(1), []byte{0, 6}, left.MAC[:], hex4(0), ip6),
			"02:00:0a:00:00:09>00:00:00:00:00:00 vlan [0 0] type 86dd " + udp6},
		{"raw", packet.LinkRaw, ip4, none + " vlan [0 0] type 0000 " + udp4},
		{"raw-bsd", packet.LinkRawBSD, ip6, none + " vlan [0 0] type 0000 " + udp6},
		{"ipv4", packet.LinkIPv4, ip4, none + " vlan [0 0] type 0000 " + udp4},
		{"ipv6", packet.LinkIPv6, ip6, none + " vlan [0 0] type 0000 " + udp6},
		{"null", packet.LinkNull, join([]byte{2, 0, 0, 0}, ip4), none + " vlan [0 0] type 0000 " + udp4},
		{"unknown", 9999, []byte{1, 2}, none + " vlan [0 0] type 0000 payload 0102"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := print(packet.NewDecoder().Decode(&packet.Frame{Link: c.link, Data: c.data, Length: len(c.data)}))
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// lying changes one field of a sound packet, and names the rule the decoder must find broken.
func TestLyingFields(t *testing.T) {
	tcp := func(change func(b []byte)) []byte {
		w := dissecttest.NewWire()
		w.Segment(left, right, 1, 2, packet.ACK, []byte("data"))
		change(w.Frames[0].Data)
		return w.Frames[0].Data
	}
	tcp6 := func(change func(b []byte)) []byte {
		w := dissecttest.NewWire()
		w.Segment(left6, right6, 1, 2, packet.ACK, []byte("data"))
		change(w.Frames[0].Data)
		return w.Frames[0].Data
	}
	udp := func(length uint16) []byte {
		w := dissecttest.NewWire()
		w.UDP(left, right, []byte("data"))
		binary.BigEndian.PutUint16(w.Frames[0].Data[38:], length)
		return w.Frames[0].Data
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"ip-version", tcp(func(b []byte) { b[14] = 0x55 }), "ipv4 at 0: version is not 4"},
		{"ip-header-length", tcp(func(b []byte) { b[14] = 0x44 }), "ipv4 at 0: header length is below 20 bytes"},
		{"ip-header-beyond-total", tcp(func(b []byte) { b[17] = 19 }), "ipv4 at 2: total length is below the header length"},
		{"ip-total-beyond-frame", tcp(func(b []byte) { b[16] = 1 }), "ipv4 at 2: total length exceeds the frame"},
		{"ip-total-zero", tcp(func(b []byte) { b[16], b[17] = 0, 0 }), "ipv4 at 2: total length is below the header length"},
		{"ip-option", tcp(func(b []byte) { b[14], b[34], b[35] = 0x46, 7, 9 }), "ipv4 at 20: option length is wrong"},
		{"tcp-offset-low", tcp(func(b []byte) { b[46] = 0x40 }), "tcp at 12: data offset lies outside the segment"},
		{"tcp-offset-high", tcp(func(b []byte) { b[46] = 0xf0 }), "tcp at 12: data offset lies outside the segment"},
		{"udp-short", udp(7), "udp at 4: length is below the header length"},
		{"udp-long", udp(13), "udp at 4: length exceeds the packet"},
		{"ipv6-version", tcp6(func(b []byte) { b[14] = 0x40 }), "ipv6 at 0: version is not 6"},
		{"ipv6-length", tcp6(func(b []byte) { b[18] = 1 }), "ipv6 at 4: payload length exceeds the frame"},
		{"ipv6-extension", tcp6(func(b []byte) { b[20], b[55] = 0, 99 }), "ipv6 at 40: extension header length exceeds the packet"},
		{"cut-in-tcp", tcp(func(b []byte) {})[:50], "ipv4 at 2: total length exceeds the frame"},
		{"cut-in-ethernet", tcp(func(b []byte) {})[:13], "ethernet at 13: header is cut short"},
		{"length-field", append(make([]byte, 12), 1, 0, 0xff), "ethernet at 12: length field exceeds the frame"},
		{"vlan-tower", append(make([]byte, 12), bytes.Repeat([]byte{0x81, 0, 0, 1}, 20)...), "vlan at 0: more VLAN tags than any network uses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := packet.NewDecoder().Decode(&packet.Frame{Link: packet.LinkEthernet, Data: c.data, Length: len(c.data)})
			if p.Malformed == nil {
				t.Fatalf("not found malformed: %s", print(p))
			}
			if got := fmt.Sprintf("%s at %d: %s", p.Malformed.Layer, p.Malformed.Offset, p.Malformed.Rule); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCutByCapture: what the capture cut is no fault of the sender.
func TestCutByCapture(t *testing.T) {
	w := dissecttest.NewWire()
	w.Segment(left, right, 1, 2, packet.ACK, []byte("some data"))
	full := w.Frames[0]
	for n := range full.Data {
		f := full
		f.Data = full.Data[:n]
		p := packet.NewDecoder().Decode(&f)
		if p.Malformed != nil {
			t.Errorf("cut at %d: malformed %+v", n, *p.Malformed)
		}
		if n >= 54 && (p.PayloadLength != 9 || len(p.Payload) != n-54) {
			t.Errorf("cut at %d: payload %d of %d", n, len(p.Payload), p.PayloadLength)
		}
	}
}

func TestIPv6Extensions(t *testing.T) {
	datagram := dissecttest.UDP(1, 2, []byte("hi"))
	hop := append([]byte{60, 0}, make([]byte, 6)...)             // then destination options
	destination := append([]byte{51, 1}, make([]byte, 14)...)    // then an authentication header
	authentication := append([]byte{17, 4}, make([]byte, 22)...) // in words of 4 bytes, less 2
	w := dissecttest.NewWire()
	w.IP(left6, right6, 0, join(hop, destination, authentication, datagram))
	p := packet.NewDecoder().Decode(&w.Frames[0])
	if p.Malformed != nil || p.IPProto != packet.ProtoUDP || string(p.Payload) != "hi" {
		t.Errorf("got %s", print(p))
	}
}

func TestDecoderAgreesWithGopacket(t *testing.T) {
	compared := 0
	for _, path := range sharedtest.Captures(t) {
		d := packet.NewDecoder()
		for _, f := range capturetest.Frames(t, path) {
			if f.Link != packet.LinkEthernet || f.Length != len(f.Data) {
				continue
			}
			p := d.Decode(&f)
			if p.Malformed != nil || p.Fragment || p.Reassembled {
				continue
			}
			other := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
			if other.ErrorLayer() != nil && other.TransportLayer() == nil {
				continue
			}
			compare(t, fmt.Sprintf("%s frame %d", path, f.Index), p, other)
			compared++
		}
	}
	if compared < 50000 {
		t.Errorf("only %d frames compared", compared)
	}
}

func compare(t *testing.T, where string, p *packet.Packet, other gopacket.Packet) {
	t.Helper()
	if ip, ok := other.NetworkLayer().(*layers.IPv4); ok {
		source, _ := netip.AddrFromSlice(ip.SrcIP)
		if p.Src != source.Unmap() || p.TTL != ip.TTL || p.IPProto != uint8(ip.Protocol) {
			t.Errorf("%s: got %s, want %v", where, print(p), ip)
		}
	}
	switch l := other.TransportLayer().(type) {
	case *layers.TCP:
		if p.SrcPort != uint16(l.SrcPort) || p.DstPort != uint16(l.DstPort) || p.Seq != l.Seq || p.Ack != l.Ack || p.Window != l.Window ||
			!bytes.Equal(p.Payload, l.Payload) || (p.Flags&packet.SYN != 0) != l.SYN || (p.Flags&packet.FIN != 0) != l.FIN || (p.Flags&packet.RST != 0) != l.RST {
			t.Errorf("%s: got %s, want %+v", where, print(p), l)
		}
	case *layers.UDP:
		if p.SrcPort != uint16(l.SrcPort) || p.DstPort != uint16(l.DstPort) || !bytes.Equal(p.Payload, l.Payload) {
			t.Errorf("%s: got %s, want %+v", where, print(p), l)
		}
	}
}

// fragmented cuts a datagram of n bytes into fragments of size bytes.
func fragmented(n, size int) (whole []byte, frames []packet.Frame) {
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(i * 7)
	}
	whole = dissecttest.UDP(left.Port, right.Port, body)
	w := dissecttest.NewWire()
	for at := 0; at < len(whole); at += size {
		field := uint16(at / 8)
		end := min(at+size, len(whole))
		if end < len(whole) {
			field |= 0x2000
		}
		w.Ethernet(left.MAC, right.MAC, packet.EtherIPv4, dissecttest.IPv4(left.Addr, right.Addr, 77, field, packet.ProtoUDP, whole[at:end]))
	}
	return body, w.Frames
}

func TestFragmentsInAnyOrder(t *testing.T) {
	body, frames := fragmented(3000, 512)
	random := rand.New(rand.NewSource(1))
	for range 50 {
		random.Shuffle(len(frames), func(i, j int) { frames[i], frames[j] = frames[j], frames[i] })
		d := packet.NewDecoder()
		for i := range frames {
			state, err := d.Snapshot() // between any two fragments a restart may lie
			if err != nil {
				t.Fatal(err)
			}
			d = packet.NewDecoder()
			if err := d.Restore(state); err != nil {
				t.Fatal(err)
			}
			p := d.Decode(&frames[i])
			if i < len(frames)-1 {
				if !p.Fragment || p.Payload != nil || p.SrcPort != 0 || p.Malformed != nil {
					t.Fatalf("fragment %d: %s", i, print(p))
				}
				continue
			}
			if p.Fragment || !p.Reassembled || !bytes.Equal(p.Payload, body) || p.DstPort != right.Port {
				t.Fatalf("last fragment: %s", print(p))
			}
		}
	}
}

func TestIPv6Fragments(t *testing.T) {
	whole := dissecttest.UDP(left6.Port, right6.Port, []byte("0123456789abcdef"))
	part := func(next byte, offset int, more byte, data []byte) []byte {
		header := append([]byte{next, 0}, hex4(uint16(offset)|uint16(more))...)
		return append(append(header, 0, 0, 0, 9), data...)
	}
	w := dissecttest.NewWire()
	// Only the first fragment says what the datagram is (RFC 8200 clause 4.5).
	w.IP(left6, right6, 44, part(99, 16, 0, whole[16:]))
	w.IP(left6, right6, 44, part(packet.ProtoUDP, 0, 1, whole[:16]))
	w.IP(left6, right6, 44, part(packet.ProtoUDP, 0, 0, whole)) // a fragment that is the whole (RFC 6946)
	d := packet.NewDecoder()
	if p := d.Decode(&w.Frames[0]); !p.Fragment || p.Payload != nil {
		t.Errorf("first: %s", print(p))
	}
	for _, f := range w.Frames[1:] {
		if p := d.Decode(&f); p.Fragment || string(p.Payload) != "0123456789abcdef" || p.DstPort != right6.Port {
			t.Errorf("frame %d: %s", f.Index, print(p))
		}
	}
}

func TestFragmentFaults(t *testing.T) {
	send := func(parts ...func(w *dissecttest.Wire)) *packet.Packet {
		w := dissecttest.NewWire()
		for _, part := range parts {
			part(w)
		}
		d := packet.NewDecoder()
		var p *packet.Packet
		for i := range w.Frames {
			p = d.Decode(&w.Frames[i])
		}
		return p
	}
	part := func(field uint16, data []byte) func(w *dissecttest.Wire) {
		return func(w *dissecttest.Wire) {
			w.Ethernet(left.MAC, right.MAC, packet.EtherIPv4, dissecttest.IPv4(left.Addr, right.Addr, 77, field, packet.ProtoUDP, data))
		}
	}
	eight, more := []byte("12345678"), uint16(0x2000)
	for _, c := range []struct {
		name string
		p    *packet.Packet
		want string
	}{
		{"overlap", send(part(more, join(eight, eight)), part(more|1, []byte("XXXXXXXX"))), "fragments overlap"},
		{"beyond-largest", send(part(8191, join(eight, eight))), "fragment ends beyond the largest datagram"},
		{"odd-length", send(part(more, []byte("123"))), "fragment length is not a multiple of 8"},
		{"empty", send(part(more, nil)), "fragment is empty"},
		{"two-ends", send(part(1, eight), part(2, eight)), "fragments disagree about the end"},
		{"behind-the-end", send(part(1, eight), part(more|3, eight)), "fragment lies behind the last one"},
	} {
		if c.p.Malformed == nil || c.p.Malformed.Rule != c.want {
			t.Errorf("%s: got %+v, want %q", c.name, c.p.Malformed, c.want)
		}
	}
	repeated := send(part(more, eight), part(more, eight))
	if repeated.Malformed != nil {
		t.Errorf("an equal copy of a fragment is no fault: %+v", repeated.Malformed)
	}
}

func TestFragmentsAreBounded(t *testing.T) {
	d := packet.NewDecoder()
	now := dissecttest.Start
	for id := range uint32(5000) {
		data := dissecttest.IPv4(left.Addr, right.Addr, uint16(id), 0x2000|uint16(id%8000), packet.ProtoUDP, make([]byte, 8))
		d.Decode(&packet.Frame{Time: now, Link: packet.LinkRaw, Data: data, Length: len(data)})
	}
	if got := d.Evicted(); got != 5000-128 {
		t.Errorf("dropped %d, want all but 128", got)
	}
	state, err := d.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if len(state) > 128*(66000*4/3) {
		t.Errorf("state of %d bytes", len(state))
	}
	data := dissecttest.IPv4(left.Addr, right.Addr, 1, 0x2000, packet.ProtoUDP, make([]byte, 8))
	d.Decode(&packet.Frame{Time: now.Add(time.Minute), Link: packet.LinkRaw, Data: data, Length: len(data)})
	if got := d.Evicted(); got != 5000 {
		t.Errorf("dropped %d after a minute, want 5000", got)
	}
}

func TestMACText(t *testing.T) {
	var m packet.MAC
	if err := m.UnmarshalText([]byte("02:00:0a:ff:00:09")); err != nil || m.String() != "02:00:0a:ff:00:09" {
		t.Errorf("got %s, %v", m, err)
	}
	for _, text := range []string{"", "02:00:0a:ff:00:0", "02-00-0a-ff-00-09", "0g:00:0a:ff:00:09"} {
		if err := m.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as an address", text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	w := dissecttest.NewWire()
	w.VLAN = 5
	w.Dial(left, right).Send([]byte("x"))
	w.Dial(left6, right6).Send([]byte("x"))
	_, frames := fragmented(100, 48)
	for _, frame := range append(w.Frames, frames...) {
		f.Add(uint16(1), frame.Data, uint16(0))
		f.Add(uint16(101), frame.Data[14:], uint16(7))
	}
	for _, link := range []uint16{0, 12, 108, 113, 228, 229, 276, 9} {
		f.Add(link, frames[0].Data, uint16(0))
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte, cut uint16) {
		d := packet.NewDecoder()
		frame := packet.Frame{Link: packet.LinkType(link), Data: data, Length: len(data) + int(cut)}
		for range 2 {
			p := d.Decode(&frame)
			if p.PayloadLength < len(p.Payload) && p.Malformed == nil {
				t.Errorf("payload of %d bytes, %d on the wire: %s", len(p.Payload), p.PayloadLength, print(p))
			}
		}
		state, err := d.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if err := packet.NewDecoder().Restore(state); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name     string
		from, to dissecttest.Host
		vlan     uint16
	}{{"tcp", left, right, 0}, {"tcp-vlan", left, right, 5}, {"tcp-ipv6", left6, right6, 0}} {
		b.Run(c.name, func(b *testing.B) {
			w := dissecttest.NewWire()
			w.VLAN = c.vlan
			w.Segment(c.from, c.to, 1, 2, packet.ACK, make([]byte, 60))
			d := packet.NewDecoder()
			b.ReportAllocs()
			for b.Loop() {
				d.Decode(&w.Frames[0])
			}
		})
	}
}

// TestDecodeDoesNotAllocate keeps the promise of the benchmark.
func TestDecodeDoesNotAllocate(t *testing.T) {
	w := dissecttest.NewWire()
	w.Segment(left, right, 1, 2, packet.ACK, make([]byte, 60))
	w.UDP(left6, right6, []byte("x"))
	d := packet.NewDecoder()
	for i := range w.Frames {
		if n := testing.AllocsPerRun(100, func() { d.Decode(&w.Frames[i]) }); n != 0 {
			t.Errorf("frame %d: %v allocations", i, n)
		}
	}
}
