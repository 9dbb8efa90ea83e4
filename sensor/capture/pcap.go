package capture

import (
	"encoding/binary"
	"fmt"

	"github.com/otus-project/otus/sensor/packet"
)

// Magic numbers of the pcap format (draft-ietf-opsawg-pcap), as read in the file's own byte order.
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
)

// pcap reads the classic format.
type pcap struct {
	in     *counter
	order  binary.ByteOrder
	nano   bool
	link   packet.LinkType
	fcs    int // bytes of checksum behind each frame
	header [16]byte
	data   []byte
}

// pcapOrder gives the byte order and resolution that a magic number shows.
func pcapOrder(magic []byte) (order binary.ByteOrder, nano, known bool) {
	switch binary.LittleEndian.Uint32(magic) {
	case magicMicro:
		return binary.LittleEndian, false, true
	case magicNano:
		return binary.LittleEndian, true, true
	}
	switch binary.BigEndian.Uint32(magic) {
	case magicMicro:
		return binary.BigEndian, false, true
	case magicNano:
		return binary.BigEndian, true, true
	}
	return nil, false, false
}

// newPcap reads the rest of the file header behind its magic number.
func newPcap(in *counter, magic []byte) (*pcap, error) {
	p := &pcap{in: in}
	p.order, p.nano, _ = pcapOrder(magic)
	var header [20]byte
	if err := in.rest(header[:]); err != nil {
		return nil, err
	}
	if major := p.order.Uint16(header[0:]); major != 2 {
		return nil, in.damage(4, fmt.Sprintf("pcap version %d is not supported, want 2", major), nil)
	}
	link := p.order.Uint32(header[16:])
	p.link = packet.LinkType(link & 0xffff)
	if link&(1<<26) != 0 { // the upper bits tell the length of the frame check sequence, in 16-bit words
		p.fcs = int(link>>28) * 2
	}
	return p, nil
}

func (p *pcap) next(f *packet.Frame) error {
	start := p.in.offset
	if err := p.in.full(p.header[:]); err != nil {
		return err
	}
	seconds, fraction := uint64(p.order.Uint32(p.header[0:])), uint64(p.order.Uint32(p.header[4:]))
	captured, length := p.order.Uint32(p.header[8:]), p.order.Uint32(p.header[12:])
	if captured > maxFrame {
		return p.in.damage(start, fmt.Sprintf("a frame claims %d captured bytes, more than %d", captured, maxFrame), nil)
	}
	if !p.nano {
		fraction *= 1000
	}
	p.data = sized(p.data, int(captured))
	if err := p.in.rest(p.data); err != nil {
		return err
	}
	f.Time, f.Link, f.Data, f.Length = clock(seconds, fraction), p.link, p.data, clampLength(length, captured)
	trimFCS(f, p.fcs)
	return nil
}

// sized gives a slice of n bytes, the old one where it is large enough.
func sized(buffer []byte, n int) []byte {
	if cap(buffer) < n {
		return make([]byte, n, max(n, 2048))
	}
	return buffer[:n]
}

// clampLength keeps a lying length on the wire between what was captured and the largest frame.
func clampLength(length, captured uint32) int {
	return int(min(max(length, captured), maxFrame))
}

// trimFCS removes the frame check sequence, which is no part of what the decoder reads.
func trimFCS(f *packet.Frame, fcs int) {
	if fcs == 0 || f.Length < fcs {
		return
	}
	f.Length -= fcs
	f.Data = f.Data[:min(len(f.Data), f.Length)]
}
