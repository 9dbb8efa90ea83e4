package dissect

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// stored is a Runner at a checkpoint.
type stored struct {
	Now       time.Time
	NextSweep time.Time
	Stats     Stats
	Decoder   json.RawMessage
	Recent    []seenPacket
	Flows     []storedFlow // list by list, each least recently used first
	Buffered  []uint64     // connection ids, least recently grown first
}

type storedFlow struct {
	List     int
	Conn     Connection // Protocol left out
	VLANs    [2]uint16
	Proto    uint8
	Last     time.Time
	Sides    [2]side
	Client   int             `json:",omitzero"`
	Certain  bool            `json:",omitzero"`
	Closed   bool            `json:",omitzero"`
	Since    time.Time       `json:",omitzero"`
	ResetBy  int             `json:",omitzero"`
	OneWay   bool            `json:",omitzero"`
	Reopen   *storedReopen   `json:",omitempty"`
	State    state           `json:",omitzero"`
	Denied   []string        `json:",omitempty"` // protocol ids
	Protocol string          `json:",omitzero"`
	Parser   json.RawMessage `json:",omitempty"`
	Held     []held          `json:",omitempty"`
}

type storedReopen struct {
	Side int
	Seq  uint32
}

// Snapshot gives the whole state for a checkpoint, between two calls of Frame, Tick or Flush. Equal states give equal
// bytes.
func (r *Runner) Snapshot() ([]byte, error) {
	decoder, err := r.decoder.Snapshot()
	if err != nil {
		return nil, err
	}
	s := stored{Now: r.now, NextSweep: r.nextSweep, Stats: r.stats, Decoder: decoder}
	for i := range r.recent.count {
		s.Recent = append(s.Recent, r.recent.ring[(r.recent.first+i)%duplicateFrames])
	}
	for i := range r.lists {
		for f := r.lists[i].head; f != nil; f = f.links[linkAge].next {
			sf, err := r.store(f)
			if err != nil {
				return nil, err
			}
			s.Flows = append(s.Flows, sf)
		}
	}
	for f := r.buffered.head; f != nil; f = f.links[linkBuffered].next {
		s.Buffered = append(s.Buffered, f.conn.ID)
	}
	data, err := json.Marshal(&s)
	if err != nil {
		return nil, fmt.Errorf("store connections: %w", err)
	}
	return data, nil
}

func (r *Runner) store(f *flow) (storedFlow, error) {
	sf := storedFlow{
		List: f.list, Conn: f.conn, VLANs: f.key.VLANs, Proto: f.key.Proto, Last: f.last, Sides: f.sides,
		Client: f.client, Certain: f.certain, Closed: f.closed, Since: f.since, ResetBy: f.resetBy, OneWay: f.oneWay,
		State: f.state, Held: f.held,
	}
	if f.conn.Protocol != nil {
		sf.Protocol = f.conn.Protocol.ID
	}
	if f.reopen {
		sf.Reopen = &storedReopen{f.reopenSide, f.reopenSeq}
	}
	if f.state == detecting {
		for i, p := range r.options.Protocols {
			if f.denied[i/64]&(1<<(i%64)) != 0 {
				sf.Denied = append(sf.Denied, p.ID)
			}
		}
	}
	if f.parser != nil {
		state, err := json.Marshal(f.parser)
		if err != nil {
			return sf, fmt.Errorf("store parser of %q: %w", sf.Protocol, err)
		}
		sf.Parser = state
	}
	return sf, nil
}

// Restore replaces the runner's state by that of a Snapshot. Connections of a protocol that is no longer among the
// options go on undecoded. After an error the runner must not be used.
func (r *Runner) Restore(data []byte) error {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("restore connections: %w", err)
	}
	fresh := NewRunner(r.options)
	if err := fresh.decoder.Restore(s.Decoder); err != nil {
		return err
	}
	fresh.now, fresh.nextSweep, fresh.stats = s.Now, s.NextSweep, s.Stats
	for _, p := range s.Recent {
		fresh.recent.remember(p.Hash, p.Time, p.Data)
	}
	byID := make(map[uint64]*flow, len(s.Flows))
	for i := range s.Flows {
		f, err := fresh.restore(&s.Flows[i])
		if err != nil {
			return err
		}
		byID[f.conn.ID] = f
	}
	for _, id := range s.Buffered {
		f := byID[id]
		if f == nil {
			return fmt.Errorf("restore connections: connection %d keeps bytes but is not there", id)
		}
		fresh.buffered.push(f)
	}
	*r = *fresh
	r.emit, r.emitPacket = r.message, r.packetMessage
	return nil
}

func (r *Runner) restore(sf *storedFlow) (*flow, error) {
	if sf.List < 0 || sf.List >= listCount || sf.Client < 0 || sf.Client > 1 || sf.State > undecoded {
		return nil, fmt.Errorf("restore connection %d: a field is out of range", sf.Conn.ID)
	}
	f := &flow{
		conn: sf.Conn, list: sf.List, last: sf.Last, sides: sf.Sides, client: sf.Client, certain: sf.Certain,
		closed: sf.Closed, since: sf.Since, resetBy: sf.ResetBy, oneWay: sf.OneWay, state: sf.State, held: sf.Held,
	}
	f.key, _ = keyOf(&packet.Packet{
		Src: sf.Conn.Client.Addr, Dst: sf.Conn.Server.Addr, SrcPort: sf.Conn.Client.Port, DstPort: sf.Conn.Server.Port,
		VLANs: sf.VLANs, IPProto: sf.Proto,
	})
	if sf.Reopen != nil {
		if sf.Reopen.Side < 0 || sf.Reopen.Side > 1 {
			return nil, fmt.Errorf("restore connection %d: a field is out of range", sf.Conn.ID)
		}
		f.reopen, f.reopenSide, f.reopenSeq = true, sf.Reopen.Side, sf.Reopen.Seq
	}
	for _, h := range f.held {
		if h.Side < 0 || h.Side > 1 {
			return nil, fmt.Errorf("restore connection %d: a field is out of range", sf.Conn.ID)
		}
		f.heldSize[h.Side] += len(h.Data)
	}
	for i, p := range r.options.Protocols {
		if slices.Contains(sf.Denied, p.ID) {
			f.denied[i/64] |= 1 << (i % 64)
		}
	}
	if i, known := r.byID[sf.Protocol]; known {
		f.conn.Protocol = r.options.Protocols[i]
	}
	switch {
	case f.state != parsing:
	case f.conn.Protocol == nil:
		f.state = undecoded
	case len(sf.Parser) > 0:
		f.parser = f.conn.Protocol.NewParser()
		if err := json.Unmarshal(sf.Parser, f.parser); err != nil {
			return nil, fmt.Errorf("restore parser of %q: %w", sf.Protocol, err)
		}
	}
	f.buffered = f.kept()
	r.size += f.buffered
	r.table[f.key] = f
	r.lists[f.list].push(f)
	return f, nil
}
