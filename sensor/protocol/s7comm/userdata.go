package s7comm

import (
	"encoding/binary"
	"fmt"

	"github.com/otus-project/otus/sensor/dissect"
)

// userdata reads ROSCTR 7. Its parameters are a head of three bytes, a length, a method, a byte with type (push,
// request, response) and group, the function, a sequence number, and for answers a unit reference, a flag that more
// follows and an error code.
func (p *Parser) userdata(m *dissect.Message, b, data []byte, reference uint16) {
	m.Layer = "userdata"
	if len(b) < 8 {
		broke(m, 10+len(b), "userdata parameters are shorter than 8 bytes")
		return
	}
	kind, group, function := b[5]>>4, int(b[5]&0x0f), int(b[6])
	m.Code, m.Subcode = group, function
	m.CodeName = userdataName(group, function)
	m.Operation = userdataOperation(group, function)
	word := fmt.Sprintf("type%d", kind)
	switch kind & 3 {
	case 0:
		word = [...]string{"push", "req", "rsp", word}[kind>>2]
	}
	subfunction := fmt.Sprint(function)
	if group == groupMode {
		subfunction = "?" // the byte is the new mode there, not a function
	}
	count(m, "s7_userdata", fmt.Sprintf("%s/g%d/s%s", word, group, subfunction))
	if len(b) >= 12 {
		if code := int(binary.BigEndian.Uint16(b[10:])); code != 0 && kind>>2 != 1 {
			m.Exception, m.ExceptionName = code, errorName(code)
		}
	}
	switch kind >> 2 {
	case 1:
		m.Kind = dissect.Request
		p.userdataRequest(m, data)
		p.asked(m, reference)
	case 2:
		m.Kind = dissect.Response
		operation := m.Operation
		pending := p.answered(m, reference)
		if pending == nil {
			m.Operation = operation
		}
		switch {
		case group == groupCPU && function == 1:
			p.systemStatus(m, data)
		case group == groupSecurity && function == 1 && m.Exception != 0:
			m.Conditions = append(m.Conditions, dissect.CondAuthenticationFailed)
		}
	default:
		m.Kind = dissect.Unsolicited
	}
}

// userdataRequest reads what a request names: an SZL, a block, items of a cyclic read.
func (p *Parser) userdataRequest(m *dissect.Message, data []byte) {
	if len(data) < 4 {
		return
	}
	body := within(data, 4, int(binary.BigEndian.Uint16(data[2:])))
	switch {
	case m.Code == groupCPU && m.Subcode == 1 && len(body) >= 4:
		id := binary.BigEndian.Uint16(body)
		target(m, dissect.Target{Space: "SZL", Instance: uint32(id), Start: uint32(binary.BigEndian.Uint16(body[2:])), Count: 1})
		if identifies(id) {
			m.Operation = dissect.OpDiscovery
		}
	case m.Code == groupBlock && m.Subcode == 3 && len(body) >= 8:
		block(m, printable8(body[:8]))
	case m.Code == groupCyclic && (m.Subcode == 1 || m.Subcode == 5 || m.Subcode == 7) && len(body) > 4:
		// item count, a time base and a factor, then the items
		if rule := items(m, body[4:], int(binary.BigEndian.Uint16(body))); rule != "" {
			broke(m, 18, rule)
		}
	}
}

// identifies tells the system status lists that say what the module is.
func identifies(id uint16) bool {
	return id&0xff == 0x11 || id&0xff == 0x1c
}

// systemStatus reads the answer to an SZL request: return code, transport, length, then id, index, record length,
// record count and records. A list may be cut into several answers: the records of the first are enough.
func (p *Parser) systemStatus(m *dissect.Message, data []byte) {
	if len(data) < 12 || data[0] != 0xff {
		return
	}
	id := binary.BigEndian.Uint16(data[4:])
	size, records := int(binary.BigEndian.Uint16(data[8:])), int(binary.BigEndian.Uint16(data[10:]))
	if size == 0 {
		return
	}
	for i, at := 0, 12; i < min(records, maxSZL) && at+size <= len(data); i, at = i+1, at+size {
		record := data[at : at+size]
		switch {
		case id&0xff == 0x11 && size >= 28:
			p.moduleRecord(m, record)
		case id&0xff == 0x1c && size >= 34:
			p.componentRecord(m, record)
		}
	}
}

func fact(m *dissect.Message, kind dissect.FactKind, value string) {
	if value != "" {
		m.Identity = append(m.Identity, dissect.Fact{Server: m.Direction == dissect.FromServer, Kind: kind, Value: value})
	}
}

// moduleRecord reads a record of SZL xy11: index, order number of 20 characters, module kind, two versions.
func (p *Parser) moduleRecord(m *dissect.Message, b []byte) {
	switch binary.BigEndian.Uint16(b) {
	case 1: // the module
		if order := printable(b[2:22]); order != "" {
			fact(m, dissect.FactVendor, "Siemens")
			fact(m, dissect.FactModel, order)
			p.Ordered = true
		}
	case 7: // its firmware: 'V' and three numbers
		if b[24] == 'V' {
			fact(m, dissect.FactFirmware, fmt.Sprintf("V%d.%d.%d", b[25], b[26], b[27]))
		}
	}
}

// componentRecord reads a record of SZL xy1C: index and 32 characters, of which 24 are text in most.
func (p *Parser) componentRecord(m *dissect.Message, b []byte) {
	text := printable(b[2:34])
	switch binary.BigEndian.Uint16(b) {
	case 2: // name of the module
		fact(m, dissect.FactName, text)
	case 5:
		fact(m, dissect.FactSerial, text)
	case 7: // type of the module
		if !p.Ordered {
			fact(m, dissect.FactModel, text)
		}
	}
}
