package dnp3

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// application reads one application fragment (clause 4.2.2) and emits its message.
func (p *Parser) application(s dissect.Segment, f *frame, data []byte, size int, emit func(*dissect.Message)) {
	m := &dissect.Message{
		Direction: s.Direction, Kind: dissect.Request, Code: -1, Subcode: -1, Layer: "app",
		Unit: strconv.Itoa(int(f.outstation())), Size: size,
	}
	w := &walker{b: data, m: m}
	defer func() {
		if w.fault != nil {
			m.Malformed = w.fault
			m.Conditions = append(m.Conditions, formatCondition(m.Kind))
			if w.cut {
				m.Counters = append(m.Counters, dissect.Counter{Name: "cut", Key: strconv.Itoa(m.Code)})
			}
		}
		emit(m)
	}()
	if len(data) < 2 {
		m.CodeName = "unreadable"
		w.fail(len(data), "fragment ends before its function code", true)
		return
	}
	control := data[0]
	code := int(data[1])
	m.Code = code
	m.CodeName = fmt.Sprintf("function %d", code)
	if c := codeByNumber[code]; c != nil {
		m.CodeName, m.Operation = c.Name, c.Operation
	}
	w.at = 2
	switch {
	case code >= fnResponse && code <= fnAuthResponse:
		p.response(m, w, f, control)
	case code <= maxRequest:
		p.request(m, w, f, control)
	default:
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
		w.fail(1, fmt.Sprintf("function code %d is reserved", code), false)
	}
}

func formatCondition(k dissect.Kind) dissect.Condition {
	if k == dissect.Request {
		return dissect.CondIllegalOperation
	}
	return dissect.CondBadAnswerFormat
}

// request reads what a master sends.
func (p *Parser) request(m *dissect.Message, w *walker, f *frame, control uint8) {
	if !f.fromMaster() && m.Code != fnConfirm {
		w.fail(1, "request with the link direction of an outstation", false)
	}
	if control&0x20 != 0 && m.Code != fnConfirm {
		m.Conditions = append(m.Conditions, dissect.CondConfirmRequested)
	}
	switch m.Code {
	case fnInitData:
		m.Conditions = append(m.Conditions, dissect.CondObsoleteInitialize)
	case fnSaveConfig:
		m.Conditions = append(m.Conditions, dissect.CondObsoleteSaveConfig)
	}
	if m.Code == fnConfirm {
		return
	}
	w.data = carriesData(m.Code)
	if needsObjects(m.Code) && w.rest() == 0 {
		w.fail(len(w.b), fmt.Sprintf("%s without an object header", m.CodeName), true)
	}
	w.walk()
	switch m.Code {
	case fnWrite:
		m.Operation = writeOperation(w.groups)
	case fnOpenFile:
		if w.fileMode == 2 || w.fileMode == 3 {
			m.Operation = dissect.OpFileWrite
		}
	case fnRead:
		if w.class0 {
			m.Conditions = append(m.Conditions, dissect.CondIntegrityPoll)
		}
	case fnAuthRequest, fnAuthNoAck:
		if w.keyChange {
			m.Operation = dissect.OpPasswordChange
		}
	}
	if w.authError {
		m.Conditions = append(m.Conditions, dissect.CondAuthenticationFailed)
	}
	if f.destination >= broadcastLowest {
		return // no outstation answers a broadcast
	}
	if len(p.Pending) >= maxPending {
		p.Pending = append(p.Pending[:0], p.Pending[1:]...)
	}
	p.Pending = append(p.Pending, Pending{
		Master: f.source, Outstation: f.destination, Sequence: control & 0x0f, Code: m.Code, Operation: m.Operation,
	})
}

// response reads what an outstation sends: internal indications, then objects.
func (p *Parser) response(m *dissect.Message, w *walker, f *frame, control uint8) {
	m.Kind = dissect.Response
	if m.Code == fnUnsolicited {
		m.Kind = dissect.Unsolicited
	}
	if f.fromMaster() {
		w.fail(1, "response with the link direction of a master", false)
	}
	if m.Code != fnUnsolicited {
		p.answered(m, f, control&0x0f)
	}
	if !w.need(2, "internal indications") {
		return
	}
	indications(m, w.b[w.at], w.b[w.at+1])
	w.at += 2
	if !p.told(f.source) {
		m.Identity = append(m.Identity, fact(m, dissect.FactType, "RTU"))
	}
	w.data = true
	w.walk()
	if w.authError {
		m.Conditions = append(m.Conditions, dissect.CondAuthenticationFailed)
	}
}

// told reports whether the type of an outstation was told, and remembers that it now is.
func (p *Parser) told(address uint16) bool {
	for _, a := range p.Told {
		if a == address {
			return true
		}
	}
	if len(p.Told) < maxAssemblies {
		p.Told = append(p.Told, address)
		return false
	}
	return true
}

// answered gives a response its request's operation. Of a multi-fragment response only the first carries the request's
// sequence; the request is kept until the next one of its pair, for SELECT and OPERATE share one.
func (p *Parser) answered(m *dissect.Message, f *frame, sequence uint8) {
	for i := len(p.Pending) - 1; i >= 0; i-- {
		q := p.Pending[i]
		if q.Master == f.destination && q.Outstation == f.source && q.Sequence == sequence {
			m.Operation = q.Operation
			p.Pending = append(p.Pending[:i], p.Pending[i+1:]...)
			return
		}
	}
}

// indications turns the internal indications (clause 4.2.2.6) into conditions.
func indications(m *dissect.Message, first, second uint8) {
	add := func(bit bool, c dissect.Condition) {
		if bit {
			m.Conditions = append(m.Conditions, c)
		}
	}
	add(first&0x80 != 0, dissect.CondRestarted)
	add(first&0x40 != 0, dissect.CondDeviceTrouble)
	add(second&0x01 != 0, dissect.CondIllegalFunction)
	add(second&0x02 != 0, dissect.CondUnknownObject)
	add(second&0x04 != 0, dissect.CondParameterError)
	add(second&0x08 != 0, dissect.CondEventOverflow)
	add(second&0x20 != 0, dissect.CondConfigCorrupt)
	add(second&0xc0 != 0, dissect.CondReservedStatus)
	switch {
	case second&0x01 != 0:
		m.Exception, m.ExceptionName = 1, "function code not supported"
	case second&0x02 != 0:
		m.Exception, m.ExceptionName = 2, "object unknown"
	case second&0x04 != 0:
		m.Exception, m.ExceptionName = 3, "parameter error"
	}
	m.Counters = append(m.Counters, dissect.Counter{Name: "iin", Key: fmt.Sprintf("0x%02x%02x", first, second)})
}

// carriesData says whether the objects of a request come with their values (table 4-3), or as headers only.
func carriesData(code int) bool {
	switch {
	case code == fnRead, code >= fnFreezeFirst && code <= 10, code == fnAssignClass, code >= 20 && code <= 21:
		return false
	}
	return true
}

// needsObjects lists the functions that mean nothing without an object.
func needsObjects(code int) bool {
	switch code {
	case fnRead, fnWrite, 3, 4, 5, 6, fnAssignClass, fnOpenFile, 26, 27, 28:
		return true
	}
	return false
}

// writeOperation says what a write does by the groups it holds.
func writeOperation(groups []uint8) dissect.Operation {
	for _, g := range groups {
		switch g {
		case 50, 51:
			return dissect.OpTimeSet
		case 70:
			return dissect.OpFileWrite
		case 0, 34, 81, 82, 83, 85, 86, 87, 90, 91:
			return dissect.OpConfigWrite
		}
	}
	return dissect.OpWrite
}

func fact(m *dissect.Message, kind dissect.FactKind, value string) dissect.Fact {
	return dissect.Fact{Server: m.Direction == dissect.FromServer, Kind: kind, Value: value}
}

// walker goes through the object headers of a fragment.
type walker struct {
	b    []byte
	at   int
	m    *dissect.Message
	data bool // objects come with their values

	groups    []uint8
	class0    bool
	fileMode  uint16
	authError bool
	keyChange bool

	fault *packet.Malformed
	cut   bool
}

func (w *walker) rest() int { return len(w.b) - w.at }

func (w *walker) fail(at int, rule string, cut bool) {
	if w.fault == nil {
		w.fault = &packet.Malformed{Layer: "dnp3", Offset: at, Rule: rule}
		w.cut = cut
	}
}

// need reports that n more bytes are here; otherwise the fragment is cut.
func (w *walker) need(n int, what string) bool {
	if n <= w.rest() {
		return true
	}
	w.fail(len(w.b), "fragment ends before its "+what, true)
	w.at = len(w.b)
	return false
}

// uint reads n bytes little-endian, n of 1, 2, 4.
func (w *walker) uint(n int, what string) (uint32, bool) {
	if !w.need(n, what) {
		return 0, false
	}
	b := w.b[w.at:]
	w.at += n
	switch n {
	case 1:
		return uint32(b[0]), true
	case 2:
		return uint32(binary.LittleEndian.Uint16(b)), true
	}
	return binary.LittleEndian.Uint32(b), true
}
