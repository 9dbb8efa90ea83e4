package dissect

import (
	"slices"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// key names a connection, equally for both directions: the lower address and port come first.
type key struct {
	A, B         [16]byte
	PortA, PortB uint16
	VLANs        [2]uint16
	Proto        uint8
}

// flow is one connection in the table. Side 0 sent the first packet seen.
type flow struct {
	conn Connection
	key  key

	links    [linkCount]link
	list     int // place in Runner.lists
	buffered int // bytes kept: out of order, unread and held

	last    time.Time
	sides   [2]side
	client  int       // index of the client's side
	certain bool      // the opening of the connection said so
	closed  bool      // stays only to absorb stragglers
	since   time.Time // of closed
	resetBy int       // the side whose RST closed it, -1 for none
	oneWay  bool      // counted in Stats.OneSided

	// reopen is a SYN seen on an open connection: a new one, if its other packets follow, or a forgery.
	reopen     bool
	reopenSide int
	reopenSeq  uint32

	state    state
	denied   [maxProtocols / 64]uint64 // protocols whose detector said No
	parser   Parser
	held     []held // what came before the protocol was recognised
	heldSize [2]int
}

// state of a flow's protocol.
type state uint8

const (
	detecting state = iota
	parsing
	undecoded
)

// held is a segment kept until the protocol is known.
type held struct {
	Side     int
	Data     []byte
	Gap      uint64
	Time     time.Time
	Frame    uint64
	Datagram bool
}

// Lists of flows by lifetime.
const (
	listShort = iota
	listUDP
	listTCP
	listCount
)

const (
	linkAge = iota
	linkBuffered
	linkCount
)

type link struct {
	prev, next *flow
	in         bool
}

// list is a doubly linked list of flows through one of their links.
type list struct {
	head, tail *flow
	which      int
}

func (l *list) push(f *flow) {
	k := &f.links[l.which]
	if k.in {
		l.cut(f)
	}
	k.prev, k.next, k.in = l.tail, nil, true
	if l.tail != nil {
		l.tail.links[l.which].next = f
	} else {
		l.head = f
	}
	l.tail = f
}

func (l *list) cut(f *flow) {
	k := &f.links[l.which]
	if !k.in {
		return
	}
	if k.prev != nil {
		k.prev.links[l.which].next = k.next
	} else {
		l.head = k.next
	}
	if k.next != nil {
		k.next.links[l.which].prev = k.prev
	} else {
		l.tail = k.prev
	}
	*k = link{}
}

// keyOf gives the packet's key and whether its sender is side A of it.
func keyOf(p *packet.Packet) (key, bool) {
	source, destination := p.Src.As16(), p.Dst.As16()
	k := key{A: source, B: destination, PortA: p.SrcPort, PortB: p.DstPort, VLANs: p.VLANs, Proto: p.IPProto}
	order := slices.Compare(source[:], destination[:])
	if order < 0 || order == 0 && p.SrcPort <= p.DstPort {
		return k, true
	}
	k.A, k.B, k.PortA, k.PortB = k.B, k.A, k.PortB, k.PortA
	return k, false
}

// assignment says which flow and side a packet belongs to.
type assignment struct {
	flow     *flow // nil where the packet belongs to none
	side     int   // the sender's
	opened   bool
	replaced *flow // the connection it took the place of, still to be closed
}

// assign finds the packet's flow or makes it.
func (r *Runner) assign(p *packet.Packet) assignment {
	if !p.Src.IsValid() || p.Fragment {
		return assignment{}
	}
	switch p.IPProto {
	case packet.ProtoTCP, packet.ProtoUDP:
		if p.SrcPort == 0 && p.DstPort == 0 {
			return assignment{} // the header could not be read
		}
	case packet.ProtoICMP, packet.ProtoICMPv6:
	default:
		return assignment{}
	}
	k, lower := keyOf(p)
	old := r.table[k]
	if old == nil {
		return assignment{flow: r.open(k, lower, p), opened: true}
	}
	side := old.sideOf(lower)
	if p.IPProto != packet.ProtoTCP || !r.replaces(old, side, p) {
		r.touch(old)
		return assignment{flow: old, side: side}
	}
	r.unlink(old)
	fresh := r.open(k, lower, p)
	a := assignment{flow: fresh, opened: true}
	if !old.closed {
		a.replaced = old
	}
	fresh.inherit(old, p)
	return a
}

// open makes the flow of its first packet.
func (r *Runner) open(k key, lower bool, p *packet.Packet) *flow {
	f := &flow{key: k, resetBy: -1, list: listUDP}
	f.conn = Connection{
		ID:     r.stats.Opened + 1,
		Client: Endpoint{MAC: p.SrcMAC, Addr: p.Src, Port: p.SrcPort},
		Server: Endpoint{MAC: p.DstMAC, Addr: p.Dst, Port: p.DstPort},
		VLAN:   p.VLANs[0],
		First:  p.Frame.Time,
		Last:   p.Frame.Time,
	}
	f.sides[0].Lower, f.sides[1].Lower = lower, !lower
	switch p.IPProto {
	case packet.ProtoTCP:
		f.conn.Transport, f.list = "tcp", listShort
	case packet.ProtoUDP:
		f.conn.Transport = "udp"
	default:
		f.conn.Transport, f.state = "icmp", undecoded
	}
	f.setClient(r.guessClient(p))
	f.certain = p.IPProto == packet.ProtoTCP && p.Flags&packet.SYN != 0
	r.table[k] = f
	r.touch(f)
	return f
}

// guessClient gives the client's side by the first packet alone: 0 is its sender.
func (r *Runner) guessClient(p *packet.Packet) int {
	const serverSpoke, clientSpoke = 1, 0
	switch p.IPProto {
	case packet.ProtoICMP: // echo reply (RFC 792)
		if p.ICMPType == 0 {
			return serverSpoke
		}
		return clientSpoke
	case packet.ProtoICMPv6: // echo reply (RFC 4443)
		if p.ICMPType == 129 {
			return serverSpoke
		}
		return clientSpoke
	case packet.ProtoTCP:
		if p.Flags&packet.SYN != 0 {
			if p.Flags&packet.ACK != 0 {
				return serverSpoke
			}
			return clientSpoke
		}
	}
	to, from := len(r.hints[p.DstPort]) > 0, len(r.hints[p.SrcPort]) > 0
	if to == from { // no plug-in knows better: system ports are servers' (RFC 6335 clause 6)
		to, from = p.DstPort < 1024, p.SrcPort < 1024
	}
	if from && !to {
		return serverSpoke
	}
	return clientSpoke
}

func (f *flow) sideOf(lower bool) int {
	if f.sides[0].Lower == lower {
		return 0
	}
	return 1
}

// setClient makes the given side the client and exchanges what the connection says of the two.
func (f *flow) setClient(side int) {
	if f.client == side {
		return
	}
	f.client = side
	c := &f.conn
	c.Client, c.Server = c.Server, c.Client
	c.ClientPackets, c.ServerPackets = c.ServerPackets, c.ClientPackets
	c.ClientBytes, c.ServerBytes = c.ServerBytes, c.ClientBytes
}

func (f *flow) direction(side int) Direction {
	if side == f.client {
		return FromClient
	}
	return FromServer
}

// count adds one packet to the connection.
func (f *flow) count(side int, p *packet.Packet, now time.Time) {
	c := &f.conn
	if p.Frame.Time.After(c.Last) {
		c.Last = p.Frame.Time
	}
	size := uint64(max(p.Frame.Length, len(p.Frame.Data)))
	s := &f.sides[side]
	s.Packets++
	if p.PayloadLength > 0 {
		s.Carried++
	}
	if f.direction(side) == FromClient {
		c.ClientPackets++
		c.ClientBytes += size
	} else {
		c.ServerPackets++
		c.ServerBytes += size
	}
	if p.IPProto != packet.ProtoTCP && f.sides[0].Packets > 0 && f.sides[1].Packets > 0 {
		c.Established = true
	}
	if c.Client.MAC.IsZero() || c.Server.MAC.IsZero() {
		f.learnMAC(side, p)
	}
}

// learnMAC fills addresses that cooked captures tell for the sender only.
func (f *flow) learnMAC(side int, p *packet.Packet) {
	from, to := &f.conn.Client, &f.conn.Server
	if f.direction(side) == FromServer {
		from, to = to, from
	}
	if from.MAC.IsZero() {
		from.MAC = p.SrcMAC
	}
	if to.MAC.IsZero() {
		to.MAC = p.DstMAC
	}
}

// oneSidedAfter is how many packets with data make a stream without an answer remarkable.
const oneSidedAfter = 4

// oneSided keeps Stats.OneSided: TCP data in one direction and nothing, not even an acknowledgement, in the other.
func (r *Runner) oneSided(f *flow, side int, p *packet.Packet) {
	if p.IPProto != packet.ProtoTCP {
		return
	}
	alone := f.sides[1-side].Packets == 0 && f.sides[side].Carried >= oneSidedAfter
	if alone == f.oneWay {
		return
	}
	f.oneWay = alone
	if alone {
		r.stats.OneSided++
	} else {
		r.stats.OneSided--
	}
}

// touch makes f the most recently used of its list.
func (r *Runner) touch(f *flow) {
	f.last = r.now
	r.lists[f.list].push(f)
}

// move puts f into another list of lifetimes.
func (r *Runner) move(f *flow, to int) {
	if f.list == to {
		return
	}
	r.lists[f.list].cut(f)
	f.list = to
	r.lists[to].push(f)
}

// close ends a connection for the stages behind. It stays in the table for a while to absorb stragglers.
func (r *Runner) close(f *flow, reason string) {
	r.giveUpGaps(f)
	r.decide(f, true)
	for i := range f.sides {
		r.undecode(f, len(f.sides[i].Unread))
		f.sides[i].Unread = nil
		f.sides[i].Pending = nil
	}
	f.closed, f.since = true, r.now
	f.parser = nil
	r.resize(f)
	r.stats.Connections--
	if f.links[linkAge].in {
		r.move(f, listShort)
	}
	r.handling = true
	r.handler.Closed(&f.conn, reason)
	r.handling = false
}

// remove forgets a closed flow.
func (r *Runner) remove(f *flow) {
	r.unlink(f)
	delete(r.table, f.key)
}

// unlink takes f out of the order of age; its key may already be another's.
func (r *Runner) unlink(f *flow) {
	r.lists[f.list].cut(f)
}

// kept counts the bytes f keeps for later.
func (f *flow) kept() int {
	size := f.heldSize[0] + f.heldSize[1] + len(f.held)*overhead
	for i := range f.sides {
		size += len(f.sides[i].Unread) + f.sides[i].PendingSize
	}
	return size
}

// resize recounts what f keeps after a change.
func (r *Runner) resize(f *flow) {
	size := f.kept()
	grown := size > f.buffered
	r.size += size - f.buffered
	f.buffered = size
	switch {
	case size == 0:
		r.buffered.cut(f)
	case grown || !f.links[linkBuffered].in:
		r.buffered.push(f)
	}
}

// trim keeps the bytes of all flows below Limits.MaxBuffered.
func (r *Runner) trim() {
	for r.size > r.limits.MaxBuffered && r.buffered.head != nil {
		f := r.buffered.head
		r.giveUpGaps(f)
		r.decide(f, true)
		for i := range f.sides {
			r.dropUnread(f, i)
		}
		r.resize(f)
	}
}
