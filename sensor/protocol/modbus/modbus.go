// Package modbus reads Modbus/TCP (and the same messages over UDP): the MBAP header, the public function codes
// with what they address and write, exceptions, device identification, and Schneider's UMAS inside function 90.
// In go the bytes of a flow, out come messages in the shared vocabulary; a response carries its request's
// operation and targets.
//
// Bounds: one message is at most maxFrame bytes, MBAP header included (the specification allows 260; UMAS uses more);
// at most maxPending requests of a flow wait for their answer, the oldest is forgotten first; at most
// dissect.MaxTargets targets and maxValues printed values a message.
package modbus

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	headerLen  = 7    // MBAP header (Messaging on TCP/IP implementation guide v1.0b, 3.1.3): transaction, protocol, length, unit
	specLength = 254  // largest length field of the specification: unit and a PDU of 253 bytes
	maxLength  = 2048 // largest length field believed: UMAS negotiates PDUs of 1,022 bytes and more
	maxFrame   = 6 + maxLength
	maxPending = 64 // requests waiting for an answer; a client rarely has more than 16 under way
	maxValues  = 16 // written registers printed per message
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{
	ID:        "modbus",
	Name:      "MODBUS",
	OT:        true,
	Ports:     []uint16{502},
	DetectTCP: detectTCP,
	DetectUDP: detectUDP,
	NewParser: func() dissect.Parser { return &Parser{} },
}

// Parser reads one flow. Its fields are its whole state.
type Parser struct {
	// Pending are the requests without an answer yet, oldest first.
	Pending []Pending `json:"pending,omitempty"`
	// Lost says that a message boundary must be found again, by direction.
	Lost [2]bool `json:"lost"`
	// Synced says, by direction, that a whole message was read: what stands before the first one may be the rest of
	// a message that began before the capture, and breaks no rule.
	Synced [2]bool `json:"synced"`
}

// Pending is what is kept of a request until its response comes.
type Pending struct {
	Transaction uint16            `json:"t"`
	Unit        uint8             `json:"u"`
	Code        uint8             `json:"c"`
	Subcode     int               `json:"s"`
	Operation   dissect.Operation `json:"o,omitempty"`
	Targets     []dissect.Target  `json:"g,omitempty"`
}

var _ dissect.Parser = (*Parser)(nil)

// Parse implements dissect.Parser.
func (p *Parser) Parse(s dissect.Segment, emit func(*dissect.Message)) int {
	lost, synced := &p.Lost[s.Direction&1], &p.Synced[s.Direction&1]
	if s.Gap > 0 {
		*lost = true
	}
	used := 0
	for {
		b := s.Data[used:]
		if *lost {
			skip, found := resync(b)
			used += skip
			if !found {
				return used
			}
			*lost = false
			continue
		}
		if len(b) < headerLen+1 {
			if s.Datagram && len(b) > 0 {
				emit(malformed(s, b, 0, "datagram ends within the header"))
				return len(s.Data)
			}
			return used
		}
		n := 6 + int(binary.BigEndian.Uint16(b[4:]))
		if rule := headerFault(b); rule != "" {
			if *synced || s.Datagram {
				emit(malformed(s, b[:min(len(b), headerLen+1)], 2, rule))
			}
			*lost = true
			used++
			if s.Datagram {
				return len(s.Data)
			}
			continue
		}
		if n > len(b) {
			if s.Datagram {
				emit(malformed(s, b, 4, fmt.Sprintf("length field %d exceeds the datagram", n-6)))
				return len(s.Data)
			}
			return used
		}
		*synced = true
		emit(p.message(s, b[:n]))
		used += n
	}
}

// headerFault names the rule that an MBAP header of at least 8 bytes breaks, "" where it is sound enough to follow.
func headerFault(b []byte) string {
	length := int(binary.BigEndian.Uint16(b[4:]))
	switch {
	case binary.BigEndian.Uint16(b[2:]) != 0:
		return fmt.Sprintf("protocol identifier %d is not 0", binary.BigEndian.Uint16(b[2:]))
	case length < 2:
		return fmt.Sprintf("length field %d holds no function code", length)
	case length > maxLength:
		return fmt.Sprintf("length field %d exceeds %d", length, maxLength)
	}
	return ""
}

// resync looks for the next sound header: protocol 0, a length the specification allows, and, where the bytes
// behind it are here, a second sound header. It returns the bytes to skip; without a find it keeps the last seven.
func resync(b []byte) (int, bool) {
	for i := 0; i+headerLen+1 <= len(b); i++ {
		if headerFault(b[i:]) != "" || !plausible(b[i:]) {
			continue
		}
		next := i + 6 + int(binary.BigEndian.Uint16(b[i+4:]))
		if next == len(b) || next+headerLen+1 <= len(b) && headerFault(b[next:]) == "" ||
			next > len(b) || next < len(b) && next+headerLen+1 > len(b) {
			return i, true
		}
	}
	return max(0, len(b)-headerLen), false
}

// plausible reports a header whose length suits its function code. b holds at least 8 bytes.
func plausible(b []byte) bool {
	length, code := int(binary.BigEndian.Uint16(b[4:])), b[7]
	if length > specLength && code != codeUMAS {
		return false
	}
	if code&0x80 != 0 {
		return length <= 4 && name(int(code&0x7f)) != ""
	}
	return name(int(code)) != ""
}

// malformed makes a message of bytes whose header cannot be followed: they have no function code.
func malformed(s dissect.Segment, b []byte, offset int, rule string) *dissect.Message {
	return &dissect.Message{
		Direction: s.Direction, Kind: kind(s.Direction), Code: -1, Subcode: -1, CodeName: "unreadable",
		Malformed: &packet.Malformed{Layer: "modbus", Offset: offset, Rule: rule}, Size: len(b),
	}
}

func kind(d dissect.Direction) dissect.Kind {
	if d == dissect.FromServer {
		return dissect.Response
	}
	return dissect.Request
}

// message reads one whole frame.
func (p *Parser) message(s dissect.Segment, frame []byte) *dissect.Message {
	pdu := frame[headerLen:]
	code := pdu[0] & 0x7f
	m := &dissect.Message{
		Direction: s.Direction,
		Kind:      kind(s.Direction),
		Code:      int(code),
		Subcode:   -1,
		Unit:      strconv.Itoa(int(frame[6])),
		Size:      len(frame),
	}
	r := &reader{b: pdu, at: 1}
	switch {
	case pdu[0]&0x80 != 0:
		readException(m, r)
		if s.Direction == dissect.FromServer {
			p.answered(m, frame, false)
		} else {
			m.Conditions = append(m.Conditions, dissect.CondExceptionFromClient)
		}
	case s.Direction == dissect.FromServer:
		pending := p.answered(m, frame, true)
		readResponse(m, r, pending)
	default:
		readRequest(m, r)
		p.asked(m, frame)
	}
	name := name(int(code))
	if m.CodeName == "" {
		m.CodeName = name
	}
	if m.CodeName == "" {
		m.CodeName = fmt.Sprintf("function %d", code)
	}
	if length := len(frame) - 6; length > specLength && code != codeUMAS && r.fault == nil {
		r.fail(0, fmt.Sprintf("length field %d exceeds %d", length, specLength))
	}
	if r.fault != nil {
		m.Malformed = &packet.Malformed{Layer: "modbus", Offset: headerLen + r.fault.at, Rule: r.fault.rule}
		if r.fault.cut {
			m.Counters = append(m.Counters, dissect.Counter{Name: "cut", Key: strconv.Itoa(int(code))})
		}
	}
	return m
}

// asked remembers a request.
func (p *Parser) asked(m *dissect.Message, frame []byte) {
	if len(p.Pending) >= maxPending {
		p.Pending = append(p.Pending[:0], p.Pending[1:]...)
	}
	targets := make([]dissect.Target, 0, min(len(m.Targets), 4))
	for _, t := range m.Targets[:min(len(m.Targets), 4)] {
		t.Value = ""
		targets = append(targets, t)
	}
	p.Pending = append(p.Pending, Pending{
		Transaction: binary.BigEndian.Uint16(frame), Unit: frame[6], Code: uint8(m.Code), Subcode: m.Subcode,
		Operation: m.Operation, Targets: targets,
	})
}

// answered finds the request of a response, by transaction, unit and function, forgets it and gives the response
// its operation. The oldest matching one is taken: many clients leave the transaction at 0.
func (p *Parser) answered(m *dissect.Message, frame []byte, ok bool) *Pending {
	transaction := binary.BigEndian.Uint16(frame)
	for i := range p.Pending {
		q := p.Pending[i]
		if q.Transaction != transaction || q.Unit != frame[6] || int(q.Code) != m.Code {
			continue
		}
		p.Pending = append(p.Pending[:i], p.Pending[i+1:]...)
		m.Operation, m.Subcode, m.Targets = q.Operation, q.Subcode, q.Targets
		return &q
	}
	m.Operation = operation(m.Code, -1)
	if ok && reserved(m.Code) {
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
	}
	return nil
}

func readException(m *dissect.Message, r *reader) {
	code, ok := r.u8("exception code")
	if !ok {
		return
	}
	m.Exception = int(code)
	m.ExceptionName = exceptionName(int(code))
	if m.Direction != dissect.FromServer {
		return
	}
	switch code {
	case 1:
		m.Conditions = append(m.Conditions, dissect.CondIllegalFunction)
	case 2:
		m.Conditions = append(m.Conditions, dissect.CondIllegalAddress)
	case 3:
		m.Conditions = append(m.Conditions, dissect.CondIllegalValue)
	case 4:
		m.Conditions = append(m.Conditions, dissect.CondDeviceFailure)
	}
}

// reader walks one PDU. The first rule broken is kept; after it every read fails.
type reader struct {
	b     []byte
	at    int
	fault *fault
}

// fault is a broken rule at an offset of the PDU; cut says that the PDU ended before its fields did.
type fault struct {
	at   int
	rule string
	cut  bool
}

func (r *reader) fail(at int, rule string) {
	if r.fault == nil {
		r.fault = &fault{at: at, rule: rule}
	}
}

func (r *reader) rest() int { return len(r.b) - r.at }

func (r *reader) take(n int, what string) ([]byte, bool) {
	if r.fault != nil {
		return nil, false
	}
	if n > r.rest() {
		r.fault = &fault{at: len(r.b), rule: "message ends before its " + what, cut: true}
		return nil, false
	}
	b := r.b[r.at : r.at+n]
	r.at += n
	return b, true
}

func (r *reader) u8(what string) (uint8, bool) {
	b, ok := r.take(1, what)
	if !ok {
		return 0, false
	}
	return b[0], true
}

func (r *reader) u16(what string) (uint16, bool) {
	b, ok := r.take(2, what)
	if !ok {
		return 0, false
	}
	return binary.BigEndian.Uint16(b), true
}

// counted takes a byte count and exactly the bytes it announces, which must be all that is left.
func (r *reader) counted(what string) ([]byte, bool) {
	at := r.at
	n, ok := r.u8("byte count")
	if !ok {
		return nil, false
	}
	b, ok := r.take(int(n), what)
	if ok && r.rest() > 0 {
		r.fail(at, fmt.Sprintf("byte count %d but %d bytes follow", n, int(n)+r.rest()))
		return b, false
	}
	return b, ok
}
