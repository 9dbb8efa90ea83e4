package dissect_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

// FuzzRunner reads its input as frames, each behind two bytes of length and one of milliseconds, and demands that neither
// a panic nor a difference comes of storing and restoring between any two frames.
func FuzzRunner(f *testing.F) {
	for _, situation := range situations {
		var seed []byte
		for _, frame := range frames(situation) {
			seed = binary.BigEndian.AppendUint16(seed, uint16(len(frame.Data)))
			seed = append(append(seed, 1), frame.Data...)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var frames []packet.Frame
		now := dissecttest.Start
		for len(input) >= 3 && len(frames) < 64 {
			size := min(int(binary.BigEndian.Uint16(input)), len(input)-3)
			now = now.Add(time.Duration(input[2]) * time.Millisecond)
			frames = append(frames, packet.Frame{
				Index: uint64(len(frames) + 1), Time: now, Link: packet.LinkEthernet, Data: input[3 : 3+size], Length: size,
			})
			input = input[3+size:]
		}
		o := dissecttest.Options(t, toy, weak, below)
		// The toy panics when told to, as the runner must bear.
		o.OnPanic = nil
		o.Limits = dissect.Limits{MaxConnections: 8, MaxSegments: 4, MaxPending: 4096, MaxBuffered: 8192, MaxMessage: 1024}
		dissecttest.CheckRestore(t, frames, o, 1)
	})
}
