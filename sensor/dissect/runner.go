package dissect

import (
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Options of a Runner.
type Options struct {
	// Protocols are the plug-ins; their order decides between equal verdicts. At most maxProtocols.
	Protocols []*Protocol
	Limits    Limits
	// OnPanic is told of each panic caught in a plug-in, with the stack at its place. nil: only counted.
	OnPanic func(protocol string, value any, stack []byte)
}

// Limits bound what the runner keeps. A zero field takes its default.
type Limits struct {
	// MaxConnections is the size of the table, just closed connections among them; the oldest leaves.
	MaxConnections int
	// MaxMessage is the longest run of bytes a parser may leave unread, per direction.
	MaxMessage int
	// MaxPending and MaxSegments bound what waits behind a gap, per direction, in bytes (each segment's bookkeeping
	// counts as 96 more) and segments.
	MaxPending  int
	MaxSegments int
	// MaxBuffered bounds all bytes kept for all connections; the connection that grew longest ago loses its own.
	MaxBuffered int
	// GapWait is how long a missing segment may still come; AckedWait how long once its receiver acknowledged it,
	// which means that the capture, not the network, lost it.
	GapWait   time.Duration
	AckedWait time.Duration
	// DetectWait is how long a weak verdict that its port supports waits for a better one.
	DetectWait time.Duration
	// IdleTCP, IdleUDP and IdleShort end silent connections: opened TCP, UDP and ICMP, and TCP that was never
	// answered or is closing. A closed connection is remembered for IdleShort, so that stragglers open no other.
	IdleTCP   time.Duration
	IdleUDP   time.Duration
	IdleShort time.Duration
}

func (l Limits) withDefaults() Limits {
	fill(&l.MaxConnections, 32768) // at about 1 KiB each
	fill(&l.MaxMessage, 128<<10)   // longest known message: 64 KiB of TPKT, and the start of the next
	fill(&l.MaxPending, 256<<10)   // four unscaled windows
	fill(&l.MaxSegments, 256)      // of 1 KiB each
	fill(&l.MaxBuffered, 32<<20)   // leaves a 150 MB process room
	fill(&l.GapWait, time.Second)  // RFC 6298: the first retransmission comes within 1 s
	fill(&l.AckedWait, 20*time.Millisecond)
	fill(&l.DetectWait, time.Second) // half of the time an incident may take
	fill(&l.IdleTCP, time.Hour)      // industrial connections may poll once in minutes
	fill(&l.IdleUDP, 10*time.Minute)
	fill(&l.IdleShort, 30*time.Second) // longer than three SYN retransmissions
	return l
}

func fill[T int | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// Stats counts what the runner saw since its first start; Restore continues the counts.
type Stats struct {
	Frames    uint64 // all, duplicates among them
	Bytes     uint64 // on the wire
	Malformed uint64 // frames with a header that breaks its specification
	// MalformedMessages are protocol messages that break theirs.
	MalformedMessages uint64
	Duplicates        uint64 // second copies made by mirror ports
	LostBytes         uint64 // stream bytes never captured
	UndecodedBytes    uint64 // payload no plug-in understood
	Retransmitted     uint64 // bytes of TCP that had come before
	Overlaps          uint64 // bytes of TCP that came twice with different contents; the first stayed
	OneSided          uint64 // connections with data of which one direction was never seen
	Evicted           uint64 // connections that left for lack of room
	FragmentsDropped  uint64 // datagrams whose fragments never became whole
	PluginFailures    uint64 // panics and broken promises of plug-ins
	Opened            uint64 // connections so far
	Connections       int    // open now
	Messages          uint64
}

const (
	maxProtocols  = 256
	sweepInterval = 100 * time.Millisecond
)

// Runner is the front of the sensor: frames in, connections and messages out. It is used by one goroutine. Its clock is
// the newest time that Frame and Tick were given; times that lie before it change nothing. Equal calls give equal
// results, and a Runner that was restored continues as the one that was stored.
type Runner struct {
	options Options
	limits  Limits
	decoder *packet.Decoder
	hints   map[uint16][]int // port -> protocols registered for it
	packets []int            // protocols that read packets
	byID    map[string]int

	handler   Handler
	now       time.Time
	at        time.Time // of the current frame or tick; behind now where time ran backward
	nextSweep time.Time
	stats     Stats
	table     map[key]*flow
	lists     [listCount]list // by lifetime, least recently used first
	buffered  list            // flows that keep bytes, least recently grown first
	size      int             // bytes kept by all flows
	recent    duplicates

	// What the plug-in called right now works on; emit and emitPacket are made once, not per call.
	current    *flow
	segment    Segment
	packet     *packet.Packet
	plugin     *Protocol
	handling   bool // the stages behind are running: a panic is theirs
	emit       func(*Message)
	emitPacket func(*Message)
	probe      [2][]byte
}

// NewRunner returns a runner without connections.
func NewRunner(o Options) *Runner {
	if len(o.Protocols) > maxProtocols {
		o.Protocols = o.Protocols[:maxProtocols]
	}
	r := &Runner{
		options: o,
		limits:  o.Limits.withDefaults(),
		decoder: packet.NewDecoder(),
		hints:   map[uint16][]int{},
		byID:    map[string]int{},
		table:   map[key]*flow{},
	}
	r.buffered.which = linkBuffered
	for i, p := range o.Protocols {
		r.byID[p.ID] = i
		for _, port := range p.Ports {
			r.hints[port] = append(r.hints[port], i)
		}
		if p.Packet != nil {
			r.packets = append(r.packets, i)
		}
	}
	r.emit = r.message
	r.emitPacket = r.packetMessage
	return r
}

// Frame takes the next captured frame and calls h for all it brings about. Nothing of f is kept.
func (r *Runner) Frame(f *packet.Frame, h Handler) {
	r.handler = h
	r.advance(f.Time)
	p := r.decoder.Decode(f)
	r.stats.Frames++
	r.stats.Bytes += uint64(max(f.Length, len(f.Data)))
	if r.recent.seen(p, r.now) {
		r.stats.Duplicates++
		return
	}
	if p.Malformed != nil {
		r.stats.Malformed++
	}
	if !f.Link.Supported() {
		r.stats.UndecodedBytes += uint64(len(f.Data))
	}
	a := r.assign(p)
	if a.flow == nil || a.flow.closed {
		r.packetOut(p, nil)
		r.packetPlugins(p, nil)
		return
	}
	a.flow.count(a.side, p, r.now)
	r.oneSided(a.flow, a.side, p)
	r.packetOut(p, &a.flow.conn)
	if a.replaced != nil {
		r.close(a.replaced, ClosedReplaced)
	}
	if a.opened {
		r.stats.Opened++
		r.stats.Connections++
		r.handling = true
		h.Opened(&a.flow.conn)
		r.handling = false
	}
	r.packetPlugins(p, a.flow)
	switch p.IPProto {
	case packet.ProtoTCP:
		r.tcp(a.flow, a.side, p)
	case packet.ProtoUDP:
		r.udp(a.flow, a.side, p)
	}
	r.trim()
}

// Tick moves the clock to now without a frame, so that waits end on a silent wire.
func (r *Runner) Tick(now time.Time, h Handler) {
	r.handler = h
	r.advance(now)
}

// Flush ends all waits: the source has no more frames for now. Gaps are given up and undecided protocols decided;
// connections stay open.
func (r *Runner) Flush(h Handler) {
	r.handler = h
	for f := r.buffered.head; f != nil; {
		next := f.links[linkBuffered].next
		r.giveUpGaps(f)
		r.decide(f, true)
		f = next
	}
}

// Stats gives the counts so far.
func (r *Runner) Stats() Stats {
	s := r.stats
	s.FragmentsDropped = r.decoder.Evicted()
	return s
}

// Connections calls visit for each open connection, in an order that depends on the traffic alone: how a stage finds
// its connections again after Restore.
func (r *Runner) Connections(visit func(*Connection)) {
	for i := range r.lists {
		for f := r.lists[i].head; f != nil; f = f.links[linkAge].next {
			if !f.closed {
				visit(&f.conn)
			}
		}
	}
}

func (r *Runner) packetOut(p *packet.Packet, c *Connection) {
	r.handling = true
	r.handler.Packet(p, c)
	r.handling = false
}

// advance moves the clock, ends what waited long enough and makes room for one connection.
func (r *Runner) advance(now time.Time) {
	r.at = now
	if now.After(r.now) {
		r.now = now
	}
	if !r.now.Before(r.nextSweep) {
		r.nextSweep = r.now.Add(sweepInterval)
		r.sweep()
	}
	for len(r.table) >= r.limits.MaxConnections {
		r.evict()
	}
}

func (r *Runner) sweep() {
	idle := [listCount]time.Duration{listShort: r.limits.IdleShort, listUDP: r.limits.IdleUDP, listTCP: r.limits.IdleTCP}
	for i := range r.lists {
		for f := r.lists[i].head; f != nil && r.now.Sub(f.last) > idle[i]; f = r.lists[i].head {
			r.expire(f)
		}
	}
	for f := r.buffered.head; f != nil; {
		next := f.links[linkBuffered].next
		r.waited(f)
		f = next
	}
}

func (r *Runner) expire(f *flow) {
	if !f.closed {
		reason := ClosedIdle
		if f.sides[0].Finished && f.sides[1].Finished {
			reason = ClosedFIN
		}
		r.close(f, reason)
	}
	r.remove(f)
}

// evict removes the least useful connection: of those unanswered or closing the oldest, else the longest silent.
func (r *Runner) evict() {
	var victim *flow
	for i := range r.lists {
		f := r.lists[i].head
		if f == nil {
			continue
		}
		if victim == nil || f.last.Before(victim.last) {
			victim = f
		}
		if i == listShort {
			break
		}
	}
	if !victim.closed {
		r.stats.Evicted++
		r.close(victim, ClosedEvicted)
	}
	r.remove(victim)
}
