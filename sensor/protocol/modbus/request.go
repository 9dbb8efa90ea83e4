package modbus

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/otus-project/otus/sensor/dissect"
)

// readRequest fills m from the body of a request.
func readRequest(m *dissect.Message, r *reader) {
	m.Operation = operation(m.Code, -1)
	if m.Code == 0 {
		m.Conditions = append(m.Conditions, dissect.CondFunctionZero)
	}
	if reserved(m.Code) {
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
	}
	switch m.Code {
	case 1, 2, 3, 4:
		start, _ := r.u16("starting address")
		count, ok := r.u16("quantity")
		if ok {
			target(m, space(m.Code), uint32(start), uint32(count), "")
		}
	case 5, 6:
		readSingle(m, r)
	case 15, 16:
		readMultiple(m, r)
	case codeDiagnostics:
		sub, ok := r.u16("sub-function")
		if !ok {
			return
		}
		m.Subcode = int(sub)
		m.Operation = operation(m.Code, m.Subcode)
		m.CodeName = diagnosticName(m.Subcode)
		m.Counters = append(m.Counters, dissect.Counter{Name: "diag_req", Key: strconv.Itoa(int(sub))})
		subCondition(m)
	case 20, 21:
		readFiles(m, r)
	case 22:
		at, _ := r.u16("reference address")
		and, _ := r.u16("and mask")
		or, ok := r.u16("or mask")
		if ok {
			target(m, "holding-register", uint32(at), 1, fmt.Sprintf("and 0x%04x or 0x%04x", and, or))
		}
	case 23:
		readReadWrite(m, r)
	case 24:
		if at, ok := r.u16("fifo pointer address"); ok {
			target(m, "fifo", uint32(at), 1, "")
		}
	case codeEncap:
		readEncapRequest(m, r)
	case codeUMAS:
		readUMASRequest(m, r)
	}
}

func subCondition(m *dissect.Message) {
	if reservedSub(m.Code, m.Subcode) {
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
	}
}

func diagnosticName(sub int) string {
	if n, ok := diagnosticNames[sub]; ok {
		return "diagnostics: " + n
	}
	return fmt.Sprintf("diagnostics: sub-function %d", sub)
}

// space is the table of the data model that a function addresses (4.3).
func space(code int) string {
	switch code {
	case 1, 5, 15:
		return "coil"
	case 2:
		return "discrete-input"
	case 4:
		return "input-register"
	}
	return "holding-register"
}

func target(m *dissect.Message, space string, start, count uint32, value string) {
	if len(m.Targets) < dissect.MaxTargets {
		m.Targets = append(m.Targets, dissect.Target{Space: space, Start: start, Count: count, Value: value})
	}
}

func readSingle(m *dissect.Message, r *reader) {
	at, _ := r.u16("address")
	value, ok := r.u16("value")
	if !ok {
		return
	}
	text := strconv.Itoa(int(value))
	if m.Code == 5 {
		switch value {
		case 0xff00:
			text = "on"
		case 0:
			text = "off"
		}
	}
	target(m, space(m.Code), uint32(at), 1, text)
}

func readMultiple(m *dissect.Message, r *reader) {
	start, _ := r.u16("starting address")
	count, ok := r.u16("quantity")
	if !ok {
		return
	}
	at := r.at
	data, ok := r.counted("values")
	text := coils(data, int(count))
	want := (int(count) + 7) / 8
	if m.Code == 16 {
		text, want = registers(data), 2*int(count)
	}
	target(m, space(m.Code), uint32(start), uint32(count), text)
	if ok && len(data) != want {
		r.fail(at, fmt.Sprintf("byte count %d does not suit the quantity %d", len(data), count))
	}
}

func readReadWrite(m *dissect.Message, r *reader) {
	readStart, _ := r.u16("read starting address")
	readCount, _ := r.u16("quantity to read")
	start, _ := r.u16("write starting address")
	count, ok := r.u16("quantity to write")
	if !ok {
		return
	}
	at := r.at
	data, ok := r.counted("values")
	target(m, "holding-register", uint32(start), uint32(count), registers(data))
	target(m, "holding-register", uint32(readStart), uint32(readCount), "")
	if ok && len(data) != 2*int(count) {
		r.fail(at, fmt.Sprintf("byte count %d does not suit the quantity %d", len(data), count))
	}
}

// readFiles reads the sub-requests of functions 20 and 21 (6.14, 6.15): reference type, file, record, length.
func readFiles(m *dissect.Message, r *reader) {
	body, ok := r.counted("sub-requests")
	if !ok {
		return
	}
	for at := 0; at < len(body); {
		if len(body)-at < 7 {
			r.fail(r.at-len(body)+at, "sub-request is shorter than 7 bytes")
			return
		}
		sub := body[at:]
		file, record, count := binary.BigEndian.Uint16(sub[1:]), binary.BigEndian.Uint16(sub[3:]), binary.BigEndian.Uint16(sub[5:])
		at += 7
		value := ""
		if m.Code == 21 {
			n := 2 * int(count)
			if n > len(body)-at {
				r.fail(r.at-len(body)+at, "record data is shorter than its length")
				return
			}
			value = registers(body[at : at+n])
			at += n
		}
		if len(m.Targets) < dissect.MaxTargets {
			m.Targets = append(m.Targets, dissect.Target{Space: "file", Instance: uint32(file), Start: uint32(record), Count: uint32(count), Value: value})
		}
	}
}

func readEncapRequest(m *dissect.Message, r *reader) {
	mei, ok := r.u8("mei type")
	if !ok {
		return
	}
	m.Subcode = int(mei)
	subCondition(m)
	if mei != meiIdentity {
		return
	}
	m.CodeName, m.Operation = "read device identification", dissect.OpDiscovery
	if _, ok := r.u8("read device id code"); !ok {
		return
	}
	if object, ok := r.u8("object id"); ok {
		target(m, "object", uint32(object), 1, "")
	}
}

// registers prints the first maxValues registers in decimal.
func registers(b []byte) string {
	var s strings.Builder
	for i := 0; i+2 <= len(b); i += 2 {
		if i > 0 {
			s.WriteByte(' ')
		}
		if i/2 == maxValues {
			s.WriteString("...")
			break
		}
		s.WriteString(strconv.Itoa(int(binary.BigEndian.Uint16(b[i:]))))
	}
	return s.String()
}

// coils prints the first 64 coils as 0 and 1, in the order of their addresses.
func coils(b []byte, count int) string {
	var s strings.Builder
	for i := 0; i < count && i/8 < len(b); i++ {
		if i == 64 {
			s.WriteString("...")
			break
		}
		s.WriteByte('0' + b[i/8]>>(i%8)&1)
	}
	return s.String()
}
