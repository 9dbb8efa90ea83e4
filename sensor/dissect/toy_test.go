package dissect_test

import (
	"bytes"
	"strings"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// The toy protocol of these tests has a message per line: "ask ..." of clients, "ok ..." or "no ..." of servers.
var toy = &dissect.Protocol{
	ID: "toy", Name: "TOY", Ports: []uint16{7000},
	DetectTCP: detectToy, DetectUDP: detectToy,
	NewParser: func() dissect.Parser { return &toyParser{} },
}

// weak is like toy but sure only with its port.
var weak = &dissect.Protocol{
	ID: "weak", Name: "WEAK", Ports: []uint16{7100},
	DetectTCP: func(p dissect.Probe) dissect.Verdict {
		if v := detectToy(p); v.Match == dissect.Strong {
			return dissect.Verdict{Match: dissect.No}
		}
		return dissect.Verdict{Match: dissect.Weak}
	},
	NewParser: func() dissect.Parser { return &toyParser{} },
}

func detectToy(p dissect.Probe) dissect.Verdict {
	for i, data := range [][]byte{p.Forward, p.Backward} {
		switch {
		case len(data) == 0:
		case bytes.HasPrefix(data, []byte("ask ")):
			return dissect.Verdict{Match: dissect.Strong, Swap: i == 1}
		case bytes.HasPrefix(data, []byte("ok ")):
			return dissect.Verdict{Match: dissect.Strong, Swap: i == 0}
		case strings.HasPrefix("ask ", string(data)) || strings.HasPrefix("ok ", string(data)):
			return dissect.Verdict{Match: dissect.More}
		default:
			return dissect.Verdict{}
		}
	}
	return dissect.Verdict{Match: dissect.More}
}

type toyParser struct {
	Lines [2]int
	Lost  [2]bool
}

func (p *toyParser) Parse(s dissect.Segment, emit func(*dissect.Message)) int {
	used := 0
	if s.Gap > 0 {
		p.Lost[s.Direction] = true
	}
	for {
		end := bytes.IndexByte(s.Data[used:], '\n')
		if end < 0 {
			if s.Datagram {
				return len(s.Data)
			}
			return used
		}
		line := string(s.Data[used : used+end])
		used += end + 1
		p.Lines[s.Direction]++
		m := &dissect.Message{
			Direction: s.Direction, Kind: dissect.Kind(s.Direction), Code: p.Lines[s.Direction], Subcode: -1, CodeName: line,
			Size: len(line) + 1,
		}
		if p.Lost[s.Direction] {
			m.Layer, p.Lost[s.Direction] = "after-gap", false
		}
		switch {
		case line == "panic":
			panic("the toy was told to")
		case strings.HasPrefix(line, "no"):
			m.Exception, m.ExceptionName = 1, "no"
		}
		emit(m)
	}
}

// below reads ICMP, to test the protocols below TCP and UDP.
var below = &dissect.Protocol{
	ID: "below", Name: "BELOW",
	Packet: func(p *packet.Packet, emit func(*dissect.Message)) {
		if p.IPProto != packet.ProtoICMP {
			return
		}
		m := &dissect.Message{Code: int(p.ICMPType), Subcode: -1}
		if p.ICMPType == 0 {
			m.Direction, m.Kind = dissect.FromServer, dissect.Response
		}
		emit(m)
	},
}
