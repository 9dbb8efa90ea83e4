package dissect

import (
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// parse gives the parser the unread rest with data behind it, and keeps what it leaves.
func (r *Runner) parse(f *flow, side int, data []byte, t time.Time, frame uint64, datagram bool) {
	s := &f.sides[side]
	segment := Segment{Direction: f.direction(side), Data: data, Time: t, Frame: frame, Gap: s.Gap, Datagram: datagram}
	s.Gap = 0
	joined := len(s.Unread) > 0 && !datagram
	if joined {
		s.Unread = append(s.Unread, data...)
		segment.Data = s.Unread
		// What fills a gap is newer than what waited behind it.
		segment.Frame = max(frame, s.UnreadFrame)
		if s.UnreadTime.After(t) {
			segment.Time = s.UnreadTime
		}
	}
	for len(segment.Data) > 0 {
		n, ok := r.call(f, segment)
		if !ok {
			f.state, f.parser = undecoded, nil
			s.Unread = nil
			break
		}
		segment.Data, segment.Gap = segment.Data[n:], 0
		if n == 0 || datagram {
			break
		}
	}
	rest := segment.Data
	switch {
	case datagram || f.state != parsing:
		r.undecode(f, len(rest))
	case len(rest) > r.limits.MaxMessage:
		r.undecode(f, len(rest))
		s.Gap += uint64(len(rest)) // the parser must find a message boundary again
		s.Unread = nil
	case len(rest) == 0:
		s.Unread = s.release()
	default:
		s.Unread = append(s.Unread[:0], rest...)
		s.UnreadTime, s.UnreadFrame = segment.Time, segment.Frame
	}
	r.resize(f)
}

// release empties Unread and keeps its room where that is small.
func (s *side) release() []byte {
	const small = 512 // times two for each of the connections, this is never counted as kept
	if cap(s.Unread) > small {
		return nil
	}
	return s.Unread[:0]
}

// call runs the parser once. ok is false where it panicked; a count out of range is a broken promise and panics too.
func (r *Runner) call(f *flow, segment Segment) (n int, ok bool) {
	r.current, r.segment = f, segment
	defer func() {
		r.current = nil
		if value := recover(); value != nil {
			r.failed(f.conn.Protocol, value)
			n, ok = 0, false
		}
	}()
	n = f.parser.Parse(segment, r.emit)
	if n < 0 || n > len(segment.Data) {
		panic("Parse returned a count outside the segment")
	}
	return n, true
}

// message completes what the parser emits and hands it on.
func (r *Runner) message(m *Message) {
	f := r.current
	c := &f.conn
	m.Protocol, m.Time, m.Frame = c.Protocol, r.segment.Time, r.segment.Frame
	m.Client, m.Server, m.VLAN, m.Transport = c.Client, c.Server, c.VLAN, c.Transport
	c.Messages++
	if m.Exception != 0 {
		c.Exceptions++
	}
	r.handOver(m, c)
}

func (r *Runner) handOver(m *Message, c *Connection) {
	r.stats.Messages++
	if m.Malformed != nil {
		r.stats.MalformedMessages++
	}
	r.handling = true
	r.handler.Message(m, c)
	r.handling = false
}

// packetPlugins shows the packet to the protocols below TCP and UDP.
func (r *Runner) packetPlugins(p *packet.Packet, f *flow) {
	if len(r.packets) == 0 || p.IPProto == packet.ProtoTCP || p.IPProto == packet.ProtoUDP {
		return
	}
	r.packet, r.current = p, f
	for _, i := range r.packets {
		r.plugin = r.options.Protocols[i]
		r.callPacket()
	}
	r.packet, r.current = nil, nil
}

func (r *Runner) callPacket() {
	defer func() {
		if value := recover(); value != nil {
			r.failed(r.plugin, value)
		}
	}()
	r.plugin.Packet(r.packet, r.emitPacket)
}

// packetMessage completes a message of a protocol below TCP and UDP: its sender is the client, unless the message says
// that it comes from the server.
func (r *Runner) packetMessage(m *Message) {
	p := r.packet
	from := Endpoint{MAC: p.SrcMAC, Addr: p.Src}
	to := Endpoint{MAC: p.DstMAC, Addr: p.Dst}
	m.Transport = "link"
	switch {
	case p.IPProto == packet.ProtoICMP || p.IPProto == packet.ProtoICMPv6:
		m.Transport = "icmp"
	case p.EtherType == packet.EtherARP:
		from.Addr, to.Addr = p.ARP.SenderIP, p.ARP.TargetIP
	}
	if m.Direction == FromServer {
		from, to = to, from
	}
	m.Protocol, m.Time, m.Frame, m.VLAN = r.plugin, p.Frame.Time, p.Frame.Index, p.VLANs[0]
	m.Client, m.Server = from, to
	if f := r.current; f != nil {
		f.conn.Messages++
		if f.conn.Protocol == nil {
			f.conn.Protocol = r.plugin
			r.handling = true
			r.handler.Recognised(&f.conn)
			r.handling = false
		}
	}
	r.handOver(m, nil)
}
