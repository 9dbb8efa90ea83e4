package dnp3

import (
	"encoding/binary"

	"github.com/otus-project/otus/sensor/dissect"
)

// detect: a link header with its sixteen-bit checksum right is proof enough. A capture that begins mid-stream
// may begin within a frame, so the first sound header anywhere counts then.
func detect(p dissect.Probe) dissect.Verdict {
	forward, fromMaster := find(p.Forward, p.HandshakeSeen)
	if forward == dissect.Strong {
		return dissect.Verdict{Match: dissect.Strong, Swap: !p.HandshakeSeen && !fromMaster}
	}
	backward, fromMaster := find(p.Backward, p.HandshakeSeen)
	if backward == dissect.Strong {
		return dissect.Verdict{Match: dissect.Strong, Swap: !p.HandshakeSeen && fromMaster}
	}
	if forward == dissect.More || backward == dissect.More {
		return dissect.Verdict{Match: dissect.More}
	}
	return dissect.Verdict{Match: dissect.No}
}

// find looks for a sound link header, at the front only where the stream's start is known.
func find(b []byte, atStart bool) (match dissect.Match, fromMaster bool) {
	for i := 0; i < len(b); i++ {
		rest := b[i:]
		if rest[0] == 0x05 && (len(rest) < 2 || rest[1] == 0x64) {
			if len(rest) < headerLen {
				return dissect.More, false
			}
			if rest[2] >= 5 && crc(rest[:8]) == binary.LittleEndian.Uint16(rest[8:]) {
				return dissect.Strong, rest[3]&0x80 != 0
			}
		}
		if atStart {
			return dissect.No, false
		}
	}
	return dissect.More, false
}
