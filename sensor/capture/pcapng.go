package capture

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// Block types of the pcapng format (draft-ietf-opsawg-pcapng clause 4).
const (
	blockSection   = 0x0a0d0d0a // reads the same in both byte orders
	blockInterface = 1
	blockOldPacket = 2
	blockSimple    = 3
	blockEnhanced  = 6
	byteOrderMagic = 0x1a2b3c4d
)

// Options of an interface description.
const (
	optionEnd        = 0
	optionResolution = 9
	optionFCS        = 13
	optionOffset     = 14
)

// pcapng reads the block format. Interfaces belong to their section.
type pcapng struct {
	in         *counter
	order      binary.ByteOrder
	interfaces []ngInterface
	last       time.Time // of the frame before: simple packets have none of their own
	header     [8]byte
	body       []byte
}

type ngInterface struct {
	link   packet.LinkType
	snap   uint32
	fcs    int
	offset int64 // seconds added to each time
	binary bool  // the resolution is a power of 2, not of 10
	power  uint  // its negative exponent
}

// newPcapng reads the first section header behind its block type.
func newPcapng(in *counter) (*pcapng, error) {
	p := &pcapng{in: in, last: clock(0, 0)}
	var length [4]byte
	if err := in.rest(length[:]); err != nil {
		return nil, err
	}
	return p, p.section(in.offset-8, length)
}

// section reads a section header whose type and length field were read.
func (p *pcapng) section(start int64, length [4]byte) error {
	var body [16]byte // byte-order magic, versions, section length
	if err := p.in.rest(body[:]); err != nil {
		return err
	}
	switch {
	case binary.LittleEndian.Uint32(body[:]) == byteOrderMagic:
		p.order = binary.LittleEndian
	case binary.BigEndian.Uint32(body[:]) == byteOrderMagic:
		p.order = binary.BigEndian
	default:
		return p.in.damage(start+8, "the section header has no byte-order magic", nil)
	}
	size := p.order.Uint32(length[:])
	if size < 28 || size%4 != 0 || size > maxBlock {
		return p.in.damage(start+4, fmt.Sprintf("the section header claims a length of %d bytes", size), nil)
	}
	if major := p.order.Uint16(body[4:]); major != 1 {
		return p.in.damage(start+12, fmt.Sprintf("pcapng version %d is not supported, want 1", major), nil)
	}
	p.interfaces = p.interfaces[:0]
	return p.in.skip(int64(size) - 24)
}

// next reads blocks up to the next packet.
func (p *pcapng) next(f *packet.Frame) error {
	for {
		start := p.in.offset
		if err := p.in.full(p.header[:]); err != nil {
			return err
		}
		kind := p.order.Uint32(p.header[:])
		if kind == blockSection {
			if err := p.section(start, [4]byte(p.header[4:])); err != nil {
				return err
			}
			continue
		}
		size := p.order.Uint32(p.header[4:])
		if size < 12 || size%4 != 0 || size > maxBlock {
			return p.in.damage(start+4, fmt.Sprintf("a block claims a length of %d bytes", size), nil)
		}
		switch kind {
		case blockInterface, blockEnhanced, blockSimple, blockOldPacket:
		default:
			if err := p.in.skip(int64(size) - 8); err != nil {
				return err
			}
			continue
		}
		if size > maxFrame+4096 { // the largest frame, its options and the block's own fields
			return p.in.damage(start+4, fmt.Sprintf("a packet block claims %d bytes, more than %d", size, maxFrame+4096), nil)
		}
		p.body = sized(p.body, int(size)-8)
		if err := p.in.rest(p.body); err != nil {
			return err
		}
		if again := p.order.Uint32(p.body[len(p.body)-4:]); again != size {
			return p.in.damage(start+int64(size)-4, fmt.Sprintf("the block length is %d in front and %d behind", size, again), nil)
		}
		found, reason := p.block(kind, p.body[:len(p.body)-4], f)
		if reason != "" {
			return p.in.damage(start, reason, nil)
		}
		if found {
			return nil
		}
	}
}

// block reads one block's body. found says that it was a packet; a reason, that it is damaged.
func (p *pcapng) block(kind uint32, body []byte, f *packet.Frame) (found bool, reason string) {
	switch kind {
	case blockInterface:
		return false, p.describe(body)
	case blockSimple:
		if len(body) < 4 {
			return false, "a simple packet block is too short"
		}
		if len(p.interfaces) == 0 {
			return false, "a packet comes before its interface"
		}
		of := &p.interfaces[0]
		length := p.order.Uint32(body)
		captured := length
		if of.snap > 0 {
			captured = min(captured, of.snap)
		}
		return p.frame(f, of, p.last, captured, length, body[4:])
	}
	if len(body) < 20 {
		return false, "a packet block is too short"
	}
	index := p.order.Uint32(body)
	if kind == blockOldPacket {
		index = uint32(p.order.Uint16(body)) // a count of drops follows
	}
	if int64(index) >= int64(len(p.interfaces)) {
		return false, fmt.Sprintf("a packet names interface %d of %d", index, len(p.interfaces))
	}
	of := &p.interfaces[index]
	units := uint64(p.order.Uint32(body[4:]))<<32 | uint64(p.order.Uint32(body[8:]))
	return p.frame(f, of, of.time(units), p.order.Uint32(body[12:]), p.order.Uint32(body[16:]), body[20:])
}

func (p *pcapng) frame(f *packet.Frame, of *ngInterface, t time.Time, captured, length uint32, data []byte) (bool, string) {
	if int64(captured) > int64(len(data)) || captured > maxFrame {
		return false, fmt.Sprintf("a frame claims %d captured bytes of a block with %d", captured, len(data))
	}
	p.last = t
	f.Time, f.Link, f.Data, f.Length = t, of.link, data[:captured], clampLength(length, captured)
	trimFCS(f, of.fcs)
	return true, ""
}

// describe reads an interface description block.
func (p *pcapng) describe(body []byte) string {
	if len(body) < 8 {
		return "an interface description is too short"
	}
	if len(p.interfaces) >= maxInterfaces {
		return fmt.Sprintf("more than %d interfaces", maxInterfaces)
	}
	of := ngInterface{link: packet.LinkType(p.order.Uint16(body)), snap: p.order.Uint32(body[4:]), power: 6}
	for options := body[8:]; len(options) >= 4; {
		code, size := p.order.Uint16(options), int(p.order.Uint16(options[2:]))
		padded := (size + 3) &^ 3
		if code == optionEnd {
			break
		}
		if 4+padded > len(options) {
			return "an interface option is longer than its block"
		}
		value := options[4 : 4+size]
		switch {
		case code == optionResolution && size == 1:
			of.binary, of.power = value[0]&0x80 != 0, uint(value[0]&0x7f)
		case code == optionFCS && size == 1 && value[0] <= 8:
			of.fcs = int(value[0])
		case code == optionOffset && size == 8:
			of.offset = int64(p.order.Uint64(value))
		}
		options = options[4+padded:]
	}
	if of.binary && of.power > 63 || !of.binary && of.power > 19 {
		return fmt.Sprintf("an interface has a time resolution that no clock has: 0x%02x", of.power)
	}
	p.interfaces = append(p.interfaces, of)
	return ""
}

// time gives the instant of a count of the interface's units.
func (i *ngInterface) time(units uint64) time.Time {
	var seconds, nanoseconds uint64
	if i.binary {
		seconds = units >> i.power
		high, low := bits.Mul64(units&(1<<i.power-1), 1_000_000_000)
		nanoseconds = high<<(64-i.power) | low>>i.power
		if i.power == 0 {
			nanoseconds = 0
		}
	} else {
		perSecond := uint64(1)
		for range i.power {
			perSecond *= 10
		}
		seconds = units / perSecond
		high, low := bits.Mul64(units%perSecond, 1_000_000_000)
		nanoseconds, _ = bits.Div64(high, low, perSecond)
	}
	return i.shifted(seconds, nanoseconds)
}

func (i *ngInterface) shifted(seconds, nanoseconds uint64) time.Time {
	if i.offset < 0 {
		back := uint64(-i.offset)
		if back > seconds {
			return clock(0, 0)
		}
		return clock(seconds-back, nanoseconds)
	}
	total := seconds + uint64(i.offset)
	if total < seconds {
		return newestTime
	}
	return clock(total, nanoseconds)
}
