package facts

import "net/netip"

// tshark puts the transport segments of DNP3 together by the six-bit sequence number of each and the two IP addresses,
// across connections, and does not know that 63 is followed by 0. A message that straddles the wrap is therefore lost,
// and its last segment waits under the place before 0, until a whole message with sequence 0 comes and takes it
// for its own beginning. The counts follow that, so it is done here the same way.

const (
	fragmentReach = 60 // so far back the beginning of a message is looked for
	fragmentAge   = 64 // frames after which an unfinished message is forgotten
	maxChains     = 4096
)

// place is where a message begins: between two addresses, at a sequence number (which may lie before 0).
type place struct {
	from, to netip.Addr
	id       int
}

// chain is a message under reassembly: its pieces in the order of their offset behind the beginning.
type chain struct {
	frame  uint64 // newest frame of a piece
	pieces []piece
	ended  bool // the last piece was seen
	last   int  // its offset
}

type piece struct {
	offset int
	frame  uint64
	data   []byte
}

// fragments are all messages under reassembly.
type fragments struct {
	chains map[place]*chain
	order  []place // oldest first
}

func (t *fragments) make(at place) *chain {
	if t.chains == nil {
		t.chains = map[place]*chain{}
	}
	if len(t.order) >= maxChains {
		delete(t.chains, t.order[0])
		t.order = t.order[1:]
	}
	t.order = append(t.order, at)
	c := &chain{}
	t.chains[at] = c
	return c
}

// fresh gives the chain at a place unless it is too old, which removes it.
func (t *fragments) fresh(at place, frame uint64) *chain {
	c := t.chains[at]
	if c != nil && c.frame+fragmentAge < frame {
		delete(t.chains, at)
		return nil
	}
	return c
}

// add takes one segment and returns the message that it completes.
func (t *fragments) add(at place, first, last bool, data []byte, frame uint64) ([]byte, bool) {
	offset := 0
	var c *chain
	if first {
		if c = t.fresh(at, frame); c == nil {
			c = t.make(at)
		}
		t.takeBack(c, at)
	} else {
		c, offset = t.before(at, frame)
	}
	start := place{at.from, at.to, at.id - offset}
	if last {
		t.passOn(c, at, offset)
	} else {
		t.takeOver(c, start, offset+1)
	}
	c.link(piece{offset: offset, frame: frame, data: append([]byte(nil), data...)})
	if last && !c.ended {
		c.ended, c.last = true, offset
	}
	whole, ok := c.whole()
	if ok {
		delete(t.chains, start)
	}
	return whole, ok
}

// takeBack gives a beginning the pieces that an earlier beginning has collected beyond it.
func (t *fragments) takeBack(c *chain, at place) {
	for n := 1; n < fragmentReach; n++ {
		earlier := place{at.from, at.to, at.id - n}
		e := t.chains[earlier]
		if e == nil {
			continue
		}
		keep := e.upTo(n)
		moved := e.pieces[keep:]
		e.pieces = e.pieces[:keep:keep]
		e.newest()
		if len(moved) == 0 {
			return
		}
		for _, p := range moved {
			p.offset -= n
			c.link(p)
		}
		if e.ended && e.last >= n {
			c.ended, c.last = true, e.last-n
			e.ended, e.last = false, 0
		}
		if len(e.pieces) == 0 {
			delete(t.chains, earlier)
		}
		return
	}
}

// before finds the message that a further segment belongs to; without one it begins one place earlier.
func (t *fragments) before(at place, frame uint64) (*chain, int) {
	for n := 1; n < fragmentReach; n++ {
		c := t.fresh(place{at.from, at.to, at.id - n}, frame)
		if c == nil {
			continue
		}
		if c.ended && c.last < n {
			break
		}
		return c, n
	}
	return t.make(place{at.from, at.to, at.id - 1}), 1
}

// passOn moves the pieces behind a last segment to the message that begins after it.
func (t *fragments) passOn(c *chain, at place, offset int) {
	keep := c.upTo(offset + 1)
	moved := c.pieces[keep:]
	if len(moved) == 0 {
		return
	}
	c.pieces = c.pieces[:keep:keep]
	c.newest()
	for len(moved) > 0 && moved[0].offset == offset+1 {
		moved = moved[1:]
	}
	if len(moved) == 0 {
		return
	}
	behind := place{at.from, at.to, at.id + 1}
	b := t.chains[behind]
	if b == nil {
		b = t.make(behind)
	}
	end := 0
	for _, p := range moved {
		p.offset -= offset + 1
		end = p.offset
		b.link(p)
	}
	if c.ended && c.last > offset {
		b.ended, b.last = true, c.last-(offset+1)
		c.ended, c.last = false, 0
		return
	}
	t.takeOver(b, behind, end)
}

// takeOver appends the message that begins n places behind start, unless it has its first piece.
func (t *fragments) takeOver(c *chain, start place, n int) {
	if n == 0 || c.ended && c.last <= n {
		return
	}
	behind := place{start.from, start.to, start.id + n}
	b := t.chains[behind]
	if b == nil || len(b.pieces) == 0 || b.pieces[0].offset == 0 {
		return
	}
	for _, p := range b.pieces {
		p.offset += n
		c.link(p)
	}
	if b.ended {
		c.ended, c.last = true, b.last+n
	}
	delete(t.chains, behind)
}

// upTo counts the pieces with an offset below n.
func (c *chain) upTo(n int) int {
	for i, p := range c.pieces {
		if p.offset >= n {
			return i
		}
	}
	return len(c.pieces)
}

func (c *chain) newest() {
	c.frame = 0
	for _, p := range c.pieces {
		c.frame = max(c.frame, p.frame)
	}
}

// link puts a piece in its place, behind those of the same offset.
func (c *chain) link(p piece) {
	i := c.upTo(p.offset + 1)
	c.pieces = append(c.pieces, piece{})
	copy(c.pieces[i+1:], c.pieces[i:])
	c.pieces[i] = p
	c.frame = max(c.frame, p.frame)
}

// whole gives the message once no piece is missing; of pieces at one offset the first counts.
func (c *chain) whole() ([]byte, bool) {
	if !c.ended {
		return nil, false
	}
	next := 0
	var data []byte
	for _, p := range c.pieces {
		if p.offset == next {
			data = append(data, p.data...)
			next++
		}
	}
	return data, next > c.last
}
