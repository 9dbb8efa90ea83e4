package dnp3

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
)

var (
	client = dissecttest.NewHost("10.0.0.9", 40000)
	server = dissecttest.NewHost("10.0.0.1", 20000)
)

const (
	masterControl     = 0xc4 // from the master, primary, unconfirmed user data
	outstationControl = 0x44
)

func unhex(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// link makes a link frame between master 1 and outstation 10, checksums included.
func link(control byte, user []byte) []byte {
	to, from := byte(10), byte(1)
	if control&0x80 == 0 {
		to, from = 1, 10
	}
	b := []byte{0x05, 0x64, byte(5 + len(user)), control, to, 0, from, 0}
	b = binary.LittleEndian.AppendUint16(b, crc(b))
	for len(user) > 0 {
		n := min(16, len(user))
		b = binary.LittleEndian.AppendUint16(append(b, user[:n]...), crc(user[:n]))
		user = user[n:]
	}
	return b
}

func ask(app string) []byte    { return link(masterControl, append([]byte{0xc0}, unhex(app)...)) }
func answer(app string) []byte { return link(outstationControl, append([]byte{0xc0}, unhex(app)...)) }

// exchange sends each pair of application fragments as a request and its answer; an empty one is not sent.
func exchange(pairs ...string) func(w *dissecttest.Wire) {
	return func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] != "" {
				c.Send(ask(pairs[i]))
			}
			if pairs[i+1] != "" {
				c.Reply(answer(pairs[i+1]))
			}
		}
	}
}

const (
	relay  = "0c01 28 0100 0100 03 01 64000000 00000000 00" // one control relay output block: latch on
	relays = "0c01 28 0200 0100 02 01 64000000 64000000 00" // two announced, one there
)

var situations = map[string]func(w *dissecttest.Wire){
	"integrity-poll": exchange("c1 01 3c02 06 3c03 06 3c04 06 3c01 06", "c1 81 0000 0102 00 0000 81 1e01 00 0000 01d2040000"),
	"controls": exchange("c1 03 "+relay, "c1 81 0000 "+relay, "c2 04 "+relay, "c2 81 0000 "+relay, "c3 05 2902 17 01 05 e803 00",
		"c3 81 0000", "c4 06 2903 17 01 02 0000c842 00", "", "c5 05 0c01 17 01 07 41 01 64000000 00000000 00", "c5 81 0004"),
	"restarts": exchange("c1 0d", "c1 81 0000 3402 07 01 1027", "c2 0e", "c2 81 0001", "", "f3 82 9000", "d3 00", ""),
	"applications": exchange("c1 12 3c02 06", "c1 81 0000", "c2 11 3c02 06", "c2 81 0000", "c3 10", "c3 81 0000",
		"c4 0f", "c4 81 0000", "c5 13", "c5 81 2000", "c6 1f", "c6 81 0000"),
	"settings": exchange("c1 14 3c02 06", "c1 81 0000", "c2 15 3c02 06 3c03 06 3c04 06", "c2 81 0000", "c3 16 3c03 06 0100 06",
		"c3 81 0000", "c4 02 5001 00 07 07 00", "c4 81 0000", "c5 02 2201 00 01 01 0a00", "c5 81 0000"),
	"time": exchange("c1 18", "c1 81 0000", "c2 02 3203 07 01 9f0d83524c01", "c2 81 0000", "c3 17", "c3 81 0000 3402 07 01 0500",
		"c4 02 3201 07 01 9f0d83524c01", "c4 81 0000"),
	"freezes": exchange("c1 07 1400 06", "c1 81 0000", "c2 08 1400 06", "", "c3 09 1400 06", "c3 81 0000", "c4 0a 1400 06", "",
		"c5 0b 3202 07 01 9f0d83524c0100000000 1400 06", "c5 81 0000", "c6 0c 3202 07 01 9f0d83524c0100000000 1400 06", ""),
	"files": exchange("c1 1d 4602 5b 01 1400 0c00 0400 1000 0400 00000000 6f706572 70617373", "c1 81 0000",
		"c2 19 4603 5b 01 2300 1a00 0900 000000000000 0000 00000000 00000000 0200 0004 0000 2e2f612e62696e2020", "c2 81 0000",
		"c3 02 4605 5b 01 0c00 78563412 00000080 00112233", "c3 81 0000", "c4 1a 4604 5b 01 0d00 78563412 00000000 0000 0000 00",
		"c4 81 0000", "c5 1b 4603 5b 01 2300 1a00 0900 000000000000 0000 00000000 00000000 0000 0000 0000 2e2f612e62696e2020",
		"c5 81 0000", "c6 1c 4607 5b 01 1900 1400 0500 0100 00000000 000000000000 0000 0000 2e2f612e62", "c6 81 0000",
		"c7 1e 4604 5b 01 0d00 78563412 00000000 0000 0000 00", "c7 81 0000",
		"c8 19 4603 5b 01 2300 1a00 0900 000000000000 0000 00000000 00000000 0100 0004 0000 2e2f612e62696e2020", "c8 81 0000"),
	"authentication": exchange("c1 05 "+relay, "c1 83 0000 7801 5b 01 0c00 03000000 0100 02 01 04000173",
		"c1 20 7802 5b 01 1600 03000000 0100 06c295fae1911a2cce2dda8abfece1ca", "c1 81 0000 "+relay,
		"c2 20 7802 5b 01 1600 04000000 0100 06c295fae1911a2cce2dda8abfece1ca",
		"c2 83 0000 7807 5b 01 0f00 04000000 0100 0000 01 000000000000", "c3 21 7807 5b 01 0f00 05000000 0100 0000 02 000000000000", "",
		"c4 20 780d 5b 01 0400 00112233", "c4 81 0000"),
	"identity": exchange("c1 01 00fe 00 0000", "c1 81 0000 00fc 00 0000 01 04 41636d65 00fa 00 0000 01 06 5254552d3530 00f2 00 0000 01 03 312e32 00f8 00 0000 01 02 3737"),
	"indications": exchange("c1 01 3c02 06", "c1 81 8000", "c2 01 3c02 06", "c2 81 4000", "c3 01 3c02 06", "c3 81 0008", "c4 01 3c02 06",
		"c4 81 0020", "c5 01 3c02 06", "c5 81 0040", "c6 01 3c02 06", "c6 81 0002", "c7 01 3c02 06", "c7 81 0004", "c8 01 3c02 06", "c8 81 0300"),
	"confirm-requested":          exchange("e1 01 3c02 06", "e1 81 0000", "c1 00", ""),
	"unsolicited-and-confirm":    exchange("", "f5 82 0000 0201 28 0100 0300 81", "d5 00", ""),
	"reserved-function":          exchange("c1 46", "c1 81 0001"),
	"object-shorter-than-count":  exchange("c1 05 "+relays, "c1 81 0004"),
	"reserved-qualifier":         exchange("c1 01 3c02 ed", "c1 81 0004"),
	"range-ends-before-start":    exchange("c1 01 0102 00 0502", "c1 81 0004"),
	"read-nothing":               exchange("c1 01", "c1 81 0002"),
	"outstation-formats-badly":   exchange("c1 01 1e01 06", "c1 81 0000 1e01 00 0009 01d2040000"),
	"answer-without-indications": exchange("c1 01 3c02 06", "c1 81 00"),
	"unknown-object":             exchange("c1 01 ff00 06", "c1 81 0002"),
	"count-of-four-billion":      exchange("c1 02 0a02 09 ffffffff", "c1 81 0004", "c2 05 0c01 39 ffffffff 00000000", "c2 81 0004"),
	"two-frames-one-fragment": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(ask("c1 01 1e01 06"))
		data := append(unhex("c1 81 0000 1e01 01 0000 3b00"), make([]byte, 300)...)
		c.Reply(link(outstationControl, append([]byte{0x7f}, data[:240]...)))
		c.Reply(link(outstationControl, append([]byte{0x80}, data[240:]...))) // 0 follows 63
	},
	"segment-out-of-sequence": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(ask("c1 01 1e01 06"))
		c.Reply(link(outstationControl, append([]byte{0x41}, unhex("c1 81 0000")...)))
		c.Reply(link(outstationControl, []byte{0x83, 0x1e, 0x01}))
		c.Reply(answer("c1 81 0000"))
	},
	"link-functions": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(link(0xc0, nil))
		c.Reply(link(0x00, nil))
		c.Send(link(0xc9, nil))
		c.Reply(link(0x0b, nil))
		c.Send(link(0xf2, nil))
		c.Reply(link(0x01, nil))
		c.Send(link(0xc7, nil))
		c.Reply(link(0x0f, nil))
		c.Send(link(0xf3, append([]byte{0xc0}, unhex("c1 01 3c01 06")...)))
		c.Send(link(0xc4, nil))
	},
	"header-checksum-wrong": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(ask("c1 01 3c02 06"))
		bad := ask("c2 0d")
		bad[8] ^= 1
		c.Send(bad)
		c.Send(ask("c3 01 3c02 06"))
	},
	"block-checksum-wrong": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(ask("c1 01 3c02 06"))
		bad := ask("c2 05 " + relay)
		bad[len(bad)-1] ^= 1
		c.Send(bad)
	},
	"frame-in-three-segments": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		b := ask("c1 05 " + relay)
		c.Send(b[:1])
		c.Send(b[1:11])
		c.Send(append(b[11:], ask("c2 01 3c02 06")...))
	},
	"capture-begins-within-an-answer": func(w *dissecttest.Wire) {
		c := w.Connect(client, server)
		c.Reply(append(answer("c1 81 0000 0102 00 0000 81")[7:], answer("c2 81 8000")...))
		c.Send(ask("c3 0d"))
	},
	"after-gap": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(ask("c1 01 3c02 06"))
		c.Seq[0] += 40
		c.Send(append([]byte{0x05, 0x07, 0x64}, ask("c2 0d")...))
	},
	"direction-bit-of-the-other-side": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(link(outstationControl, unhex("c0 c1 01 3c02 06")))
		c.Reply(link(masterControl, unhex("c0 c1 81 0000")))
	},
	"broadcast": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		b := []byte{0x05, 0x64, 8, masterControl, 0xff, 0xff, 1, 0}
		b = binary.LittleEndian.AppendUint16(b, crc(b))
		user := unhex("c0 c1 0d")
		c.Send(binary.LittleEndian.AppendUint16(append(b, user...), crc(user)))
	},
	"over-udp": func(w *dissecttest.Wire) {
		w.UDP(client, server, append(ask("c1 01 3c02 06"), ask("c2 0d")...))
		w.UDP(server, client, answer("c2 81 0001"))
		w.UDP(client, server, ask("c3 01 3c02 06")[:14])
	},
	"not-dnp3-on-20000": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("\x05\x64 is no header"))
		c.Reply([]byte("hello"))
	},
	"dnp3-on-other-port": func(w *dissecttest.Wire) {
		c := w.Dial(client, dissecttest.NewHost("10.0.0.1", 19999))
		c.Send(ask("c1 01 3c02 06"))
		c.Reply(answer("c1 81 0000"))
	},
}

func run(t testing.TB, situation func(w *dissecttest.Wire)) *dissecttest.Wire {
	w := dissecttest.NewWire()
	situation(w)
	return w
}

func TestSituations(t *testing.T) {
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			w := run(t, situation)
			golden.Check(t, name, dissecttest.Print(t, w.Frames, Protocol))
			dissecttest.CheckRestore(t, w.Frames, dissecttest.Options(t, Protocol), 1)
		})
	}
}

func TestHostile(t *testing.T) {
	for _, name := range []string{"controls", "two-frames-one-fragment", "identity", "over-udp"} {
		dissecttest.CheckHostile(t, run(t, situations[name]).Frames, dissecttest.Options(t, Protocol))
	}
}

// TestSeen lists which of the documented function codes the situations show.
func TestSeen(t *testing.T) {
	seen := map[int]bool{}
	for _, situation := range situations {
		w := run(t, situation)
		r, h := dissecttest.NewRunner(t, Protocol), &dissecttest.Recorder{KeepMessages: true, Quiet: true}
		for i := range w.Frames {
			r.Frame(&w.Frames[i], h)
		}
		r.Flush(h)
		for _, m := range h.Messages {
			if m.Layer == "app" {
				seen[m.Code] = true
			}
		}
	}
	var text strings.Builder
	shown := 0
	for _, c := range Codes {
		if seen[c.Code] {
			shown++
		}
		fmt.Fprintf(&text, "%3d %-42s %v\n", c.Code, c.Name, seen[c.Code])
	}
	fmt.Fprintf(&text, "%d of %d message kinds seen\n", shown, len(Codes))
	golden.Check(t, "seen", text.String())
}

// TestChecksum takes a frame that is often printed: reset of the link of station 1 by master 1024.
func TestChecksum(t *testing.T) {
	if got := crc(unhex("0564 05c0 0100 0004")); got != 0x21e9 {
		t.Errorf("checksum %04x, want 21e9", got)
	}
}

func TestStateIsBounded(t *testing.T) {
	p := &Parser{}
	for i := range 1000 {
		b := []byte{0x05, 0x64, 14, masterControl, byte(i), byte(i >> 8), 1, 0}
		b = binary.LittleEndian.AppendUint16(b, crc(b))
		user := append([]byte{0x40}, unhex("c1 01 3c02 06 3c03 06")[:8]...) // first, not final
		p.Parse(dissect.Segment{Data: binary.LittleEndian.AppendUint16(append(b, user...), crc(user))}, func(*dissect.Message) {})
		p.Parse(dissect.Segment{Data: ask("c1 01 3c02 06")}, func(*dissect.Message) {})
	}
	if len(p.Assemblies) != maxAssemblies || len(p.Pending) != maxPending {
		t.Errorf("%d fragments and %d requests wait", len(p.Assemblies), len(p.Pending))
	}
}

func FuzzParse(f *testing.F) {
	for _, situation := range situations {
		w := dissecttest.NewWire()
		situation(w)
		for _, frame := range w.Frames {
			f.Add(frame.Data[min(54, len(frame.Data)):], uint8(0), uint16(0))
			f.Add(frame.Data[min(54, len(frame.Data)):], uint8(3), uint16(2))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, flags uint8, gap uint16) {
		for _, probe := range []dissect.Probe{{Forward: data}, {Backward: data, HandshakeSeen: true}, {Forward: data, Backward: data}} {
			detect(probe)
		}
		check := func(m *dissect.Message) {
			if len(m.Targets) > dissect.MaxTargets || len(m.Names) > dissect.MaxTargets {
				t.Errorf("message outgrows its bounds: %d targets, %d names", len(m.Targets), len(m.Names))
			}
		}
		p := &Parser{}
		s := dissect.Segment{Direction: dissect.Direction(flags & 1), Data: data, Datagram: flags&2 != 0, Gap: uint64(gap)}
		n := p.Parse(s, check)
		if n < 0 || n > len(data) || len(data)-n >= maxFrame {
			t.Errorf("read %d of %d bytes", n, len(data))
		}
		// The same bytes as an application fragment, past the checksums that random bytes seldom meet.
		control := byte(masterControl)
		if flags&1 == 1 {
			control = outstationControl
		}
		p.Parse(dissect.Segment{Direction: dissect.Direction(flags & 1), Data: link(control, append([]byte{0xc0}, data[:min(len(data), 240)]...))}, check)
	})
}
