package dissect

import (
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

const (
	// resetWindow is how far from the expected sequence number an RST may lie; a forged one rarely hits it.
	resetWindow = 128 << 10
	// reopenAfter is how long data of the other side may still be on its way after a reset.
	reopenAfter = time.Second
)

// replaces reports whether p, of the given side, begins another connection in place of f.
func (r *Runner) replaces(f *flow, side int, p *packet.Packet) bool {
	s := &f.sides[side]
	flags := p.Flags & (packet.SYN | packet.ACK | packet.RST)
	repeated := s.SYN && s.ISN == p.Seq
	switch {
	case flags&packet.RST != 0:
		return false
	case f.closed && flags == packet.SYN:
		return !repeated
	case f.closed && flags&packet.SYN == 0:
		// Both went on as if nothing had been closed: the RST was forged, or belonged to another.
		ahead := !s.Started || int32(p.Seq-s.Next) >= 0
		return p.PayloadLength > 0 && ahead && (side == f.resetBy || r.now.Sub(f.since) > reopenAfter)
	case flags == packet.SYN:
		if repeated || !s.SYN && s.Started && p.Seq+1 == s.First {
			return false
		}
		if !f.conn.Established && f.sides[0].Carried+f.sides[1].Carried == 0 {
			return true
		}
		// RFC 5961 clause 4: an open connection does not yield to a SYN alone, which anyone can forge.
		f.reopen, f.reopenSide, f.reopenSeq = true, side, p.Seq
		return false
	case f.reopen && flags == packet.SYN|packet.ACK:
		return side != f.reopenSide && p.Ack == f.reopenSeq+1
	case f.reopen && p.PayloadLength > 0:
		return side == f.reopenSide && p.Seq == f.reopenSeq+1 && p.Seq != s.Next
	}
	return false
}

// inherit takes over from the connection f replaces what it knew of this one.
func (f *flow) inherit(old *flow, p *packet.Packet) {
	if p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return
	}
	if old.reopen && !old.closed {
		client := f.sideOf(old.sides[old.reopenSide].Lower)
		f.setClient(client)
		f.certain, f.conn.HandshakeSeen = true, true
		f.sides[client].open(old.reopenSeq)
		return
	}
	f.setClient(f.sideOf(old.sides[old.client].Lower))
	f.certain = old.certain
}

// open starts the stream behind a SYN.
func (s *side) open(isn uint32) {
	s.SYN, s.ISN = true, isn
	s.start(isn + 1)
}

func (s *side) start(seq uint32) {
	s.Started, s.First, s.Next = true, seq, seq
}

// tcp takes one segment of an open connection (RFC 9293).
func (r *Runner) tcp(f *flow, side int, p *packet.Packet) {
	s, other := &f.sides[side], &f.sides[1-side]
	seq := p.Seq
	if p.Flags&packet.SYN != 0 {
		if !f.synchronise(side, p) {
			return
		}
		seq++
	}
	if p.Flags&packet.RST != 0 {
		r.reset(f, side, p)
		return
	}
	if p.Flags&packet.ACK != 0 && (!other.HasAcked || int32(p.Ack-other.Acked) > 0) {
		other.Acked, other.HasAcked = p.Ack, true
	}
	if p.PayloadLength > 0 {
		r.data(f, side, seq, p)
		if f.sides[1-side].Carried > 0 {
			f.conn.Established = true
		}
	}
	if p.Flags&packet.FIN != 0 {
		s.finAt(seq + uint32(p.PayloadLength))
	}
	r.waited(f)
	if f.closed {
		return
	}
	switch {
	case f.sides[0].FIN || f.sides[1].FIN:
		r.move(f, listShort)
	case f.conn.Established || f.sides[0].Carried+f.sides[1].Carried > 0:
		r.move(f, listTCP)
	}
}

// synchronise takes a SYN or SYN-ACK and reports whether it belongs to this connection.
func (f *flow) synchronise(side int, p *packet.Packet) bool {
	s, other := &f.sides[side], &f.sides[1-side]
	if s.SYN {
		return s.ISN == p.Seq
	}
	if s.Started && p.Seq+1 != s.First {
		return false
	}
	if s.Started {
		s.SYN, s.ISN = true, p.Seq // it came late, behind its own data
	} else {
		s.open(p.Seq)
	}
	f.conn.HandshakeSeen = true
	answer := p.Flags&packet.ACK != 0
	if answer && !other.Started {
		other.start(p.Ack)
	}
	if answer && other.SYN {
		f.conn.Established = true
	}
	if f.state == detecting {
		client := side
		if answer {
			client = 1 - side
		}
		f.setClient(client)
		f.certain = true
	}
	return true
}

// finAt notes the end of the stream; one that lies far outside is another connection's, or forged.
func (s *side) finAt(seq uint32) {
	if !s.Started {
		s.start(seq)
	}
	if s.FIN || s.outside(seq) {
		return
	}
	s.FIN, s.FINSeq = true, seq
}

// reset takes an RST. One whose sequence number is far from the expected is ignored, as its receiver does.
func (r *Runner) reset(f *flow, side int, p *packet.Packet) {
	s, other := &f.sides[side], &f.sides[1-side]
	answersSYN := p.Flags&packet.ACK != 0 && other.SYN && p.Ack == other.ISN+1 && !s.SYN && s.Carried == 0
	answersReopen := f.reopen && p.Flags&packet.ACK != 0 && p.Ack == f.reopenSeq+1
	distance := int32(p.Seq - s.Next)
	near := !s.Started || distance >= -resetWindow && distance <= resetWindow
	if !near && !answersSYN && !answersReopen {
		return
	}
	f.conn.Refused = answersSYN && !f.conn.Established
	f.resetBy = side
	r.close(f, ClosedRST)
}

// finish marks streams that were read to their FIN and closes the connection once both FINs are acknowledged.
func (r *Runner) finish(f *flow) {
	acknowledged := true
	for i := range f.sides {
		s := &f.sides[i]
		if received := s.HasAcked && int32(s.Acked-s.FINSeq) > 0; received && s.FIN && !s.Finished && len(s.Pending) == 0 {
			r.lose(f, i, uint64(s.FINSeq-s.Next)) // the receiver has it all, the capture has not
			s.Next = s.FINSeq
		}
		if s.FIN && !s.Finished && int32(s.Next-s.FINSeq) >= 0 {
			s.Finished = true
			s.Next = s.FINSeq + 1
		}
		acknowledged = acknowledged && s.Finished && s.HasAcked && int32(s.Acked-s.FINSeq) > 0
	}
	if acknowledged {
		r.close(f, ClosedFIN)
	}
}

// waited does what is due: gaps waited for long enough, and protocols still undecided. Both compare times of frames, so
// that they go on as usual behind one corrupt time stamp that moved the clock far ahead.
func (r *Runner) waited(f *flow) {
	for i := range f.sides {
		s := &f.sides[i]
		for len(s.Pending) > 0 {
			wait := r.limits.GapWait
			if s.HasAcked && int32(s.Acked-s.Pending[0].Seq) >= 0 {
				wait = r.limits.AckedWait
			}
			if r.at.Sub(s.Since) <= wait {
				break
			}
			r.skipGap(f, i)
		}
	}
	if len(f.held) > 0 && r.at.Sub(f.held[0].Time) > r.limits.DetectWait {
		r.decide(f, false)
	}
	if f.sides[0].FIN || f.sides[1].FIN {
		r.finish(f)
	}
}
