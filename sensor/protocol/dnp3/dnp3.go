// Package dnp3 reads DNP3 (IEEE 1815-2012) over TCP and UDP: link frames with the checksum of every block,
// transport reassembly, and application fragments with their object headers, internal indications, file and
// authentication objects. In go the bytes of a flow, out come messages in the shared vocabulary: one per application
// fragment (layer "app") and one per link frame without user data (layer "link"). The unit is the
// outstation's link address.
//
// Bounds: a link frame is at most maxFrame bytes; an application fragment under reassembly at most maxFragment bytes and
// at most maxAssemblies of them per flow; at most maxPending requests wait for their answer, the oldest is forgotten first;
// at most maxHeaders object headers a fragment are walked.
package dnp3

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	headerLen     = 10  // start, length, control, destination, source, checksum (clause 9.2.4)
	maxFrame      = 292 // header, 250 bytes of user data and 16 checksums
	maxFragment   = 8192
	maxAssemblies = 8
	maxPending    = 32
	maxHeaders    = 1024
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{
	ID:        "dnp3",
	Name:      "DNP3",
	OT:        true,
	Ports:     []uint16{20000},
	DetectTCP: detect,
	DetectUDP: detect,
	NewParser: func() dissect.Parser { return &Parser{} },
}

// Parser reads one flow. Its fields are its whole state.
type Parser struct {
	Assemblies []Assembly `json:"assemblies,omitempty"`
	Pending    []Pending  `json:"pending,omitempty"`
	// Lost says, by direction, that the start of a frame is searched and the fault already told.
	Lost [2]bool `json:"lost"`
	// Synced says, by direction, that a whole frame was read: what stands before the first one may be the rest of a
	// frame that began before the capture, and breaks no rule.
	Synced [2]bool `json:"synced"`
	// Told lists the outstations whose type was told, at most maxAssemblies.
	Told []uint16 `json:"told,omitempty"`
}

// Assembly is one application fragment of which the first transport segments have come.
type Assembly struct {
	Direction   dissect.Direction `json:"d"`
	Destination uint16            `json:"to"`
	Source      uint16            `json:"from"`
	Next        uint8             `json:"next"` // transport sequence expected, modulo 64
	Size        int               `json:"size"` // bytes on the wire so far
	Data        []byte            `json:"data"`
}

// Pending is what is kept of a request until its response comes.
type Pending struct {
	Master     uint16            `json:"m"`
	Outstation uint16            `json:"o"`
	Sequence   uint8             `json:"s"`
	Code       int               `json:"c"`
	Operation  dissect.Operation `json:"op,omitempty"`
}

var _ dissect.Parser = (*Parser)(nil)

// frame is one link frame.
type frame struct {
	control             uint8
	destination, source uint16
	user                []byte // user data without checksums
	size                int    // bytes on the wire
	badBlock            int    // 1-based number of the first data block whose checksum is wrong, 0 for none
}

func (f *frame) fromMaster() bool { return f.control&0x80 != 0 }
func (f *frame) primary() bool    { return f.control&0x40 != 0 }
func (f *frame) function() int    { return int(f.control & 0x0f) }

// outstation is the link address of the outstation's side.
func (f *frame) outstation() uint16 {
	if f.fromMaster() {
		return f.destination
	}
	return f.source
}

// Parse implements dissect.Parser.
func (p *Parser) Parse(s dissect.Segment, emit func(*dissect.Message)) int {
	lost, synced := &p.Lost[s.Direction&1], &p.Synced[s.Direction&1]
	if s.Gap > 0 {
		*lost = true
		p.forget(s.Direction)
	}
	used := 0
	for {
		b := s.Data[used:]
		if len(b) == 0 || len(b) < headerLen && !s.Datagram {
			return used
		}
		if rule, at := headerFault(b); rule != "" {
			if !*lost && (*synced || s.Datagram) {
				emit(broken(s, b, at, rule))
			}
			*lost = true
			skip := nextStart(b)
			used += skip
			if len(s.Data)-used < headerLen {
				if s.Datagram {
					return len(s.Data)
				}
				return used
			}
			continue
		}
		n := frameLen(b[2])
		if len(b) < n {
			if s.Datagram {
				emit(broken(s, b, 2, fmt.Sprintf("length %d exceeds the datagram", b[2])))
				return len(s.Data)
			}
			return used
		}
		*lost, *synced = false, true
		p.link(s, readFrame(b[:n]), emit)
		used += n
	}
}

// headerFault names the rule a link header breaks and where; "" for a sound one.
func headerFault(b []byte) (string, int) {
	switch {
	case b[0] != 0x05:
		return "frame does not begin with 05 64", 0
	case len(b) < headerLen:
		return "datagram ends within the link header", len(b)
	case b[1] != 0x64:
		return "frame does not begin with 05 64", 1
	case b[2] < 5:
		return fmt.Sprintf("length %d is below 5", b[2]), 2
	case crc(b[:8]) != binary.LittleEndian.Uint16(b[8:]):
		return "checksum of the link header is wrong", 8
	}
	return "", 0
}

// nextStart gives the offset of the next possible frame start behind the first byte.
func nextStart(b []byte) int {
	for i := 1; i < len(b); i++ {
		if b[i] == 0x05 && (i+1 == len(b) || b[i+1] == 0x64) {
			return i
		}
	}
	return len(b)
}

// frameLen gives the bytes on the wire of a frame with this length field.
func frameLen(length uint8) int {
	user := int(length) - 5
	return headerLen + user + 2*((user+15)/16)
}

// readFrame takes the blocks out of a whole frame with a sound header.
func readFrame(b []byte) *frame {
	f := &frame{
		control: b[3], destination: binary.LittleEndian.Uint16(b[4:]), source: binary.LittleEndian.Uint16(b[6:]), size: len(b),
	}
	f.user = make([]byte, 0, int(b[2])-5)
	block := 0
	for rest := b[headerLen:]; len(rest) > 2; {
		block++
		n := min(16, len(rest)-2)
		if f.badBlock == 0 && crc(rest[:n]) != binary.LittleEndian.Uint16(rest[n:]) {
			f.badBlock = block
		}
		f.user = append(f.user, rest[:n]...)
		rest = rest[n+2:]
	}
	return f
}

func broken(s dissect.Segment, b []byte, offset int, rule string) *dissect.Message {
	return &dissect.Message{
		Direction: s.Direction, Kind: dissect.Kind(s.Direction), Code: -1, Subcode: -1, CodeName: "unreadable", Layer: "link",
		Malformed: &packet.Malformed{Layer: "dnp3", Offset: offset, Rule: rule}, Size: min(len(b), headerLen),
	}
}

// link handles one frame: user data goes to the transport function, the rest becomes a message of layer "link".
func (p *Parser) link(s dissect.Segment, f *frame, emit func(*dissect.Message)) {
	if f.badBlock == 0 && f.primary() && (f.function() == 3 || f.function() == 4) && len(f.user) > 0 {
		p.transport(s, f, emit)
		return
	}
	m := &dissect.Message{
		Direction: s.Direction, Kind: dissect.Response, Code: f.function(), Subcode: -1, Layer: "link",
		CodeName: linkName(f.primary(), f.function()), Operation: dissect.OpSession,
		Unit: strconv.Itoa(int(f.outstation())), Size: f.size,
	}
	if f.primary() {
		m.Kind = dissect.Request
	}
	switch {
	case f.badBlock > 0:
		m.Malformed = &packet.Malformed{Layer: "dnp3", Offset: headerLen + 18*(f.badBlock-1),
			Rule: fmt.Sprintf("checksum of data block %d is wrong", f.badBlock)}
	case f.primary() && (f.function() == 3 || f.function() == 4):
		m.Malformed = &packet.Malformed{Layer: "dnp3", Offset: 2, Rule: "user data frame without user data"}
	case m.CodeName == "":
		m.Malformed = &packet.Malformed{Layer: "dnp3", Offset: 3, Rule: fmt.Sprintf("link function %d is reserved", f.function())}
	}
	if m.CodeName == "" {
		m.CodeName = fmt.Sprintf("link function %d", f.function())
	}
	emit(m)
}

// transport puts the application fragment together (clause 8.2): FIR begins it, sequence numbers follow each
// other, FIN ends it. A segment out of sequence drops what came before, as the specification demands.
func (p *Parser) transport(s dissect.Segment, f *frame, emit func(*dissect.Message)) {
	control := f.user[0]
	final, first, sequence := control&0x80 != 0, control&0x40 != 0, control&0x3f
	at := p.assembly(s.Direction, f)
	if first {
		if at >= 0 {
			p.drop(at)
		}
		if final {
			p.application(s, f, f.user[1:], f.size, emit)
			return
		}
		if len(p.Assemblies) >= maxAssemblies {
			p.drop(0)
		}
		p.Assemblies = append(p.Assemblies, Assembly{
			Direction: s.Direction, Destination: f.destination, Source: f.source, Next: (sequence + 1) & 0x3f,
			Size: f.size, Data: append([]byte(nil), f.user[1:]...),
		})
		return
	}
	if at < 0 {
		return
	}
	a := &p.Assemblies[at]
	if sequence != a.Next || len(a.Data)+len(f.user) > maxFragment {
		p.drop(at)
		return
	}
	a.Data, a.Size, a.Next = append(a.Data, f.user[1:]...), a.Size+f.size, (sequence+1)&0x3f
	if final {
		data, size := a.Data, a.Size
		p.drop(at)
		p.application(s, f, data, size, emit)
	}
}

func (p *Parser) assembly(d dissect.Direction, f *frame) int {
	for i, a := range p.Assemblies {
		if a.Direction == d && a.Destination == f.destination && a.Source == f.source {
			return i
		}
	}
	return -1
}

func (p *Parser) drop(i int) { p.Assemblies = append(p.Assemblies[:i], p.Assemblies[i+1:]...) }

// forget drops what was under reassembly in a direction.
func (p *Parser) forget(d dissect.Direction) {
	for i := len(p.Assemblies) - 1; i >= 0; i-- {
		if p.Assemblies[i].Direction == d {
			p.drop(i)
		}
	}
}

// crc is the checksum of clause 9.2.5: polynomial 0x3d65, reflected, complemented.
func crc(b []byte) uint16 {
	var c uint16
	for _, x := range b {
		c = c>>8 ^ crcTable[uint8(c)^x]
	}
	return ^c
}

var crcTable = func() (table [256]uint16) {
	for i := range table {
		c := uint16(i)
		for range 8 {
			if c&1 == 1 {
				c = c>>1 ^ 0xa6bc
			} else {
				c >>= 1
			}
		}
		table[i] = c
	}
	return table
}()
