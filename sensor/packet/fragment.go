package packet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Bounds of reassembly: 128 datagrams of 64 KiB are 8 MiB at worst.
const (
	maxDatagrams    = 128
	maxParts        = 64               // runs with holes between them; a datagram in 8-byte crumbs is an attack
	fragmentTimeout = 30 * time.Second // RFC 791 clause 3.2 suggests 15 s, RFC 8200 60 s
)

// fragments is the table of incomplete datagrams, oldest first. Its exported fields are the decoder's whole state.
type fragments struct {
	Now     time.Time // newest time seen
	Table   []*datagram
	Dropped uint64
}

type fragmentKey struct {
	Src, Dst netip.Addr
	VLANs    [2]uint16
	ID       uint32
	Proto    uint8 // IPv4 only; in IPv6 the first fragment alone says it
}

type datagram struct {
	Key   fragmentKey
	Since time.Time
	Data  []byte   // up to the highest byte seen, holes are zero
	Parts [][2]int // what is there: sorted runs [from, to) that do not touch
	Total int      // length of the whole; 0 while unknown
	Proto uint8    // of the first fragment
}

// add stores one fragment and returns the datagram's payload once it is whole. Where fragments overlap, the bytes
// that came first stay, and the packet is malformed unless both agree.
func (f *fragments) add(p *Packet, id uint32, offset int, more bool, data []byte) []byte {
	f.expire(p.Frame.Time)
	layer := "ipv4"
	key := fragmentKey{Src: p.Src, Dst: p.Dst, VLANs: p.VLANs, ID: id, Proto: p.IPProto}
	if p.Src.Is6() {
		layer, key.Proto = "ipv6", 0
	}
	end := offset + len(data)
	switch {
	case len(data) == 0:
		p.malformed(layer, offset, "fragment is empty")
		return nil
	case end > maxDatagram:
		p.malformed(layer, offset, "fragment ends beyond the largest datagram")
		return nil
	case more && len(data)%8 != 0:
		p.malformed(layer, offset, "fragment length is not a multiple of 8")
		return nil
	}
	at := f.find(key)
	entry := f.Table[at]
	if offset == 0 {
		entry.Proto = p.IPProto
	}
	if !more {
		if entry.Total != 0 && entry.Total != end {
			p.malformed(layer, offset, "fragments disagree about the end")
			return nil
		}
		entry.Total = end
	}
	if entry.Total != 0 && (end > entry.Total || len(entry.Data) > entry.Total) {
		p.malformed(layer, offset, "fragment lies behind the last one")
		f.drop(at)
		return nil
	}
	if !entry.put(offset, data) {
		p.malformed(layer, offset, "fragments overlap")
	}
	if len(entry.Parts) > maxParts {
		f.drop(at)
		return nil
	}
	if entry.Total == 0 || len(entry.Parts) != 1 || entry.Parts[0] != [2]int{0, entry.Total} {
		return nil
	}
	f.Table = slices.Delete(f.Table, at, at+1)
	p.IPProto = entry.Proto
	return entry.Data
}

// find gives the place of the key's datagram, made where it is new.
func (f *fragments) find(key fragmentKey) int {
	for i, entry := range f.Table {
		if entry.Key == key {
			return i
		}
	}
	if len(f.Table) >= maxDatagrams {
		f.drop(0)
	}
	f.Table = append(f.Table, &datagram{Key: key, Since: f.Now})
	return len(f.Table) - 1
}

func (f *fragments) drop(at int) {
	f.Table = slices.Delete(f.Table, at, at+1)
	f.Dropped++
}

func (f *fragments) expire(now time.Time) {
	if now.After(f.Now) {
		f.Now = now
	}
	for len(f.Table) > 0 && f.Now.Sub(f.Table[0].Since) > fragmentTimeout {
		f.drop(0)
	}
}

// put stores the bytes not there yet and reports whether those that were there already agree.
func (g *datagram) put(offset int, data []byte) bool {
	end := offset + len(data)
	if len(g.Data) < end {
		g.Data = append(g.Data, make([]byte, end-len(g.Data))...)
	}
	agree := true
	next := offset // everything of data before next is settled
	for _, part := range g.Parts {
		from, to := max(part[0], offset), min(part[1], end)
		if from >= to {
			continue
		}
		if next < from {
			copy(g.Data[next:from], data[next-offset:])
		}
		if !bytes.Equal(g.Data[from:to], data[from-offset:to-offset]) {
			agree = false
		}
		next = to
	}
	if next < end {
		copy(g.Data[next:end], data[next-offset:])
	}
	g.Parts = mergeRun(g.Parts, offset, end)
	return agree
}

// mergeRun adds [from, to) to sorted runs and joins those that touch.
func mergeRun(runs [][2]int, from, to int) [][2]int {
	first := 0
	for first < len(runs) && runs[first][1] < from {
		first++
	}
	last := first
	for last < len(runs) && runs[last][0] <= to {
		from, to = min(from, runs[last][0]), max(to, runs[last][1])
		last++
	}
	return slices.Replace(runs, first, last, [2]int{from, to})
}

// Snapshot gives the incomplete datagrams for a checkpoint.
func (d *Decoder) Snapshot() ([]byte, error) {
	data, err := json.Marshal(&d.frags)
	if err != nil {
		return nil, fmt.Errorf("store fragments: %w", err)
	}
	return data, nil
}

// Restore replaces the decoder's state by that of a Snapshot.
func (d *Decoder) Restore(data []byte) error {
	var frags fragments
	if err := json.Unmarshal(data, &frags); err != nil {
		return fmt.Errorf("restore fragments: %w", err)
	}
	for _, entry := range frags.Table {
		if entry == nil {
			return fmt.Errorf("restore fragments: empty entry")
		}
	}
	d.frags = frags
	return nil
}
