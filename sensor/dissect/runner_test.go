package dissect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

var (
	client = dissecttest.NewHost("10.0.0.9", 40000)
	server = dissecttest.NewHost("10.0.0.5", 7000)
)

// situations are what can happen to a conversation on its way to the sensor. Each is a golden case, and each is also run
// with a restart after every frame.
var situations = map[string]func(w *dissecttest.Wire){
	"plain": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Reply([]byte("ok 1\n"))
		c.Close()
	},
	"vlan": func(w *dissecttest.Wire) {
		w.VLAN = 12
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		w.VLAN = 13 // another connection, although addresses and ports are equal
		w.Dial(client, server)
	},
	"three-segments-one-message": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("a"))
		c.Send([]byte("sk "))
		c.Send([]byte("1\nask 2\nas"))
		c.Send([]byte("k 3\n"))
	},
	"mid-stream-begins-with-response": func(w *dissecttest.Wire) {
		c := w.Connect(client, server)
		c.Reply([]byte("ok 1\n"))
		c.Send([]byte("ask 2\n"))
	},
	"response-first-on-unknown-port": func(w *dissecttest.Wire) {
		c := w.Connect(dissecttest.NewHost("10.0.0.9", 50000), dissecttest.NewHost("10.0.0.5", 50001))
		c.Reply([]byte("ok 1\n"))
		c.Send([]byte("ask 2\n"))
	},
	"out-of-order": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.SendAt(6, []byte("ask 2\n"))
		c.SendAt(12, []byte("ask 3\n"))
		c.SendAt(0, []byte("ask 1\n"))
		c.Seq[0] += 18
		c.Send([]byte("ask 4\n"))
	},
	"retransmission": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		w.Step = 300 * time.Millisecond
		c.SendAt(-6, []byte("ask 1\n"))
		c.Send([]byte("ask 2\n"))
	},
	"overlap-first-wins": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.SendAt(6, []byte("ask 3\n"))          // waits
		c.SendAt(2, []byte("k BAD\nask 4\n"))   // its middle is there already, with other bytes
		c.SendAt(0, []byte("ask 2\nXXXXXXXXX")) // fills the gap; the rest is there already
		c.Seq[0] += 15
		c.Send([]byte("end\n"))
	},
	"gap-given-up-after-acknowledgement": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\nask"))
		c.Seq[0] += 10 // never captured
		c.Send([]byte("ask 3\n"))
		c.AckClient()
		w.Now = w.Now.Add(30 * time.Millisecond)
		c.AckServer()
	},
	"gap-given-up-after-wait": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Seq[0] += 10
		c.SendAt(0, []byte("ask 3\n"))
		w.Now = w.Now.Add(1100 * time.Millisecond)
		other := dissecttest.NewHost("10.0.0.77", 1)
		w.UDP(other, client, []byte("x"))
	},
	"gap-given-up-at-reset": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Seq[0] += 10
		c.Send([]byte("ask 3\n"))
		c.Reset()
	},
	"gap-given-up-at-end-of-source": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Seq[0] += 10
		c.Send([]byte("ask 3\n"))
	},
	"gap-before-recognition": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("a"))
		c.Seq[0] += 10
		c.Send([]byte("ask 3\n"))
	},
	"last-segment-lost-before-fin": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Seq[0] += 10
		c.Close()
	},
	"one-sided": func(w *dissecttest.Wire) {
		c := w.Connect(client, server)
		for _, line := range []string{"ask 1\n", "ask 2\n", "ask 3\n", "ask 4\n", "ask 5\n"} {
			c.Send([]byte(line))
		}
	},
	"keep-alive": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		w.Step = 50 * time.Millisecond
		w.Segment(client, server, c.Seq[0]-1, c.Seq[1], packet.ACK, []byte{0})
		w.Segment(client, server, c.Seq[0]-1, c.Seq[1], packet.ACK, nil)
		c.AckClient()
		c.Send([]byte("ask 2\n"))
	},
	"keep-alive-mid-stream": func(w *dissecttest.Wire) {
		c := w.Connect(client, server)
		w.Segment(client, server, c.Seq[0]-1, c.Seq[1], packet.ACK, []byte{0})
		c.AckClient()
		c.Send([]byte("ask 2\n"))
	},
	"syn-with-data": func(w *dissecttest.Wire) {
		w.Segment(client, server, 99, 0, packet.SYN, []byte("ask 1\n"))
		w.Segment(server, client, 499, 106, packet.SYN|packet.ACK, nil)
		w.Segment(client, server, 106, 500, packet.ACK, []byte("ask 2\n"))
	},
	"sequence-wraps": func(w *dissecttest.Wire) {
		c := w.Connect(client, server)
		c.Seq[0] = 0xfffffff8
		c.Open()
		c.Send([]byte("ask 1\n"))
		c.SendAt(6, []byte("ask 3\n"))
		c.Send([]byte("ask 2\n"))
		c.Seq[0] += 6
		c.Send([]byte("ask 4\n"))
	},
	"port-reuse": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		d := w.Connect(client, server) // no FIN was captured
		d.Seq = [2]uint32{700000000, 900000000}
		d.Open()
		d.Send([]byte("ask 2\n"))
		d.Close()
		e := w.Connect(client, server)
		e.Seq = [2]uint32{100, 200}
		e.Open()
		e.Send([]byte("ask 3\n"))
	},
	"forged-syn-and-rst": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		w.Segment(client, server, 3000000000, 0, packet.SYN, nil)
		w.Segment(client, server, 3000000000, 0, packet.RST, nil)
		c.Send([]byte("ask 2\n"))
	},
	"refused": func(w *dissecttest.Wire) {
		w.Segment(client, server, 99, 0, packet.SYN, nil)
		w.Segment(server, client, 0, 100, packet.RST|packet.ACK, nil)
		w.Segment(client, server, 99, 0, packet.SYN, nil) // asked again: a straggler
	},
	"data-after-reset": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Reset()
		c.Reply([]byte("ok late\n")) // was on its way: no new connection
		c.Send([]byte("ask 2\n"))    // of the side that reset: the RST was forged
		c.Reply([]byte("ok 2\n"))
	},
	"far-off-sequence": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.SendAt(900000000, []byte("ask FORGED\n"))
		c.Send([]byte("ask 2\n"))
		c.Seq[0] += 800000000 // the opening of another connection was missed
		c.Send([]byte("ask 3\n"))
		c.Send([]byte("ask 4\n"))
	},
	"mirror-duplicates": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		c.Reply([]byte("no 1\n"))
		c.Close()
		var doubled []packet.Frame
		for _, f := range w.Frames {
			for range 2 {
				f.Index = uint64(len(doubled) + 1)
				doubled = append(doubled, f)
				f.Time = f.Time.Add(3 * time.Microsecond)
			}
		}
		w.Frames = doubled
	},
	"udp": func(w *dissecttest.Wire) {
		w.UDP(client, server, []byte("ask 1\n"))
		w.UDP(server, client, []byte("ok 1\n"))
		w.UDP(client, server, []byte("ask 2\nrest"))
	},
	"udp-response-first": func(w *dissecttest.Wire) {
		w.UDP(server, client, []byte("ok 1\n"))
		w.UDP(client, server, []byte("ask 2\n"))
	},
	"udp-equal-requests-are-no-duplicates": func(w *dissecttest.Wire) {
		for range 3 {
			w.UDP(client, server, []byte("ask 1\n"))
		}
	},
	"weak-with-port": func(w *dissecttest.Wire) {
		w.Dial(client, dissecttest.NewHost("10.0.0.5", 7100)).Send([]byte("anything\n"))
	},
	"weak-without-port": func(w *dissecttest.Wire) {
		w.Dial(client, dissecttest.NewHost("10.0.0.5", 7200)).Send([]byte("anything\n"))
	},
	"strong-on-weak-port": func(w *dissecttest.Wire) {
		w.Dial(client, dissecttest.NewHost("10.0.0.5", 7100)).Send([]byte("ask 1\n"))
	},
	"weak-waits-for-more": func(w *dissecttest.Wire) {
		c := w.Dial(client, dissecttest.NewHost("10.0.0.5", 7100))
		c.Send([]byte("as")) // could still become the toy
		w.Now = w.Now.Add(1500 * time.Millisecond)
		c.Send([]byte(" ever\n"))
	},
	"not-toy-on-toy-port": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("GET / HTTP/1.1\n"))
		c.Reply([]byte("HTTP/1.1 200\n"))
		c.Close()
	},
	"cut-by-capture": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\nask 2\n"))
		cut := &w.Frames[len(w.Frames)-1]
		cut.Data = cut.Data[:len(cut.Data)-4]
		c.Send([]byte("ask 3\n"))
	},
	"icmp": func(w *dissecttest.Wire) {
		w.IP(client, server, packet.ProtoICMP, []byte{8, 0, 0, 0, 0, 1, 0, 1})
		w.IP(server, client, packet.ProtoICMP, []byte{0, 0, 0, 0, 0, 1, 0, 1})
	},
	"idle": func(w *dissecttest.Wire) {
		w.Segment(client, server, 99, 0, packet.SYN, nil)
		w.Now = w.Now.Add(31 * time.Second)
		w.UDP(client, server, []byte("x"))
		w.Now = w.Now.Add(11 * time.Minute)
		w.UDP(client, dissecttest.NewHost("10.0.0.6", 7), []byte("x"))
	},
	"time-jumps": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("ask 1\n"))
		now := w.Now
		w.Now = now.Add(40 * 365 * 24 * time.Hour) // a corrupt time stamp ends what is idle by it
		w.UDP(dissecttest.NewHost("10.0.0.77", 1), client, []byte("x"))
		w.Now = now.Add(-time.Hour) // and must not keep the rest from being read
		c.Send([]byte("ask 2\n"))
		c.SendAt(6, []byte("ask 4\n"))
		c.Send([]byte("ask 3\n"))
		c.Seq[0] += 6
		c.Close()
	},
	"ipv6": func(w *dissecttest.Wire) {
		c := w.Dial(dissecttest.NewHost("fd00::9", 40000), dissecttest.NewHost("fd00::5", 7000))
		c.Send([]byte("ask 1\n"))
		c.Reply([]byte("ok 1\n"))
	},
}

func frames(situation func(*dissecttest.Wire)) []packet.Frame {
	w := dissecttest.NewWire()
	situation(w)
	return w.Frames
}

func TestSituations(t *testing.T) {
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			o := dissecttest.Options(t, toy, weak, below)
			f := frames(situation)
			golden.Check(t, name, dissecttest.Run(t, f, o, 0))
			dissecttest.CheckRestore(t, f, o, 1, 2, 3, 5)
		})
	}
}

func TestHostileFrames(t *testing.T) {
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			dissecttest.CheckHostile(t, frames(situation), dissecttest.Options(t, toy, weak, below))
		})
	}
}

// TestStats counts over all situations at once what single ones do not print.
func TestStats(t *testing.T) {
	for name, want := range map[string]dissect.Stats{
		"one-sided":          {OneSided: 1, Connections: 1},
		"mirror-duplicates":  {Duplicates: 8},
		"overlap-first-wins": {Overlaps: 16, Connections: 1},
		"refused":            {},
	} {
		r := dissecttest.NewRunner(t, toy)
		h := &dissecttest.Recorder{}
		for _, f := range frames(situations[name]) {
			r.Frame(&f, h)
		}
		got := r.Stats()
		got = dissect.Stats{OneSided: got.OneSided, Duplicates: got.Duplicates, Overlaps: got.Overlaps, Connections: got.Connections}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func TestPanicOfParserIsCaught(t *testing.T) {
	var caught []string
	r := dissect.NewRunner(dissect.Options{
		Protocols: []*dissect.Protocol{toy},
		OnPanic:   func(protocol string, value any, stack []byte) { caught = append(caught, protocol) },
	})
	h := &dissecttest.Recorder{Quiet: true}
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	c.Send([]byte("ask 1\npanic\nask 2\n"))
	c.Send([]byte("ask 3\n"))
	w.Dial(dissecttest.NewHost("10.0.0.10", 41000), server).Send([]byte("ask other\n"))
	for i := range w.Frames {
		r.Frame(&w.Frames[i], h)
	}
	s := r.Stats()
	if len(caught) != 1 || caught[0] != "toy" || s.PluginFailures != 1 {
		t.Errorf("caught %v, stats count %d, want one panic of toy", caught, s.PluginFailures)
	}
	if text := h.Text.String(); strings.Contains(text, "ask 3") || !strings.Contains(text, "ask other") {
		t.Errorf("the connection must end, and only it:\n%s", text)
	}
	if s.UndecodedBytes == 0 {
		t.Error("bytes behind the panic are not counted as undecoded")
	}
}

func TestTableIsBounded(t *testing.T) {
	r := dissect.NewRunner(dissect.Options{Protocols: []*dissect.Protocol{toy}, Limits: dissect.Limits{MaxConnections: 10}})
	h := &dissecttest.Recorder{}
	w := dissecttest.NewWire()
	c := w.Dial(client, server) // established: a scan must not drive it out
	c.Send([]byte("ask 1\n"))
	c.Reply([]byte("ok 1\n"))
	for port := range uint16(500) {
		w.Segment(dissecttest.NewHost("10.0.0.66", 1000+port), server, 1, 0, packet.SYN, nil)
	}
	c.Send([]byte("ask 2\n"))
	for i := range w.Frames {
		r.Frame(&w.Frames[i], h)
		if n := r.Stats().Connections; n > 10 {
			t.Fatalf("%d connections in a table of 10", n)
		}
	}
	// 501 connections, and each frame finds room for one more.
	if s := r.Stats(); s.Evicted != 492 {
		t.Errorf("evicted %d, want 492", s.Evicted)
	}
	if text := h.Text.String(); !strings.Contains(text, "ask 2") || strings.Contains(text, "closed 1 ") {
		t.Error("a scan drove out an established connection")
	}
}

func TestBuffersAreBounded(t *testing.T) {
	limits := dissect.Limits{MaxBuffered: 64 << 10, MaxPending: 16 << 10, MaxSegments: 8, MaxMessage: 4 << 10}
	r := dissect.NewRunner(dissect.Options{Protocols: []*dissect.Protocol{toy}, Limits: limits})
	h := &dissecttest.Recorder{Quiet: true}
	w := dissecttest.NewWire()
	block := []byte("ask " + strings.Repeat("x", 1000)) // a line without an end
	for host := range 100 {
		from := client
		from.Port += uint16(host)
		c := w.Dial(from, server)
		for range 10 {
			c.Send(block)
		}
		c.Seq[0] += 5
		for range 20 {
			c.Send(block)
		}
	}
	for i := range w.Frames {
		r.Frame(&w.Frames[i], h)
		if i%100 != 0 {
			continue
		}
		state, err := r.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if len(state) > 500<<10 { // 64 KiB as base64, 64 recent packets, and 1.5 KiB for each connection
			t.Fatalf("state of %d bytes after %d frames", len(state), i)
		}
	}
	if s := r.Stats(); s.UndecodedBytes == 0 || s.LostBytes == 0 {
		t.Errorf("what was dropped is not counted: %+v", s)
	}
}

func TestTickEndsWaits(t *testing.T) {
	r := dissecttest.NewRunner(t, toy)
	h := &dissecttest.Recorder{Quiet: true}
	w := dissecttest.NewWire()
	c := w.Dial(client, server)
	c.Send([]byte("ask 1\n"))
	c.Seq[0] += 10
	c.Send([]byte("ask 3\n"))
	for i := range w.Frames {
		r.Frame(&w.Frames[i], h)
	}
	if strings.Contains(h.Text.String(), "ask 3") {
		t.Fatal("a gap was given up at once")
	}
	r.Tick(w.Now.Add(2*time.Second), h)
	if !strings.Contains(h.Text.String(), "ask 3") {
		t.Error("a gap outlasted two silent seconds")
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	r := dissecttest.NewRunner(t, toy)
	for _, text := range []string{"", "{", `{"Decoder":{}, "Flows":[{"List":9}]}`, `{"Decoder":{},"Buffered":[7]}`} {
		if err := r.Restore([]byte(text)); err == nil {
			t.Errorf("restored from %q", text)
		}
	}
}
