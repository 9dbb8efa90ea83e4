package facts

import (
	"net/netip"
	"time"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// flowKey names a flow, lower endpoint first.
type flowKey struct{ low, high netip.AddrPort }

func keyOf(p *packet.Packet) (key flowKey, side int) {
	from, to := netip.AddrPortFrom(p.Src, p.SrcPort), netip.AddrPortFrom(p.Dst, p.DstPort)
	if from.Compare(to) > 0 {
		return flowKey{low: to, high: from}, 1
	}
	return flowKey{low: from, high: to}, 0
}

// flow is one TCP connection or UDP conversation.
type flow struct {
	halves [2]half // by side: what the lower and the higher endpoint send
	view   *view   // how it is read; nil while, or where, it is not counted
	tried  bool    // ports were looked at
	client int     // the side of the client
	parser dissect.Parser
	again  bool   // counted a second time, see snmpPort
	held   []held // segments kept until the protocol is known
	heldN  int
}

// held is a segment of a flow without a registered port.
type held struct {
	side  int
	seq   uint32
	frame uint64
	time  time.Time
	place place // the addresses
	data  []byte
}

// Bounds of what is held per flow until it is recognised.
const (
	maxHeld      = 128
	maxHeldBytes = 2 * dissect.MaxProbe
)

// half follows one direction of a TCP connection by the rules tshark 4.0 uses to tell new data from old
// (its TCP analysis of sequence numbers), as far as they decide whether a segment is read. As there, a sequence number
// of 0 means "not known yet".
type half struct {
	base      uint32
	hasBase   bool
	next      uint32 // highest sequence number seen, plus one
	ackable   uint32 // highest that was seen without a hole before it: what the peer may acknowledge
	lastAck   uint32
	lastAckAt time.Time
	// repeats counts acknowledgements in a row that repeat lastAck; many where the peer's data is known to be missing.
	repeats   int
	window    uint16
	seen      bool
	keptAlive bool // its last segment was a keep-alive
	unit      unit
}

// manyRepeats stands for enough repeated acknowledgements to make any retransmission a fast one.
const manyRepeats = 1 << 30

// unit is the protocol data unit that waits for the rest of its bytes.
type unit struct {
	waiting bool
	start   uint32 // sequence number of its first byte
	end     uint32 // sequence number behind its last byte; equal to have where only "more" is known
	have    uint32 // contiguous up to here
	more    bool   // the header is not whole: the next segment joins, whatever its length
	data    []byte
}

// before compares sequence numbers (RFC 1982).
func before(a, b uint32) bool { return int32(a-b) < 0 }

// open finds or makes the flow of a TCP packet. As in tshark, a SYN with another sequence number than the
// connection began with begins a new connection.
func (c *Collector) open(p *packet.Packet) (*flow, int) {
	key, side := keyOf(p)
	f := c.tcp[key]
	if f != nil && p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		if h := f.halves[side]; h.hasBase && h.base != p.Seq {
			*f = flow{}
			c.tcpCount++
		}
	}
	if f == nil {
		f = &flow{}
		c.remember(key)
		c.tcp[key] = f
		c.tcpCount++
	}
	return f, side
}

// remember keeps the flow tables bounded.
func (c *Collector) remember(key flowKey) {
	if len(c.order) >= maxFlows {
		delete(c.tcp, c.order[0])
		delete(c.udp, c.order[0])
		c.order = c.order[1:]
	}
	c.order = append(c.order, key)
}

// segment handles one TCP packet.
func (c *Collector) segment(p *packet.Packet) {
	f, side := c.open(p)
	fresh := f.analyse(p, side)
	if !fresh || len(p.Payload) == 0 || p.Flags&packet.RST != 0 {
		return
	}
	if !f.tried {
		f.tried = true
		f.view, f.client = c.byPort(p, side)
	}
	if f.view == nil {
		f.hold(p, side)
		return
	}
	c.read(f, held{side: side, seq: p.Seq, frame: p.Frame.Index, time: p.Frame.Time, place: place{from: p.Src, to: p.Dst}, data: p.Payload})
}

// byPort finds the view whose registered port the packet uses, lower port first, and the client's side.
func (c *Collector) byPort(p *packet.Packet, side int) (*view, int) {
	low, high := p.DstPort, p.SrcPort
	lowClient, highClient := side, 1-side
	if p.SrcPort < p.DstPort {
		low, high, lowClient, highClient = high, low, highClient, lowClient
	}
	for _, try := range []struct {
		port   uint16
		client int
	}{{low, lowClient}, {high, highClient}} {
		for _, v := range c.views {
			if v.tcp && v.port == try.port {
				return v, try.client
			}
		}
	}
	return nil, 0
}

// hold keeps a segment until the flow is recognised.
func (f *flow) hold(p *packet.Packet, side int) {
	if len(f.held) >= maxHeld || f.heldN+len(p.Payload) > maxHeldBytes {
		return
	}
	f.heldN += len(p.Payload)
	f.held = append(f.held, held{
		side: side, seq: p.Seq, frame: p.Frame.Index, time: p.Frame.Time, place: place{from: p.Src, to: p.Dst},
		data: append([]byte(nil), p.Payload...),
	})
}

// recognised reads what a flow without a registered port held back, once its protocol is known.
func (c *Collector) recognised(protocol *dissect.Protocol, conn *dissect.Connection) {
	client, server := netip.AddrPortFrom(conn.Client.Addr, conn.Client.Port), netip.AddrPortFrom(conn.Server.Addr, conn.Server.Port)
	key, side := flowKey{low: client, high: server}, 0
	if client.Compare(server) > 0 {
		key, side = flowKey{low: server, high: client}, 1
	}
	f := c.tcp[key]
	if f == nil || f.view != nil {
		return
	}
	for _, v := range c.views {
		if v.protocol.ID != protocol.ID {
			continue
		}
		f.view, f.client, f.tried = v, side, true
		for _, s := range f.held {
			c.read(f, s)
		}
		f.held, f.heldN = nil, 0
	}
}

// analyse updates a direction and says whether tshark would hand the segment's payload to a dissector: not for
// keep-alives, retransmissions and segments that come late.
func (f *flow) analyse(p *packet.Packet, side int) bool {
	h, r := &f.halves[side], &f.halves[1-side]
	length := uint32(len(p.Payload))
	at := p.Frame.Time
	syn, fin, rst := p.Flags&packet.SYN != 0, p.Flags&packet.FIN != 0, p.Flags&packet.RST != 0
	if !h.hasBase {
		h.hasBase, h.base = true, p.Seq-1
		if syn {
			h.base = p.Seq
		}
	}
	if !r.hasBase && p.Flags&packet.ACK != 0 {
		r.hasBase, r.base = true, p.Ack-1
	}
	seq, ack := p.Seq, p.Ack
	plain := !syn && !fin && !rst
	probe := length == 1 && seq == h.next && r.seen && r.window == 0
	keepAlive := !probe && length <= 1 && h.next != 0 && seq == h.next-1 && plain
	repeat := length == 0 && plain && seq == h.next && ack == h.lastAck && h.seen && p.Window == h.window
	if !probe && repeat && p.Window != 0 && !r.keptAlive {
		h.repeats++
	}
	if ack != h.lastAck {
		h.repeats = 0
	}
	if r.ackable != 0 && before(r.ackable, ack) && p.Flags&packet.ACK != 0 {
		if before(r.ackable, r.next) {
			r.ackable = r.next
		} else {
			r.repeats = manyRepeats
		}
	}
	fresh := !keepAlive
	if fresh && (length > 0 || syn || fin) {
		fresh = !old(h, r, seq, length, at)
	}
	end := seq + length
	if syn || fin {
		end++
	}
	if !probe && (h.next == 0 || before(h.next, end)) {
		h.next = end
	}
	if !probe && (h.ackable == 0 || seq == h.ackable) {
		h.ackable = h.next
	}
	h.window, h.lastAck, h.lastAckAt, h.seen, h.keptAlive = p.Window, ack, at, true, keepAlive
	return fresh
}

// old says whether a segment is a retransmission or late. A fast retransmission (the peer asked for it by at
// least two repeated acknowledgements, the last of them within 20 ms) is read again.
func old(h, r *half, seq, length uint32, at time.Time) bool {
	notAdvanced := h.next != 0 && before(seq, h.next)
	if length > 1 && seq == h.next-1 {
		notAdvanced = false
	}
	if length > 0 && r.lastAck != 0 && !before(r.lastAck, seq+length) {
		return true
	}
	if !notAdvanced {
		return false
	}
	return r.repeats < 2 || r.lastAck != seq || at.Sub(r.lastAckAt) >= 20*time.Millisecond
}

// read cuts a segment into units, joined to what waits of the direction.
func (c *Collector) read(f *flow, s held) {
	u := &f.halves[s.side].unit
	data, seq := s.data, s.seq
	if u.waiting && !before(seq, u.start) && (u.more && seq == u.have || !u.more && before(seq, u.end)) {
		if before(seq, u.have) { // bytes that are here already, sent again
			return
		}
		if seq != u.have { // a hole: the unit will never be whole
			if end := seq + uint32(len(data)); before(u.end, end) {
				data, seq = data[u.end-seq:], u.end
				u.waiting = false
			} else {
				return
			}
		} else {
			take := len(data)
			if !u.more {
				take = min(take, int(u.end-u.have))
			}
			if len(u.data)+take > maxWaiting {
				*u = unit{}
				return
			}
			u.data, u.have = append(u.data, data[:take]...), u.have+uint32(take)
			rest, restSeq := data[take:], u.have
			if !u.more && u.have != u.end {
				return
			}
			whole, start := u.data, u.start
			*u = unit{}
			c.units(f, s, whole, start, false)
			if u.waiting || len(rest) == 0 {
				return
			}
			data, seq = rest, restSeq
		}
	}
	c.units(f, s, data, seq, true)
}

// units reads the units of a run of bytes; what is left over waits. first says that the run begins where tshark
// asks the dissector whether these bytes are its own.
func (c *Collector) units(f *flow, s held, data []byte, seq uint32, first bool) {
	v := f.view
	for at := 0; at < len(data); {
		rest := data[at:]
		if first && !v.accepts(rest) {
			return
		}
		n := v.length(rest)
		first = false
		switch {
		case n < 0:
			return
		case n == 0 || n > len(rest):
			f.halves[s.side].unit = unit{
				waiting: true, start: seq + uint32(at), have: seq + uint32(len(data)), end: seq + uint32(at+n), more: n == 0,
				data: append([]byte(nil), rest...),
			}
			return
		}
		c.unit(f, s, rest[:n])
		at += n
		first = v.checked
	}
}

// unit has the protocol's parser read one whole unit and counts what comes out.
func (c *Collector) unit(f *flow, s held, data []byte) {
	if f.parser == nil {
		f.parser = f.view.protocol.NewParser()
	}
	direction := dissect.FromServer
	if s.side == f.client {
		direction = dissect.FromClient
	}
	if f.view.unit != nil {
		f.view.unit(c, s.place, s.frame, data)
	}
	broken := false
	f.parser.Parse(dissect.Segment{Direction: direction, Data: data, Time: s.time, Frame: s.frame}, func(m *dissect.Message) {
		broken = broken || m.Malformed != nil
		f.view.message(c, m, s.frame)
	})
	if broken {
		f.parser = nil // it may be searching for a boundary that is known here
	}
}

// snmpPort: tshark's SNMP dissector opens a conversation of its own at the first request, so that everything
// behind the first datagram counts as a second conversation.
const snmpPort = 161

// datagram handles one UDP packet.
func (c *Collector) datagram(p *packet.Packet) {
	key, side := keyOf(p)
	f := c.udp[key]
	if f == nil {
		f = &flow{}
		c.remember(key)
		c.udp[key] = f
		c.udpCount++
	} else if !f.again && (p.SrcPort == snmpPort || p.DstPort == snmpPort) {
		f.again = true
		c.udpCount++
	}
	if !f.tried {
		f.tried = true
		for _, v := range c.views {
			if v.udp && (v.port == p.DstPort || v.port == p.SrcPort || v.port2 != 0 && (v.port2 == p.DstPort || v.port2 == p.SrcPort)) {
				f.view, f.client = v, side
				if v.port == p.SrcPort && v.port != p.DstPort {
					f.client = 1 - side
				}
				break
			}
		}
	}
	if f.view == nil || len(p.Payload) == 0 || !f.view.accepts(p.Payload) {
		return
	}
	if f.parser == nil {
		f.parser = f.view.protocol.NewParser()
	}
	if f.view.unit != nil {
		for b := p.Payload; len(b) > 0 && f.view.accepts(b); {
			n := f.view.length(b)
			if n <= 0 || n > len(b) {
				break
			}
			f.view.unit(c, place{from: p.Src, to: p.Dst}, p.Frame.Index, b[:n])
			b = b[n:]
		}
	}
	direction := dissect.FromServer
	if side == f.client {
		direction = dissect.FromClient
	}
	s := dissect.Segment{Direction: direction, Data: p.Payload, Time: p.Frame.Time, Frame: p.Frame.Index, Datagram: true}
	f.parser.Parse(s, func(m *dissect.Message) { f.view.message(c, m, p.Frame.Index) })
}
