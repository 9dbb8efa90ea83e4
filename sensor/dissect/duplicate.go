package dissect

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// A mirror port that copies both directions of a switch shows a frame twice, microseconds apart and equal from the IP
// header on: same identification, same bytes. A TCP retransmission comes after at least a round trip, with an
// identification of its own.
const (
	duplicateWindow = 5 * time.Millisecond
	duplicateFrames = 64 // what 1 Gbit/s brings in about 0.5 ms of full frames
	duplicateBytes  = 128 << 10
)

// duplicates remembers the IP packets of the last moments, oldest first. It compares bytes, not hashes: an attacker
// could make two packets of one hash and hide the second behind the first.
type duplicates struct {
	ring  [duplicateFrames]seenPacket
	first int // oldest
	count int
	bytes int
}

type seenPacket struct {
	Hash uint64
	Time time.Time
	Data []byte
}

// seen reports whether p is a second copy, and remembers it otherwise.
func (d *duplicates) seen(p *packet.Packet, now time.Time) bool {
	if len(p.Network) == 0 {
		return false
	}
	for d.count > 0 && now.Sub(d.ring[d.first].Time) > duplicateWindow {
		d.drop()
	}
	hash := hashOf(p.Network)
	for i := range d.count {
		old := &d.ring[(d.first+i)%duplicateFrames]
		if old.Hash != hash || !bytes.Equal(old.Data, p.Network) {
			continue
		}
		if p.Frame.Time.Sub(old.Time).Abs() <= duplicateWindow {
			return true
		}
	}
	d.remember(hash, p.Frame.Time, p.Network)
	return false
}

func (d *duplicates) remember(hash uint64, t time.Time, data []byte) {
	for d.count == duplicateFrames || d.count > 0 && d.bytes+len(data) > duplicateBytes {
		d.drop()
	}
	slot := &d.ring[(d.first+d.count)%duplicateFrames]
	slot.Hash, slot.Time = hash, t
	slot.Data = append(slot.Data[:0], data...)
	d.count++
	d.bytes += len(data)
}

func (d *duplicates) drop() {
	old := &d.ring[d.first]
	d.bytes -= len(old.Data)
	if cap(old.Data) > 2048 {
		old.Data = nil
	}
	d.first = (d.first + 1) % duplicateFrames
	d.count--
}

// hashOf mixes eight bytes at a time with the FNV-1a step; it only spares comparisons.
func hashOf(data []byte) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	hash := uint64(offset)
	for len(data) >= 8 {
		hash = (hash ^ binary.LittleEndian.Uint64(data)) * prime
		hash ^= hash >> 32
		data = data[8:]
	}
	for _, b := range data {
		hash = (hash ^ uint64(b)) * prime
	}
	return hash
}
