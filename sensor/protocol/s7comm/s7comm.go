// Package s7comm reads Siemens S7 communication of the S7-300/400 family: TPKT (RFC 1006) and COTP (ISO 8073) below,
// jobs, acknowledgements and userdata above. In go the bytes of a flow, out come messages in the shared vocabulary: layer
// "cotp" for the opening and closing of a connection, "job" for jobs and their acknowledgements, "userdata" for the
// function groups (code is the group, subcode its function). S7comm-plus on the same port is not reported.
//
// Bounds: a TPKT packet is at most maxPacket bytes; an S7 PDU under COTP reassembly at most maxPDU bytes, one per direction;
// at most maxPending requests wait for their answer, the oldest is forgotten first; at most dissect.MaxTargets
// items, maxSZL records and maxValue bytes of a written value per message.
package s7comm

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	tpktLen    = 4
	maxPacket  = 8192 + tpktLen // the largest TPDU that COTP can negotiate
	maxPDU     = 16384
	maxPending = 64
	maxSZL     = 64
	maxValue   = 32
	protocolS7 = 0x32
	plusS7     = 0x72 // S7comm-plus
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{
	ID:        "s7comm",
	Name:      "Siemens S7",
	OT:        true,
	Ports:     []uint16{102},
	DetectTCP: detect,
	NewParser: func() dissect.Parser { return &Parser{} },
}

// Parser reads one flow. Its fields are its whole state.
type Parser struct {
	// Part is the beginning of an S7 PDU that COTP has not ended yet, by direction, and its bytes on the wire.
	Part     [2][]byte `json:"part"`
	PartSize [2]int    `json:"partSize"`
	Pending  []Pending `json:"pending,omitempty"`
	// Lost says that a packet boundary must be found again, by direction.
	Lost [2]bool `json:"lost"`
	// Synced says, by direction, that a whole packet was read: what stands before the first one may be the rest of a
	// packet that began before the capture, and breaks no rule.
	Synced [2]bool `json:"synced"`
	// Slot is the rack and slot that the client called, printed; "" while unknown.
	Slot string `json:"slot,omitempty"`
	// Ordered says that the order number was told, so that the module's type name does not replace it.
	Ordered bool `json:"ordered,omitempty"`
	// Typed says that the server's type was told.
	Typed bool `json:"typed,omitempty"`
}

// Pending is what is kept of a request until its answer comes.
type Pending struct {
	Direction dissect.Direction `json:"d"`
	Reference uint16            `json:"r"`
	Code      int               `json:"c"`
	Subcode   int               `json:"s"`
	Name      string            `json:"n,omitempty"`
	Layer     string            `json:"l"`
	Operation dissect.Operation `json:"o,omitempty"`
	Targets   []dissect.Target  `json:"g,omitempty"`
}

var _ dissect.Parser = (*Parser)(nil)

// Parse implements dissect.Parser.
func (p *Parser) Parse(s dissect.Segment, emit func(*dissect.Message)) int {
	side := s.Direction & 1
	if s.Gap > 0 {
		p.Lost[side], p.Part[side], p.PartSize[side] = true, nil, 0
	}
	used := 0
	for {
		b := s.Data[used:]
		if p.Lost[side] {
			skip, found := resync(b)
			used += skip
			if !found {
				return used
			}
			p.Lost[side] = false
			continue
		}
		if len(b) < tpktLen {
			return used
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if rule := tpktFault(b); rule != "" {
			if p.Synced[side] {
				emit(broken(s, 0, rule, tpktLen))
			}
			p.Lost[side], p.Part[side], p.PartSize[side] = true, nil, 0
			used++
			continue
		}
		if n > len(b) {
			return used
		}
		p.Synced[side] = true
		p.cotp(s, b[:n], emit)
		used += n
	}
}

// tpktFault names the rule that a TPKT header of at least four bytes breaks (RFC 1006, clause 6).
func tpktFault(b []byte) string {
	n := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] != 3:
		return fmt.Sprintf("tpkt version %d is not 3", b[0])
	case n < 7:
		return fmt.Sprintf("tpkt length %d is below 7", n)
	case n > maxPacket:
		return fmt.Sprintf("tpkt length %d exceeds %d", n, maxPacket)
	}
	return ""
}

// resync looks for a TPKT header with a COTP header behind it. Without a find it keeps the last six bytes.
func resync(b []byte) (int, bool) {
	for i := 0; i+tpktLen+3 <= len(b); i++ {
		if b[i] == 3 && b[i+1] == 0 && tpktFault(b[i:]) == "" && cotpName(b[i+5]) != "" &&
			int(b[i+4]) < int(binary.BigEndian.Uint16(b[i+2:])) {
			return i, true
		}
	}
	return max(0, len(b)-tpktLen-2), false
}

func broken(s dissect.Segment, offset int, rule string, size int) *dissect.Message {
	return &dissect.Message{
		Direction: s.Direction, Kind: dissect.Kind(s.Direction), Code: -1, Subcode: -1, CodeName: "unreadable", Layer: "cotp",
		Malformed: &packet.Malformed{Layer: "s7comm", Offset: offset, Rule: rule}, Size: size,
	}
}

// COTP packet types (ISO 8073, 13.1) with the low four bits cleared.
const (
	cotpConnect    = 0xe0
	cotpConfirm    = 0xd0
	cotpDisconnect = 0x80
	cotpData       = 0xf0
)

func cotpName(kind uint8) string {
	switch kind & 0xf0 {
	case cotpConnect:
		return "connection request"
	case cotpConfirm:
		return "connection confirm"
	case cotpDisconnect:
		return "disconnect request"
	case 0xc0:
		return "disconnect confirm"
	case cotpData:
		return "data"
	case 0x70:
		return "error"
	}
	return ""
}

// cotp reads one TPKT packet.
func (p *Parser) cotp(s dissect.Segment, b []byte, emit func(*dissect.Message)) {
	header := int(b[tpktLen])
	if header < 2 || tpktLen+1+header > len(b) {
		emit(broken(s, tpktLen, fmt.Sprintf("cotp header length %d does not fit", header), len(b)))
		return
	}
	kind := b[tpktLen+1]
	if kind&0xf0 != cotpData {
		p.connection(s, b, kind, emit)
		return
	}
	side := s.Direction & 1
	user := b[tpktLen+1+header:]
	size := p.PartSize[side] + len(b)
	if len(p.Part[side]) > 0 {
		user = append(p.Part[side], user...)
	}
	if b[tpktLen+2]&0x80 == 0 { // not the end of the PDU
		if len(user) > maxPDU {
			emit(broken(s, tpktLen, fmt.Sprintf("pdu exceeds %d bytes", maxPDU), len(b)))
			p.Part[side], p.PartSize[side] = nil, 0
			return
		}
		p.Part[side], p.PartSize[side] = append([]byte(nil), user...), size
		return
	}
	p.Part[side], p.PartSize[side] = nil, 0
	if len(user) == 0 || user[0] == plusS7 {
		return
	}
	if user[0] != protocolS7 {
		emit(broken(s, tpktLen+1+header, fmt.Sprintf("protocol id 0x%02x is not S7", user[0]), size))
		return
	}
	p.pdu(s, user, size, emit)
}

// connection reports the opening and closing of a COTP connection. The called transport selector of S7 names
// the kind of partner in its first byte, rack and slot in its second.
func (p *Parser) connection(s dissect.Segment, b []byte, kind uint8, emit func(*dissect.Message)) {
	m := &dissect.Message{
		Direction: s.Direction, Kind: dissect.Kind(s.Direction), Code: int(kind & 0xf0), Subcode: -1, Layer: "cotp",
		CodeName: cotpName(kind), Operation: dissect.OpSession, Size: len(b),
	}
	if m.CodeName == "" {
		m.CodeName = fmt.Sprintf("cotp packet 0x%02x", kind)
	}
	end := tpktLen + 1 + int(b[tpktLen])
	if kind&0xf0 == cotpConnect || kind&0xf0 == cotpConfirm {
		for at := tpktLen + 7; at+2 <= end; {
			name, n := b[at], int(b[at+1])
			at += 2
			if n > end-at {
				m.Malformed = &packet.Malformed{Layer: "s7comm", Offset: at - 1, Rule: "cotp parameter exceeds its header"}
				break
			}
			if name == 0xc2 && n == 2 && kind&0xf0 == cotpConnect {
				p.Slot = fmt.Sprintf("rack %d slot %d", b[at+1]>>5, b[at+1]&0x1f)
			}
			at += n
		}
	}
	m.Unit = p.Slot
	emit(m)
}

// pdu reads one S7 PDU: protocol, ROSCTR, redundancy, reference, parameter and data length, for answers an error.
func (p *Parser) pdu(s dissect.Segment, b []byte, size int, emit func(*dissect.Message)) {
	m := &dissect.Message{
		Direction: s.Direction, Kind: dissect.Kind(s.Direction), Code: -1, Subcode: -1, Layer: "job", CodeName: "unreadable",
		Unit: p.Slot, Size: size,
	}
	r := &reader{b: b, at: 1}
	defer func() {
		if r.fault != nil {
			m.Malformed = r.fault
			if r.cut {
				m.Counters = append(m.Counters, dissect.Counter{Name: "cut", Key: strconv.Itoa(m.Code)})
			}
		}
		emit(m)
	}()
	head, ok := r.take(9, "header")
	if !ok {
		return
	}
	kind := head[0]
	reference := binary.BigEndian.Uint16(head[3:])
	parameters, data := int(binary.BigEndian.Uint16(head[5:])), int(binary.BigEndian.Uint16(head[7:]))
	switch kind {
	case 1, 7:
	case 2, 3:
		failure, ok := r.take(2, "error code")
		if !ok {
			return
		}
		if code := int(binary.BigEndian.Uint16(failure)); code != 0 {
			m.Exception, m.ExceptionName = code, errorName(code)
		}
		m.Kind = dissect.Response
	default:
		r.fail(1, fmt.Sprintf("rosctr %d is not defined", kind))
		return
	}
	m.Counters = append(m.Counters, dissect.Counter{Name: "s7_rosctr", Key: strconv.Itoa(int(kind))})
	parameter, ok := r.part(parameters, "parameters")
	if !ok {
		p.label(m, kind, parameter)
		return
	}
	body, _ := r.part(data, "data")
	switch kind {
	case 1:
		m.Kind = dissect.Request
		p.job(m, parameter, body, reference)
	case 2, 3:
		p.acknowledge(m, kind, parameter, body, reference)
	case 7:
		p.userdata(m, parameter, body, reference)
	}
	if kind != 1 && m.Direction == dissect.FromServer && !p.Typed && m.Malformed == nil && m.Exception == 0 {
		p.Typed = true
		m.Identity = append(m.Identity, dissect.Fact{Server: true, Kind: dissect.FactType, Value: "PLC"})
	}
	if m.Malformed != nil {
		r.fault = m.Malformed
	}
}

// label gives a message cut within its parameters at least its code.
func (p *Parser) label(m *dissect.Message, kind uint8, parameter []byte) {
	if len(parameter) > 0 && kind != 7 {
		m.Code, m.CodeName = int(parameter[0]), jobName(int(parameter[0]))
	}
}

// asked remembers a request.
func (p *Parser) asked(m *dissect.Message, reference uint16) {
	if len(p.Pending) >= maxPending {
		p.Pending = append(p.Pending[:0], p.Pending[1:]...)
	}
	targets := make([]dissect.Target, 0, min(len(m.Targets), 8))
	for _, t := range m.Targets[:min(len(m.Targets), 8)] {
		t.Value = ""
		targets = append(targets, t)
	}
	p.Pending = append(p.Pending, Pending{
		Direction: m.Direction, Reference: reference, Code: m.Code, Subcode: m.Subcode, Name: m.CodeName, Layer: m.Layer,
		Operation: m.Operation, Targets: targets,
	})
}

// answered finds the request of an answer, forgets it and gives the answer its operation and targets.
func (p *Parser) answered(m *dissect.Message, reference uint16) *Pending {
	for i := range p.Pending {
		q := p.Pending[i]
		if q.Direction == m.Direction || q.Reference != reference || q.Layer != m.Layer {
			continue
		}
		p.Pending = append(p.Pending[:i], p.Pending[i+1:]...)
		m.Operation, m.Targets = q.Operation, q.Targets
		return &q
	}
	return nil
}

// reader walks a PDU; the first rule broken is kept.
type reader struct {
	b     []byte
	at    int
	fault *packet.Malformed
	cut   bool
}

func (r *reader) fail(at int, rule string) {
	if r.fault == nil {
		r.fault = &packet.Malformed{Layer: "s7comm", Offset: at, Rule: rule}
	}
}

func (r *reader) rest() int { return len(r.b) - r.at }

func (r *reader) take(n int, what string) ([]byte, bool) {
	b, ok := r.part(n, what)
	if !ok {
		return nil, false
	}
	return b, true
}

// part gives n bytes, or what is left of them and false.
func (r *reader) part(n int, what string) ([]byte, bool) {
	if n > r.rest() {
		b := r.b[r.at:]
		r.at = len(r.b)
		if r.fault == nil {
			r.fail(len(r.b), "pdu ends before its "+what)
			r.cut = true
		}
		return b, false
	}
	b := r.b[r.at : r.at+n]
	r.at += n
	return b, true
}
