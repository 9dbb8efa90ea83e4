package dissect_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

// silent is a Handler that does nothing.
type silent struct{}

func (silent) Packet(*packet.Packet, *dissect.Connection)    {}
func (silent) Opened(*dissect.Connection)                    {}
func (silent) Recognised(*dissect.Connection)                {}
func (silent) Closed(*dissect.Connection, string)            {}
func (silent) Message(*dissect.Message, *dissect.Connection) {}

// nothing parses without making messages, so that the benchmark shows the runner alone.
var nothing = &dissect.Protocol{
	ID: "nothing", Ports: []uint16{7000},
	DetectTCP: func(dissect.Probe) dissect.Verdict { return dissect.Verdict{Match: dissect.Strong} },
	NewParser: func() dissect.Parser { return &nothingParser{} },
}

type nothingParser struct{}

func (*nothingParser) Parse(s dissect.Segment, emit func(*dissect.Message)) int { return len(s.Data) }

// BenchmarkFrame polls 100 servers, each over its own connection: a request and its answer of 60 bytes.
func BenchmarkFrame(b *testing.B) {
	w := dissecttest.NewWire()
	w.Step = 10 * time.Microsecond
	body := make([]byte, 60)
	for host := range 100 {
		c := w.Dial(client, dissecttest.NewHost(fmt.Sprintf("10.0.1.%d", host), 7000))
		for range 50 {
			c.Send(body)
			c.Reply(body)
		}
	}
	r := dissect.NewRunner(dissect.Options{Protocols: []*dissect.Protocol{nothing}})
	var bytes int64
	for i := range w.Frames {
		bytes += int64(len(w.Frames[i].Data))
	}
	b.ReportAllocs()
	b.SetBytes(bytes / int64(len(w.Frames)))
	b.ResetTimer()
	for i := range b.N {
		if i > 0 && i%len(w.Frames) == 0 {
			b.StopTimer() // the same frames again would all be retransmissions
			r = dissect.NewRunner(dissect.Options{Protocols: []*dissect.Protocol{nothing}})
			b.StartTimer()
		}
		r.Frame(&w.Frames[i%len(w.Frames)], silent{})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
}

// BenchmarkSnapshot stores 1,000 open connections.
func BenchmarkSnapshot(b *testing.B) {
	r := dissect.NewRunner(dissect.Options{Protocols: []*dissect.Protocol{toy}})
	w := dissecttest.NewWire()
	w.Step = 0
	for port := range uint16(1000) {
		c := w.Dial(dissecttest.NewHost("10.0.0.9", 1000+port), server)
		c.Send([]byte("ask 1\n"))
		c.Reply([]byte("ok 1\n"))
	}
	for i := range w.Frames {
		r.Frame(&w.Frames[i], silent{})
	}
	b.ReportAllocs()
	for b.Loop() {
		state, err := r.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(state)))
	}
}
