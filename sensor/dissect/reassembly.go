package dissect

import (
	"bytes"
	"slices"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// farOff is the distance beyond which a sequence number is not this stream's any more: a missed new connection, or a
// forgery. Windows of industrial devices are some KiB; 4 MiB leave room for a burst the capture lost.
const farOff = 4 << 20

// overhead is what one kept segment costs besides its bytes: many of one byte each must not escape the limits.
const overhead = 96

// side is the stream one side of a connection sends. Its exported fields are stored at a checkpoint.
type side struct {
	Lower   bool   `json:",omitzero"` // its address comes first in the key
	Packets uint64 `json:",omitzero"` // seen
	Carried uint64 `json:",omitzero"` // of them with data

	Started bool   `json:",omitzero"` // Next is known
	First   uint32 `json:",omitzero"` // first sequence number of the data
	Next    uint32 `json:",omitzero"` // next sequence number not yet handed on
	SYN     bool   `json:",omitzero"`
	ISN     uint32 `json:",omitzero"` // of the SYN
	FIN     bool   `json:",omitzero"`
	FINSeq  uint32 `json:",omitzero"`
	// Finished says that all up to the FIN was handed on.
	Finished bool   `json:",omitzero"`
	HasAcked bool   `json:",omitzero"`
	Acked    uint32 `json:",omitzero"` // highest acknowledgement by the receiver

	// Jump is a segment far off; JumpEnd the sequence number behind it. A second one that continues it is believed.
	Jump    bool   `json:",omitzero"`
	JumpEnd uint32 `json:",omitzero"`

	Pending     []chunk   `json:",omitempty"` // behind a gap: sorted by sequence number, without overlap
	PendingSize int       `json:",omitzero"`  // bytes, with the overhead of each
	Since       time.Time `json:",omitzero"`  // when the oldest of Pending came

	Unread      []byte    `json:",omitempty"` // left by the parser
	UnreadTime  time.Time `json:",omitzero"`
	UnreadFrame uint64    `json:",omitzero"`
	Gap         uint64    `json:",omitzero"` // bytes lost since the last segment the parser got
}

// chunk is a segment that came before its turn.
type chunk struct {
	Seq   uint32
	Wire  int // length on the wire; more than len(Data) where the capture cut the frame
	Data  []byte
	Time  time.Time
	Frame uint64
}

func (c *chunk) end() uint32 { return c.Seq + uint32(c.Wire) }

func (s *side) outside(seq uint32) bool {
	distance := int32(seq - s.Next)
	return distance > farOff || distance < -farOff
}

// data takes the payload of one segment. Of bytes that come twice the first stay.
func (r *Runner) data(f *flow, side int, seq uint32, p *packet.Packet) {
	s := &f.sides[side]
	c := chunk{Seq: seq, Wire: p.PayloadLength, Data: p.Payload, Time: p.Frame.Time, Frame: p.Frame.Index}
	if !s.Started {
		s.start(seq)
		if keepAlive(p) {
			s.start(seq + 1)
			return
		}
	}
	if s.Finished {
		r.stats.Retransmitted += uint64(c.Wire)
		return
	}
	if s.outside(seq) {
		continued := s.Jump && seq == s.JumpEnd
		s.Jump, s.JumpEnd = true, c.end()
		if !continued {
			return
		}
		r.lose(f, side, 1) // how much is unknown
		r.dropPending(f, side)
		s.Next, s.FIN = seq, false
	}
	s.Jump = false
	distance := int(int32(seq - s.Next))
	if distance > 0 {
		r.pend(f, side, c)
		return
	}
	if c.Wire+distance <= 0 {
		r.stats.Retransmitted += uint64(c.Wire)
		return
	}
	r.stats.Retransmitted += uint64(-distance)
	if len(s.Pending) > 0 { // it may reach into what waits behind the gap, and came later
		r.pend(f, side, c.cut(-distance, c.Wire))
	} else {
		r.accept(f, side, c)
	}
	r.drain(f, side)
}

// keepAlive reports a probe of RFC 9293 clause 3.8.4 with its one byte of garbage. Inside a stream its sequence number
// gives it away; at the start of a capture only its looks do.
func keepAlive(p *packet.Packet) bool {
	return p.PayloadLength == 1 && p.Flags&packet.PSH == 0 && len(p.Payload) == 1 && p.Payload[0] == 0
}

// accept hands on the part of c at and behind Next.
func (r *Runner) accept(f *flow, side int, c chunk) {
	s := &f.sides[side]
	known := int(s.Next - c.Seq)
	fresh := c.Data[min(known, len(c.Data)):]
	missing := c.Wire - max(known, len(c.Data))
	s.Next = c.end()
	if len(fresh) > 0 {
		r.push(f, side, fresh, c.Time, c.Frame, false)
	}
	if missing > 0 {
		r.lose(f, side, uint64(missing))
	}
}

// drain hands on what is pending and has its turn now.
func (r *Runner) drain(f *flow, side int) {
	s := &f.sides[side]
	taken := false
	for len(s.Pending) > 0 && int32(s.Pending[0].Seq-s.Next) <= 0 {
		c := s.Pending[0]
		s.Pending = slices.Delete(s.Pending, 0, 1)
		s.PendingSize -= len(c.Data) + overhead
		taken = true
		if int32(c.end()-s.Next) > 0 {
			r.accept(f, side, c)
		}
	}
	if taken {
		if len(s.Pending) > 0 {
			s.Since = s.Pending[0].Time
		} else {
			s.Pending = nil
		}
		r.resize(f)
	}
}

// pend keeps c, less what is pending already, until the gap before it is filled.
func (r *Runner) pend(f *flow, side int, c chunk) {
	s := &f.sides[side]
	if len(s.Pending) == 0 {
		s.Since = c.Time
	}
	for i := 0; c.Wire > 0; i++ {
		if i == len(s.Pending) || int32(c.end()-s.Pending[i].Seq) <= 0 {
			s.insert(i, c)
			break
		}
		old := &s.Pending[i]
		if int32(c.Seq-old.end()) >= 0 {
			continue
		}
		if before := int(int32(old.Seq - c.Seq)); before > 0 {
			s.insert(i, c.cut(0, before))
			c = c.cut(before, c.Wire)
			continue // old is at i+1 now
		}
		common := min(c.Wire, int(old.end()-c.Seq))
		r.stats.Retransmitted += uint64(common)
		r.stats.Overlaps += uint64(differing(c, old.cut(int(c.Seq-old.Seq), old.Wire), common))
		c = c.cut(common, c.Wire)
	}
	r.resize(f)
	for len(s.Pending) > r.limits.MaxSegments || s.PendingSize > r.limits.MaxPending {
		r.skipGap(f, side)
	}
}

// cut gives the bytes [from, to) of c.
func (c *chunk) cut(from, to int) chunk {
	part := *c
	part.Seq += uint32(from)
	part.Wire = to - from
	part.Data = c.Data[min(from, len(c.Data)):min(to, len(c.Data))]
	return part
}

// differing counts the captured bytes among the first n in which a and b disagree.
func differing(a, b chunk, n int) int {
	n = min(n, len(a.Data), len(b.Data))
	if bytes.Equal(a.Data[:n], b.Data[:n]) {
		return 0
	}
	count := 0
	for i := range n {
		if a.Data[i] != b.Data[i] {
			count++
		}
	}
	return count
}

func (s *side) insert(at int, c chunk) {
	c.Data = bytes.Clone(c.Data)
	s.Pending = slices.Insert(s.Pending, at, c)
	s.PendingSize += len(c.Data) + overhead
}

// skipGap gives up what is missing before the first pending segment.
func (r *Runner) skipGap(f *flow, side int) {
	s := &f.sides[side]
	r.lose(f, side, uint64(s.Pending[0].Seq-s.Next))
	s.Next = s.Pending[0].Seq
	r.drain(f, side)
}

// giveUpGaps gives up the gaps of both sides.
func (r *Runner) giveUpGaps(f *flow) {
	for i := range f.sides {
		for len(f.sides[i].Pending) > 0 {
			r.skipGap(f, i)
		}
	}
}

func (r *Runner) dropPending(f *flow, side int) {
	s := &f.sides[side]
	for i := range s.Pending {
		r.lose(f, side, uint64(s.Pending[i].Wire))
	}
	s.Pending, s.PendingSize = nil, 0
	r.resize(f)
}

// lose records n bytes of the stream that will never be seen. The unread rest before them is of no use.
func (r *Runner) lose(f *flow, side int, n uint64) {
	if n == 0 {
		return
	}
	r.stats.LostBytes += n
	f.conn.LostBytes += n
	f.sides[side].Gap += n
	r.dropUnread(f, side)
}

func (r *Runner) dropUnread(f *flow, side int) {
	s := &f.sides[side]
	if len(s.Unread) == 0 {
		return
	}
	r.undecode(f, len(s.Unread))
	s.Gap = max(s.Gap, 1)
	s.Unread = nil
	r.resize(f)
}

// undecode counts payload that no plug-in understood.
func (r *Runner) undecode(f *flow, n int) {
	r.stats.UndecodedBytes += uint64(n)
	f.conn.UndecodedBytes += uint64(n)
}
