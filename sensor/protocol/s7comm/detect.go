package s7comm

import (
	"encoding/binary"

	"github.com/otus-project/otus/sensor/dissect"
)

// sight is what one direction of a probe looks like.
type sight struct {
	match  dissect.Match
	sender side // what the first telling message says of its sender
}

type side uint8

const (
	unknown side = iota
	client
	server
)

// detect: TPKT and COTP carry other protocols too (MMS, S7comm-plus), so only a data packet that begins with 0x32
// and a defined ROSCTR decides. The opening of a connection alone says nothing.
func detect(p dissect.Probe) dissect.Verdict {
	forward, backward := look(p.Forward, p.HandshakeSeen), look(p.Backward, p.HandshakeSeen)
	v := dissect.Verdict{Match: dissect.More}
	switch {
	case forward.match == dissect.No || backward.match == dissect.No:
		v.Match = dissect.No
	case forward.match == dissect.Strong || backward.match == dissect.Strong:
		v.Match = dissect.Strong
	}
	v.Swap = !p.HandshakeSeen && (forward.sender == server || forward.sender == unknown && backward.sender == client)
	return v
}

// look walks the packets of one direction up to the first that decides.
func look(b []byte, atStart bool) sight {
	if !atStart && len(b) >= tpktLen && tpktFault(b) != "" {
		skip, found := resync(b)
		if !found {
			return sight{match: dissect.More}
		}
		b = b[skip:]
	}
	s := sight{match: dissect.More}
	for len(b) >= tpktLen {
		if tpktFault(b) != "" {
			return sight{match: dissect.No}
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < tpktLen+3 {
			return s
		}
		header := int(b[tpktLen])
		if header < 2 || header > n-tpktLen-1 || cotpName(b[tpktLen+1]) == "" {
			return sight{match: dissect.No}
		}
		user := min(len(b), tpktLen+1+header)
		switch b[tpktLen+1] & 0xf0 {
		case cotpConnect:
			s.sender = client
		case cotpConfirm:
			s.sender = server
		case cotpData:
			if rest := b[user:min(n, len(b))]; len(rest) > 0 {
				return first(s, rest)
			}
		}
		if n > len(b) {
			return s
		}
		b = b[n:]
	}
	return s
}

// first judges the first S7 PDU.
func first(s sight, b []byte) sight {
	if b[0] != protocolS7 {
		return sight{match: dissect.No}
	}
	if len(b) < 2 {
		return s
	}
	function := -1
	if len(b) > 12 {
		function = int(b[10])
		if b[1] == 3 {
			function = int(b[12])
		}
	}
	sent := unknown
	switch b[1] {
	case 1:
		sent = client
		if function == fnDownloadBlock || function == fnDownloadEnded {
			sent = server
		}
	case 2, 3:
		sent = server
		if function == fnDownloadBlock || function == fnDownloadEnded {
			sent = client
		}
	case 7:
		if len(b) > 15 {
			sent = server
			if b[15]>>6 == 1 {
				sent = client
			}
		}
	default:
		return sight{match: dissect.No}
	}
	if s.sender == unknown {
		s.sender = sent
	}
	s.match = dissect.Strong
	return s
}
