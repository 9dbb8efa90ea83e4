// Package dns reads the Domain Name System (RFC 1035) over UDP and TCP, with mDNS (RFC 6762) and LLMNR (RFC 4795) as far
// as names and addresses go: which names are asked for, and which addresses are theirs.
//
// Bounds: a message is at most 65,535 bytes; of its records at most maxRecords are read, of a name maxName bytes and
// maxJumps compression pointers, each to an earlier byte; dissect.MaxTargets names and maxFacts facts a message.
package dns

import (
	"encoding/binary"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

const (
	headerSize = 12
	maxRecords = 256
	maxFacts   = 64
)

// Protocol describes this plug-in.
var Protocol = &dissect.Protocol{
	ID:        "dns",
	Name:      "DNS",
	Ports:     []uint16{53, 5353, 5355},
	DetectTCP: detectTCP,
	DetectUDP: detectUDP,
	NewParser: func() dissect.Parser { return &Parser{} },
}

// Flags of the header, and ports with a meaning.
const (
	flagResponse  = 0x8000
	flagTruncated = 0x0200
	rcodeMask     = 0x000f
	nameError     = 3 // RFC 1035 clause 4.1.1
)

// Parser reads one conversation.
type Parser struct {
	// Lost says that a message boundary must be found again, by direction.
	Lost [2]bool `json:"lost,omitzero"`
}

var _ dissect.Parser = (*Parser)(nil)

// Parse implements dissect.Parser. Over TCP each message stands behind its length (RFC 1035 clause 4.2.2).
func (p *Parser) Parse(s dissect.Segment, emit func(*dissect.Message)) int {
	if s.Datagram {
		emit(read(s.Direction, s.Data))
		return len(s.Data)
	}
	lost := &p.Lost[s.Direction&1]
	if s.Gap > 0 {
		*lost = true
	}
	used := 0
	for {
		rest := s.Data[used:]
		if *lost {
			// A message begins with a segment more often than not: look there, and skip the segment otherwise.
			if len(rest) < 2+headerSize {
				return len(s.Data)
			}
			if !plausible(rest[2:]) {
				return len(s.Data)
			}
			*lost = false
		}
		if len(rest) < 2 {
			return used
		}
		size := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+size {
			return used
		}
		emit(read(s.Direction, rest[2:2+size]))
		used += 2 + size
	}
}

var opcodes = map[int]string{0: "QUERY", 1: "IQUERY", 2: "STATUS", 4: "NOTIFY", 5: "UPDATE", 6: "DSO"}

var rcodes = map[int]string{
	1: "FORMERR", 2: "SERVFAIL", nameError: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET",
	9: "NOTAUTH", 10: "NOTZONE",
}

// read makes the message of one DNS message's bytes.
func read(direction dissect.Direction, data []byte) *dissect.Message {
	m := &dissect.Message{Direction: direction, Subcode: -1, Operation: dissect.OpNameQuery, Size: len(data)}
	if len(data) < headerSize {
		malformed(m, len(data), "message ends within its header")
		return m
	}
	flags := binary.BigEndian.Uint16(data[2:])
	m.Code = int(flags>>11) & 0xf
	m.CodeName = opcodes[m.Code]
	if m.CodeName == "" {
		m.Conditions = append(m.Conditions, dissect.CondReservedFunction)
	}
	questions := int(binary.BigEndian.Uint16(data[4:]))
	if flags&flagResponse != 0 {
		m.Kind = dissect.Response
		if questions == 0 {
			m.Kind = dissect.Unsolicited // what mDNS responders send answers no one question (RFC 6762 clause 6)
		}
		m.Exception = int(flags & rcodeMask)
		m.ExceptionName = rcodes[m.Exception]
		if m.Exception == nameError {
			m.Conditions = append(m.Conditions, dissect.CondNameNotFound)
		}
	}
	r := reader{data: data, at: headerSize}
	for i := range questions {
		q, ok := r.question()
		if !ok {
			malformed(m, r.at, r.fault)
			return m
		}
		if i == 0 {
			m.Subcode = int(q.kind)
			if name := kinds[q.kind]; name != "" && m.CodeName != "" {
				m.CodeName += " " + name
			}
		}
		if len(m.Names) < dissect.MaxTargets {
			m.Names = append(m.Names, q.name)
		}
		if i+1 >= maxRecords {
			malformed(m, 4, "more questions than any resolver asks")
			return m
		}
	}
	records := int(binary.BigEndian.Uint16(data[6:])) + int(binary.BigEndian.Uint16(data[8:])) + int(binary.BigEndian.Uint16(data[10:]))
	for i := range records {
		if i >= maxRecords {
			break
		}
		record, ok := r.record()
		if !ok {
			if flags&flagTruncated == 0 {
				malformed(m, r.at, r.fault)
			}
			return m
		}
		if m.Kind != dissect.Request {
			identify(m, &r, record)
		}
	}
	return m
}

func malformed(m *dissect.Message, offset int, rule string) {
	if m.Malformed == nil {
		m.Malformed = &packet.Malformed{Layer: "dns", Offset: offset, Rule: rule}
	}
}

// identify turns a record that ties a name to an address into a fact about the device at that address.
func identify(m *dissect.Message, r *reader, record resource) {
	if len(m.Identity) >= maxFacts {
		return
	}
	addr, name := record.address(r)
	if !addr.IsValid() || addr.IsUnspecified() || name == "" {
		return
	}
	m.Identity = append(m.Identity, dissect.Fact{Addr: addr, Kind: dissect.FactName, Value: name})
}
