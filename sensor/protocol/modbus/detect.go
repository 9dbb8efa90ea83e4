package modbus

import (
	"encoding/binary"

	"github.com/otus-project/otus/sensor/dissect"
)

// sight is what one direction of a probe looks like.
type sight struct {
	frames    int  // whole sound frames
	broken    bool // a header that cannot be Modbus
	partial   bool // a sound header whose message is not whole yet
	requests  int  // frames that can only be requests
	responses int  // frames that can only be responses
	known     int  // frames of a known function with a body that suits it
	first     []byte
}

func look(b []byte) sight {
	var s sight
	for len(b) > 0 {
		if len(b) < headerLen+1 {
			s.partial = len(b) < 3 || b[2] == 0
			return s
		}
		length := int(binary.BigEndian.Uint16(b[4:]))
		if headerFault(b) != "" || length > specLength && b[7] != codeUMAS {
			s.broken = true
			return s
		}
		if len(b) < 6+length {
			s.partial = true
			return s
		}
		frame := b[:6+length]
		if s.first == nil {
			s.first = frame
		}
		s.frames++
		asRequest, asResponse := suits(frame)
		if asRequest || asResponse {
			s.known++
		}
		if asRequest && !asResponse {
			s.requests++
		}
		if asResponse && !asRequest {
			s.responses++
		}
		b = b[6+length:]
	}
	return s
}

// suits says whether a frame reads without a fault as a request and as a response.
func suits(frame []byte) (request, response bool) {
	pdu := frame[headerLen:]
	if pdu[0]&0x80 != 0 {
		return false, len(pdu) <= 3 && len(pdu) > 1 && pdu[1] > 0 && pdu[1] < 16
	}
	if name(int(pdu[0])) == "" {
		return false, false
	}
	m, r := &dissect.Message{Code: int(pdu[0]), Subcode: -1}, &reader{b: pdu, at: 1}
	readRequest(m, r)
	request = r.fault == nil && (r.rest() == 0 || pdu[0] == codeDiagnostics || pdu[0] == codeUMAS)
	m, r = &dissect.Message{Code: int(pdu[0]), Subcode: -1, Direction: dissect.FromServer}, &reader{b: pdu, at: 1}
	readResponse(m, r, nil)
	response = r.fault == nil && (r.rest() == 0 || pdu[0] == codeDiagnostics || pdu[0] == codeUMAS)
	return request, response
}

// detectTCP: one sound frame is weak evidence, for four zero bytes are common; a request with its answer, or
// three frames whose bodies suit their function, decide.
func detectTCP(p dissect.Probe) dissect.Verdict {
	forward, backward := look(p.Forward), look(p.Backward)
	if forward.broken && (p.HandshakeSeen || backward.broken || len(p.Backward) == 0) {
		return dissect.Verdict{Match: dissect.No}
	}
	if backward.broken {
		return dissect.Verdict{Match: dissect.No}
	}
	swap := !p.HandshakeSeen && (forward.responses > forward.requests || backward.requests > backward.responses) &&
		forward.requests == 0 && backward.responses == 0
	v := dissect.Verdict{Match: dissect.More, Swap: swap}
	pair := forward.first != nil && backward.first != nil &&
		string(forward.first[:2]) == string(backward.first[:2]) && forward.first[6] == backward.first[6] &&
		forward.first[7]&0x7f == backward.first[7]&0x7f
	switch {
	case pair && forward.known+backward.known > 0, forward.known+backward.known >= 3:
		v.Match = dissect.Strong
	case forward.frames+backward.frames > 0:
		v.Match = dissect.Weak
	}
	return v
}

// detectUDP: a datagram must be exactly one frame.
func detectUDP(p dissect.Probe) dissect.Verdict {
	for _, b := range [][]byte{p.Forward, p.Backward} {
		if len(b) == 0 {
			continue
		}
		if len(b) < headerLen+1 || headerFault(b) != "" || len(b) < 6+int(binary.BigEndian.Uint16(b[4:])) {
			return dissect.Verdict{Match: dissect.No}
		}
	}
	return detectTCP(p)
}
