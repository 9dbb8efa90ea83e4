// Package spool keeps a sensor's records on disk until the fleet has them. Records come in from the sensor's stages,
// in order of sequence; the uplink reads them out and acknowledges them. What Append has returned for is durable: it
// survives a kill and a power cut. A record is stored once per sequence, the first bytes win.
package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/otus-project/otus/event"
)

// Options of a spool. Only Dir is required.
type Options struct {
	// Dir is the folder of the segments, made when it is missing. One process at a time may have it open.
	Dir string
	// SegmentBytes is the size at which a new segment begins.
	SegmentBytes int64
	// MaxBytes bounds the disk used. A full spool gives up, oldest segment first, everything but alerts, devices
	// and captures; when only those are left, whole segments. What is given up is counted in Stats.
	MaxBytes int64
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 4 << 20 // some seconds of a busy sensor; small enough to rewrite at once
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30 // weeks of a quiet plant, a day of a busy one
	}
	if o.MaxBytes < 2*o.SegmentBytes {
		o.MaxBytes = 2 * o.SegmentBytes // the newest segment is never given up
	}
	return o
}

// Spool is a log of records. Append, ReadFrom and Acknowledge may be called from different goroutines.
type Spool struct {
	o        Options
	appended chan struct{}

	// appending is held during a whole Append, mu only while the fields beneath it change; taken in this order.
	appending sync.Mutex
	active    *os.File // of the newest segment, open for writing
	broken    error    // a failed write or fsync: what is on disk is unknown until the spool is opened again
	opened    bool     // nothing was appended since Open
	buffer    []byte

	mu       sync.Mutex
	segments []*segment // in order; the newest is the last
	acked    uint64
	stats    Stats
}

// Stats are counters since Open, and the present extent.
type Stats struct {
	First, Last uint64 // of what is stored; 0 when the spool was never written
	Waiting     uint64 // sequences not acknowledged yet
	Bytes       int64  // on disk
	Segments    int
	Dropped     uint64 // records given up for lack of room, or lost with a damaged segment
	Conflicts   uint64 // records appended again with other bytes
	CutBytes    int64  // torn bytes cut off at Open
	Damaged     uint64 // times a damaged frame ended the reading of a sealed segment
}

// ConflictError says that records were appended again under a stored sequence, with other bytes. The stored ones
// were kept, and everything else of the call was stored.
type ConflictError struct {
	Sequence uint64 // the first of them
	Count    int
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("spool holds another record under sequence %d (%d such records)", e.Sequence, e.Count)
}

// Open opens or makes the spool in o.Dir and cuts off a record that a kill left half written.
func Open(o Options) (*Spool, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	segments, err := list(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Spool{o: o, appended: make(chan struct{}, 1), segments: segments, opened: true}
	if len(segments) == 0 {
		return s, nil
	}
	newest := segments[len(segments)-1]
	if s.stats.CutBytes, err = newest.recover(o.Dir); err != nil {
		return nil, err
	}
	if s.active, err = os.OpenFile(newest.path(o.Dir), os.O_WRONLY, 0); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.acked = segments[0].first - 1
	s.signal() // what is left over is to be sent
	return s, nil
}

// Append stores records durably, with one fsync for all of them. Their sequences must be consecutive and follow the
// stored ones. Sequences that are stored already (a replay after a crash) are not stored again; if the bytes differ
// a ConflictError is returned after the rest was stored. After any other error nothing of the call counts as stored,
// and the call may be repeated.
//
// The first Append after Open may leave a gap: the records of a damaged or removed spool. They count as dropped.
func (s *Spool) Append(records []event.Record) error {
	if len(records) == 0 {
		return nil
	}
	s.appending.Lock()
	defer s.appending.Unlock()
	if s.broken != nil {
		return fmt.Errorf("spool is out of order: %w", s.broken)
	}
	bodies, err := encode(records)
	if err != nil {
		return err
	}
	conflict, known, err := s.compare(records, bodies)
	if err != nil {
		return err
	}
	if records, bodies = records[known:], bodies[known:]; len(records) > 0 {
		if err := s.write(records, bodies); err != nil {
			return err
		}
		s.opened = false
		s.signal()
	}
	if conflict != nil {
		return conflict
	}
	return nil
}

func encode(records []event.Record) ([][]byte, error) {
	bodies := make([][]byte, len(records))
	for i := range records {
		r := &records[i]
		if err := r.Validate(); err != nil {
			return nil, fmt.Errorf("append to spool: %w", err)
		}
		if i > 0 && r.Sequence != records[i-1].Sequence+1 {
			return nil, fmt.Errorf("append to spool: sequence %d follows %d", r.Sequence, records[i-1].Sequence)
		}
		body, err := r.Encode()
		if err != nil {
			return nil, fmt.Errorf("append to spool: encode record %d: %w", r.Sequence, err)
		}
		if len(body) > MaxRecordBytes {
			return nil, fmt.Errorf("append to spool: record %d has %d bytes, more than %d", r.Sequence, len(body), MaxRecordBytes)
		}
		bodies[i] = body
	}
	return bodies, nil
}

// compare finds how many of the records are stored already, and which of those differ.
func (s *Spool) compare(records []event.Record, bodies [][]byte) (conflict *ConflictError, known int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, first := s.lastLocked(), records[0].Sequence
	if first > last {
		if first != last+1 && !s.opened {
			return nil, 0, fmt.Errorf("append to spool: sequence %d leaves a gap after %d", first, last)
		}
		return nil, 0, nil
	}
	known = int(min(last-first+1, uint64(len(records))))
	end := first + uint64(known)
	for _, g := range s.segments {
		if g.last < first || g.first >= end {
			continue
		}
		err := g.read(s.o.Dir, first, func(f frame) bool {
			if f.sequence >= end {
				return false
			}
			if !bytes.Equal(f.body, bodies[f.sequence-first]) {
				if conflict == nil {
					conflict = &ConflictError{Sequence: f.sequence}
				}
				conflict.Count++
				s.stats.Conflicts++
			}
			return true
		})
		if err != nil && !errors.Is(err, errTorn) {
			return nil, 0, err
		}
	}
	return conflict, known, nil
}

// write stores records that are not there yet.
func (s *Spool) write(records []event.Record, bodies [][]byte) error {
	newest, err := s.segmentFor(records[0].Sequence)
	if err != nil {
		return err
	}
	buffer := s.buffer[:0]
	offsets := make([]int64, len(records))
	for i := range records {
		offsets[i] = newest.size + int64(len(buffer))
		buffer = appendFrame(buffer, frame{records[i].Sequence, kindCodes[records[i].Kind], bodies[i]})
	}
	if _, err := s.active.WriteAt(buffer, newest.size); err != nil {
		// A full disk is an ordinary day: take back what was written and let the caller try again.
		if cutErr := s.active.Truncate(newest.size); cutErr != nil {
			s.broken = errors.Join(err, cutErr)
		}
		return fmt.Errorf("append to spool: %w", err)
	}
	if err := s.active.Sync(); err != nil {
		// The kernel may have thrown the pages away and call the next fsync a success.
		s.broken = err
		return fmt.Errorf("append to spool: %w", err)
	}
	if s.buffer = buffer; cap(buffer) > 4<<20 {
		s.buffer = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range records {
		newest.note(records[i].Sequence, offsets[i])
	}
	newest.last = records[len(records)-1].Sequence
	newest.size += int64(len(buffer))
	s.makeRoom()
	return nil
}

// segmentFor gives the segment that takes the record of sequence, a new one when the newest is full or ends before.
func (s *Spool) segmentFor(sequence uint64) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var newest *segment
	if n := len(s.segments); n > 0 {
		newest = s.segments[n-1]
		if newest.size < s.o.SegmentBytes && newest.last+1 == sequence {
			return newest, nil
		}
		if newest.last+1 != sequence {
			s.stats.Dropped += sequence - newest.last - 1
		}
	} else if s.acked == 0 {
		s.stats.Dropped += sequence - 1
		s.acked = sequence - 1
	}
	g := &segment{first: sequence, last: sequence - 1, size: int64(len(magic))}
	if newest != nil && newest.first == sequence {
		return nil, fmt.Errorf("append to spool: segment %d exists", sequence)
	}
	if err := writeSynced(g.path(s.o.Dir), []byte(magic)); err != nil {
		os.Remove(g.path(s.o.Dir))
		return nil, fmt.Errorf("append to spool: %w", err)
	}
	if err := syncDir(s.o.Dir); err != nil {
		return nil, fmt.Errorf("append to spool: %w", err)
	}
	file, err := os.OpenFile(g.path(s.o.Dir), os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("append to spool: %w", err)
	}
	if s.active != nil {
		s.active.Close()
	}
	s.active = file
	if newest != nil {
		newest.last = sequence - 1
	}
	s.segments = append(s.segments, g)
	return g, nil
}

// makeRoom gives up old records until the spool fits into MaxBytes. A file that cannot be removed is tried again at
// the next Append; until then Stats.Bytes shows the excess.
func (s *Spool) makeRoom() {
	total := s.bytesLocked()
	for i := 0; total > s.o.MaxBytes && i < len(s.segments)-1; {
		g := s.segments[i]
		if g.thin {
			i++
			continue
		}
		thin, dropped, err := g.thinOut(s.o.Dir)
		total -= g.size
		if err != nil {
			// No room even for the shorter copy, or unreadable: it goes as a whole.
			dropped = g.last - g.first + 1
			os.Remove(g.path(s.o.Dir))
			os.Remove((&segment{first: g.first, thin: true}).path(s.o.Dir))
			thin = nil
		}
		s.stats.Dropped += dropped
		if thin == nil {
			s.segments = append(s.segments[:i], s.segments[i+1:]...)
			continue
		}
		s.segments[i] = thin
		total += thin.size
		i++
	}
	for total > s.o.MaxBytes && len(s.segments) > 1 {
		g := s.segments[0]
		if err := g.read(s.o.Dir, g.first, func(frame) bool { s.stats.Dropped++; return true }); err != nil {
			s.stats.Damaged++
		}
		if err := os.Remove(g.path(s.o.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return
		}
		total -= g.size
		s.segments = s.segments[1:]
	}
}

// ReadFrom gives stored records of sequence and above, in order: at most maxRecords, and at most maxBytes of encoded
// records, but always one if there is one. Sequences that were dropped are missing from the answer.
func (s *Spool) ReadFrom(sequence uint64, maxRecords, maxBytes int) ([]event.Record, error) {
	bodies, err := s.readBodies(sequence, maxRecords, maxBytes)
	if err != nil {
		return nil, err
	}
	records := make([]event.Record, len(bodies))
	for i, body := range bodies {
		if err := json.Unmarshal(body, &records[i]); err != nil {
			return nil, fmt.Errorf("read spool: record after %d: %w", sequence, err)
		}
	}
	return records, nil
}

func (s *Spool) readBodies(sequence uint64, maxRecords, maxBytes int) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bodies [][]byte
	size := 0
	for i, g := range s.segments {
		if g.last < sequence {
			continue
		}
		full := false
		err := g.read(s.o.Dir, sequence, func(f frame) bool {
			full = len(bodies) >= maxRecords || len(bodies) > 0 && size+len(f.body) > maxBytes
			if full {
				return false
			}
			bodies = append(bodies, bytes.Clone(f.body))
			size += len(f.body)
			return true
		})
		if errors.Is(err, errTorn) && i < len(s.segments)-1 {
			// Bit rot in a sealed segment: what follows in it is lost, the next segment is not.
			s.stats.Damaged++
			continue
		}
		if err != nil {
			return nil, err
		}
		if full {
			break
		}
	}
	return bodies, nil
}

// Acknowledge says that the fleet has everything up to sequence; segments that hold nothing newer are deleted. The
// newest segment stays, it remembers where the sequence stands.
func (s *Spool) Acknowledge(sequence uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = max(s.acked, min(sequence, s.lastLocked()))
	for len(s.segments) > 1 && s.segments[0].last <= s.acked {
		if err := os.Remove(s.segments[0].path(s.o.Dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("acknowledge spool: %w", err)
		}
		s.segments = s.segments[1:]
	}
	return nil
}

// LastSequence is the highest sequence ever stored, 0 for a new spool.
func (s *Spool) LastSequence() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastLocked()
}

func (s *Spool) lastLocked() uint64 {
	if len(s.segments) == 0 {
		return 0
	}
	return s.segments[len(s.segments)-1].last
}

func (s *Spool) bytesLocked() (total int64) {
	for _, g := range s.segments {
		total += g.size
	}
	return total
}

// Stats gives the present counters.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Last, stats.Segments, stats.Bytes = s.lastLocked(), len(s.segments), s.bytesLocked()
	if len(s.segments) > 0 {
		stats.First = s.segments[0].first
		stats.Waiting = stats.Last - s.acked
	}
	return stats
}

// Appended receives a value after records were stored, and once after Open when some were left over. It holds one
// value: a reader drains the spool after each. Meant for one receiver.
func (s *Spool) Appended() <-chan struct{} { return s.appended }

func (s *Spool) signal() {
	select {
	case s.appended <- struct{}{}:
	default:
	}
}

// Close closes the spool; everything appended is on disk already.
func (s *Spool) Close() error {
	s.appending.Lock()
	defer s.appending.Unlock()
	if s.broken == nil {
		s.broken = os.ErrClosed
	}
	if s.active == nil {
		return nil
	}
	err := s.active.Close()
	s.active = nil
	return err
}
