package s7comm

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

func broke(m *dissect.Message, offset int, rule string) {
	if m.Malformed == nil {
		m.Malformed = &packet.Malformed{Layer: "s7comm", Offset: offset, Rule: rule}
	}
}

func count(m *dissect.Message, name, key string) {
	m.Counters = append(m.Counters, dissect.Counter{Name: name, Key: key})
}

// job reads ROSCTR 1.
func (p *Parser) job(m *dissect.Message, parameter, data []byte, reference uint16) {
	if len(parameter) == 0 {
		broke(m, 10, "job without a function code")
		return
	}
	m.Code = int(parameter[0])
	m.CodeName = jobName(m.Code)
	m.Operation = jobOperation(m.Code)
	count(m, "s7_func", fmt.Sprintf("job/0x%02x", m.Code))
	switch m.Code {
	case fnRead, fnWrite:
		if len(parameter) < 2 {
			broke(m, 10+len(parameter), "item count is missing")
			break
		}
		if rule := items(m, parameter[2:], int(parameter[1])); rule != "" {
			broke(m, 12, rule)
		}
		if m.Code == fnWrite {
			values(m, data)
		}
	case fnRequestDownload, fnDownloadBlock, fnDownloadEnded, fnStartUpload:
		if len(parameter) > 8 {
			blockNamed(m, within(parameter, 9, int(parameter[8])))
		}
	case fnPIService:
		p.programInvocation(m, parameter)
	case fnStop:
		if len(parameter) > 6 {
			service(m, within(parameter, 7, int(parameter[6])))
		}
	}
	p.asked(m, reference)
}

// acknowledge reads ROSCTR 2 and 3.
func (p *Parser) acknowledge(m *dissect.Message, kind uint8, parameter, data []byte, reference uint16) {
	pending := p.answered(m, reference)
	if pending != nil {
		m.Code, m.CodeName = pending.Code, pending.Name
	}
	if kind == 3 && len(parameter) > 0 {
		m.Code, m.CodeName = int(parameter[0]), jobName(int(parameter[0]))
		count(m, "s7_func", fmt.Sprintf("ack/0x%02x", m.Code))
	} else if pending == nil {
		m.CodeName = "acknowledgement"
	}
	if pending == nil {
		m.Operation = jobOperation(m.Code)
	}
	if m.Code == fnRead || m.Code == fnWrite {
		results(m, parameter, data)
	}
}

// results looks at the return code of each item; the first that failed becomes the exception.
func results(m *dissect.Message, parameter, data []byte) {
	if len(parameter) < 2 || m.Exception != 0 {
		return
	}
	at := 0
	for i := 0; i < int(parameter[1]) && at < len(data); i++ {
		code := data[at]
		if code != 0xff && m.Exception == 0 {
			m.Exception, m.ExceptionName = int(code), fmt.Sprintf("item %d: %s", i+1, itemError(code))
		}
		if m.Code == fnWrite {
			at++
			continue
		}
		if len(data)-at < 4 {
			return
		}
		n := valueLen(data[at+1], binary.BigEndian.Uint16(data[at+2:]))
		at += 4 + n + n%2
	}
}

// valueLen gives the bytes of a value: transports 3, 4 and 5 count bits, the others bytes.
func valueLen(transport uint8, length uint16) int {
	if transport >= 3 && transport <= 5 {
		return (int(length) + 7) / 8
	}
	return int(length)
}

// values gives the targets of a write what is written to them, in hex.
func values(m *dissect.Message, data []byte) {
	at := 0
	for i := range m.Targets {
		if len(data)-at < 4 {
			return
		}
		n := valueLen(data[at+1], binary.BigEndian.Uint16(data[at+2:]))
		at += 4
		if n > len(data)-at {
			broke(m, 10, "written value exceeds the data")
			return
		}
		m.Targets[i].Value = hex.EncodeToString(data[at : at+min(n, maxValue)])
		if n > maxValue {
			m.Targets[i].Value += "..."
		}
		at += n + n%2
	}
}

// items reads n variable specifications and returns the rule broken, if any.
func items(m *dissect.Message, b []byte, n int) string {
	at := 0
	for i := 0; i < n; i++ {
		if len(b)-at < 2 {
			return fmt.Sprintf("item %d of %d is missing", i+1, n)
		}
		if b[at] != 0x12 {
			return fmt.Sprintf("item %d: specification 0x%02x is not 0x12", i+1, b[at])
		}
		size := int(b[at+1])
		at += 2
		if size < 1 || size > len(b)-at {
			return fmt.Sprintf("item %d: length %d exceeds the parameters", i+1, size)
		}
		item(m, b[at:at+size])
		at += size
		if at%2 == 1 && i+1 < n { // items are filled to an even length
			at++
		}
	}
	return ""
}

// item reads one specification: any pointer (0x10) or a list of areas in data blocks (0xb0).
func item(m *dissect.Message, b []byte) {
	switch {
	case b[0] == 0x10 && len(b) >= 10:
		address := uint32(b[7])<<16 | uint32(b[8])<<8 | uint32(b[9])
		t := dissect.Target{
			Space: areaName(b[6]), Start: address >> 3, Count: uint32(binary.BigEndian.Uint16(b[2:])),
		}
		switch b[6] {
		case 0x84, 0x85:
			t.Instance = uint32(binary.BigEndian.Uint16(b[4:]))
		case 0x1c, 0x1d: // counters and timers are numbered, not addressed
			t.Start = address
		}
		target(m, t)
	case b[0] == 0xb0 && len(b) >= 2:
		for i, at := 0, 2; i < int(b[1]) && at+5 <= len(b); i, at = i+1, at+5 {
			target(m, dissect.Target{
				Space: "DB", Instance: uint32(binary.BigEndian.Uint16(b[at+1:])),
				Start: uint32(binary.BigEndian.Uint16(b[at+3:])), Count: uint32(b[at]),
			})
		}
	default:
		target(m, dissect.Target{Space: fmt.Sprintf("item of syntax 0x%02x", b[0]), Count: 1})
	}
}

func target(m *dissect.Message, t dissect.Target) {
	if len(m.Targets) < dissect.MaxTargets {
		m.Targets = append(m.Targets, t)
	}
}

// within gives n bytes from at, or what is left of them.
func within(b []byte, at, n int) []byte {
	if at >= len(b) {
		return nil
	}
	return b[at:min(len(b), at+n)]
}

// blockNamed reads a file name such as "_0A00001P": type, five digits, and the file system it lies in.
func blockNamed(m *dissect.Message, name []byte) {
	if len(name) == 9 && (name[0] == '_' || name[0] == '$') {
		block(m, string(name[1:]))
		return
	}
	if text := printable(name); text != "" && len(m.Names) < dissect.MaxTargets {
		m.Names = append(m.Names, text)
	}
}

// block reads the eight characters type, number and file system.
func block(m *dissect.Message, name string) {
	kind := blockType(name[:2])
	number, err := strconv.Atoi(name[2:7])
	if err != nil {
		return
	}
	target(m, dissect.Target{Space: "block", Instance: uint32(number), Count: 1, Value: fmt.Sprintf("%s%d", kind, number)})
	if len(m.Names) < dissect.MaxTargets {
		m.Names = append(m.Names, fmt.Sprintf("%s%d", kind, number))
	}
}

// programInvocation reads function 0x28: eight bytes, a parameter block with its length, the service's name.
func (p *Parser) programInvocation(m *dissect.Message, b []byte) {
	if len(b) < 10 {
		broke(m, 10+len(b), "pi service ends before its parameter block")
		return
	}
	n := int(binary.BigEndian.Uint16(b[8:]))
	if 10+n >= len(b) {
		broke(m, 18, fmt.Sprintf("parameter block of %d bytes exceeds the pi service", n))
		return
	}
	argument := b[10 : 10+n]
	name := printable(within(b, 11+n, int(b[10+n])))
	service(m, []byte(name))
	m.Operation = serviceOperation(name)
	switch name {
	case "_INSE", "_INS2", "_DELE":
		for i, at := 0, 2; len(argument) > 0 && i < int(argument[0]) && at+8 <= len(argument); i, at = i+1, at+8 {
			block(m, printable8(argument[at:at+8]))
		}
	}
}

func printable8(b []byte) string {
	text := []byte("00000000")
	copy(text, b)
	return string(text)
}

// service notes the name of a program invocation service.
func service(m *dissect.Message, name []byte) {
	text := printable(name)
	if text == "" {
		return
	}
	m.CodeName += " " + text
	if len(m.Names) < dissect.MaxTargets {
		m.Names = append(m.Names, text)
	}
	count(m, "s7_pi_service", text)
}

// printable gives the leading printable ASCII of b without surrounding blanks.
func printable(b []byte) string {
	n := 0
	for n < len(b) && b[n] >= 0x20 && b[n] < 0x7f {
		n++
	}
	return strings.TrimSpace(string(b[:n]))
}
