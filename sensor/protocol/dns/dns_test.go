package dns

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
)

var (
	client    = dissecttest.NewHost("10.0.0.9", 40000)
	server    = dissecttest.NewHost("10.0.0.1", 53)
	responder = dissecttest.NewHost("10.0.0.5", 5353)
	multicast = dissecttest.NewHost("224.0.0.251", 5353)
)

// message is a header with counts of questions and answers, and the given sections.
func message(flags, questions, answers uint16, sections ...[]byte) []byte {
	b := []byte{0x12, 0x34}
	for _, field := range []uint16{flags, questions, answers, 0, 0} {
		b = binary.BigEndian.AppendUint16(b, field)
	}
	for _, s := range sections {
		b = append(b, s...)
	}
	return b
}

func name(text string) []byte {
	var b []byte
	for label := range strings.SplitSeq(text, ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	return append(b, 0)
}

func ask(text string, kind uint16) []byte {
	b := binary.BigEndian.AppendUint16(name(text), kind)
	return binary.BigEndian.AppendUint16(b, 1)
}

func answer(owner []byte, kind, class uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(append([]byte{}, owner...), kind)
	b = binary.BigEndian.AppendUint16(b, class)
	b = binary.BigEndian.AppendUint32(b, 60)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

var (
	first = []byte{0xc0, 12} // pointer to the first question's name
	ip5   = []byte{10, 0, 0, 5}
)

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

var situations = map[string]func(w *dissecttest.Wire){
	"query-and-answer": func(w *dissecttest.Wire) {
		w.UDP(client, server, message(0x0100, 1, 0, ask("plc.plant.example", 1)))
		w.UDP(server, client, message(0x8180, 1, 2, ask("plc.plant.example", 1),
			answer(first, 5, 1, name("plc-7.plant.example")), answer(name("plc-7.plant.example"), 1, 1, ip5)))
	},
	"no-such-name": func(w *dissecttest.Wire) {
		w.UDP(client, server, message(0x0100, 1, 0, ask("kill.switch.example", 1)))
		w.UDP(server, client, message(0x8183, 1, 0, ask("kill.switch.example", 1)))
	},
	"answer-first": func(w *dissecttest.Wire) {
		w.UDP(server, client, message(0x8180, 1, 1, ask("plc.example", 1), answer(first, 1, 1, ip5)))
	},
	"reverse": func(w *dissecttest.Wire) {
		v6 := "5." + strings.Repeat("0.", 27) + "0.0.d.f.ip6.arpa"
		w.UDP(server, client, message(0x8180, 2, 2, ask("5.0.0.10.in-addr.arpa", 12), ask(v6, 12),
			answer(first, 12, 1, name("plc-7.plant.example")), answer(name(v6), 12, 1, name("plc-6.plant.example"))))
	},
	"mdns-announcement": func(w *dissecttest.Wire) {
		w.UDP(responder, multicast, message(0x8400, 0, 2, answer(name("hmi.local"), 1, 0x8001, ip5),
			answer(name("hmi.local"), 28, 0x8001, []byte{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5})))
	},
	"tcp-two-messages-one-segment": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		both := append(framed(message(0, 1, 0, ask("a.example", 1))), framed(message(0, 1, 0, ask("b.example", 252)))...)
		c.Send(both[:20])
		c.Send(both[20:])
		c.Reply(framed(message(0x8185, 1, 0, ask("b.example", 252))))
	},
	"tcp-after-gap": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(framed(message(0, 1, 0, ask("a.example", 1))))
		c.Seq[0] += 30
		c.Send([]byte("the middle of some message"))
		c.Send(framed(message(0, 1, 0, ask("c.example", 1))))
	},
	"pointer-loop": func(w *dissecttest.Wire) {
		w.UDP(client, server, message(0x0100, 1, 0, []byte{0xc0, 12, 0, 1, 0, 1}))
	},
	"record-exceeds-message": func(w *dissecttest.Wire) {
		b := message(0x8180, 1, 1, ask("plc.example", 1), answer(first, 1, 1, ip5))
		w.UDP(server, client, b[:len(b)-2])
	},
	"unprintable-name": func(w *dissecttest.Wire) {
		w.UDP(client, server, message(0x0100, 1, 0, []byte{4, 'a', '.', 0, 0xff, 0, 0, 1, 0, 1}))
	},
	"unknown-opcode": func(w *dissecttest.Wire) {
		w.UDP(client, server, message(0, 1, 0, ask("a.example", 1)))
		w.UDP(client, server, message(0x7800, 1, 0, ask("a.example", 1)))
	},
	"not-dns-on-53": func(w *dissecttest.Wire) {
		w.UDP(client, server, []byte("GET / HTTP/1.1\r\n\r\n"))
	},
	"dns-on-other-port": func(w *dissecttest.Wire) {
		w.UDP(client, dissecttest.NewHost("10.0.0.1", 9953), message(0x0100, 1, 0, ask("plc.plant.example", 1)))
	},
}

func TestSituations(t *testing.T) {
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			w := dissecttest.NewWire()
			situation(w)
			golden.Check(t, name, dissecttest.Print(t, w.Frames, Protocol))
			dissecttest.CheckRestore(t, w.Frames, dissecttest.Options(t, Protocol), 1)
			dissecttest.CheckHostile(t, w.Frames, dissecttest.Options(t, Protocol))
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, situation := range situations {
		w := dissecttest.NewWire()
		situation(w)
		for _, frame := range w.Frames {
			f.Add(frame.Data[42:], true)
			f.Add(frame.Data[min(54, len(frame.Data)):], false)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, datagram bool) {
		for _, probe := range []dissect.Probe{{Forward: data}, {Backward: data}} {
			detectUDP(probe)
			detectTCP(probe)
		}
		n := Protocol.NewParser().Parse(dissect.Segment{Data: data, Datagram: datagram}, func(m *dissect.Message) {
			if len(m.Names) > dissect.MaxTargets || len(m.Identity) > maxFacts {
				t.Errorf("message outgrows its bounds: %d facts, %d names", len(m.Identity), len(m.Names))
			}
			for _, name := range m.Names {
				if len(name) > 5*maxName {
					t.Errorf("name of %d bytes", len(name))
				}
			}
		})
		if n < 0 || n > len(data) || datagram && n != len(data) {
			t.Errorf("read %d of %d bytes", n, len(data))
		}
	})
}
