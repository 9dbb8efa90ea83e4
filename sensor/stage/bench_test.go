package stage_test

import (
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/packet"
	"github.com/otus-project/otus/sensor/stage"
)

// BenchmarkFrame measures one frame of learned polling, through all stages.
func BenchmarkFrame(b *testing.B) {
	p := newPlant(b, stage.Options{})
	c := p.Dial(hmi, plc, 502)
	poll := func() {
		c.Exchange(modbus(1, 3, 0, 0, 0, 10), modbus(1, append([]byte{3, 20}, make([]byte, 20)...)...))
		p.Wait(100 * time.Millisecond)
	}
	poll()
	p.feed()
	p.SetMode(event.ModeOperational)
	for b.Loop() {
		if len(p.Frames) == 0 {
			b.StopTimer()
			for range 1000 {
				poll()
			}
			b.StartTimer()
		}
		f := p.Frames[0]
		p.Frames = p.Frames[1:]
		p.frame++
		p.Stage.Frame(&packet.Frame{Index: p.frame, Time: f.Time, Link: packet.LinkEthernet, Data: f.Data, Length: len(f.Data)})
	}
}
