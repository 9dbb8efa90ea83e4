package s7comm

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
	station = dissecttest.NewHost("10.0.0.9", 40000)
	plc     = dissecttest.NewHost("10.0.0.1", 102)
)

func unhex(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// tpkt wraps a COTP packet given in hex.
func tpkt(cotp string) []byte {
	body := unhex(cotp)
	return append(binary.BigEndian.AppendUint16([]byte{3, 0}, uint16(len(body)+4)), body...)
}

// pdu wraps an S7 PDU: ROSCTR, reference, an error (for answers), parameters and data.
func pdu(kind byte, reference uint16, failure, parameter, data string) []byte {
	p, d := unhex(parameter), unhex(data)
	b := []byte{0x32, kind, 0, 0}
	b = binary.BigEndian.AppendUint16(b, reference)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(d)))
	b = append(append(append(b, unhex(failure)...), p...), d...)
	return tpkt("02f080" + hex.EncodeToString(b))
}

func job(reference uint16, parameter, data string) []byte {
	return pdu(1, reference, "", parameter, data)
}
func done(reference uint16, parameter, data string) []byte {
	return pdu(3, reference, "0000", parameter, data)
}
func refused(reference uint16, failure string) []byte { return pdu(2, reference, failure, "", "") }

// asked and told are userdata requests and answers of a group and function.
func asked(reference uint16, group, function byte, data string) []byte {
	return pdu(7, reference, "", fmt.Sprintf("000112 04 11 4%x %02x 00", group, function), data)
}
func told(reference uint16, group, function byte, failure, data string) []byte {
	return pdu(7, reference, "", fmt.Sprintf("000112 08 12 8%x %02x 00 00 00 %s", group, function, failure), data)
}

var (
	setup     = job(1, "f0 00 0001 0001 01e0", "")
	setupDone = done(1, "f0 00 0001 0001 00f0", "")
	firmware  = "ff09 0078 0011 0000 001c 0003 0001 36455337203331352d32454831342d304142302000 c000030001" +
		"0006 36455337203331352d32454831342d304142302000 c000030001 0007 2020202020202020202020202020202020202020 00c0 5603 0207"
)

// names is an SZL 001C with station, module, serial number and module type.
func names() string {
	record := func(index uint16, text string) string {
		b := binary.BigEndian.AppendUint16(nil, index)
		return hex.EncodeToString(append(append(b, text...), make([]byte, 32-len(text))...))
	}
	return "ff09 00d6 001c 0000 0022 0004" + record(1, "S7300/ET200M station_1") + record(2, "PLC_1") +
		record(5, "S C-B1U393142011") + record(7, "CPU 315-2 PN/DP")
}

// session opens a connection and goes on.
func session(rest func(c *dissecttest.TCP)) func(w *dissecttest.Wire) {
	return func(w *dissecttest.Wire) {
		c := w.Dial(station, plc)
		c.Send(tpkt("11e00000000100c0010ac1020100c2020102"))
		c.Reply(tpkt("11d00001000200c0010ac1020100c2020102"))
		c.Send(setup)
		c.Reply(setupDone)
		rest(c)
	}
}

var situations = map[string]func(w *dissecttest.Wire){
	"variables": session(func(c *dissecttest.TCP) {
		c.Send(job(2, "04 02 120a1002000400018400 0050 120a1001000100008300 000b", ""))
		c.Reply(done(2, "04 02", "ff040020 00010002 ff030001 01"))
		c.Send(job(3, "05 02 120a1002000200018400 0050 120a1001000100008200 0003", "0004001000ff 00030001 01"))
		c.Reply(done(3, "05 02", "ff05"))
		c.Send(job(4, "04 01 1211b00302004a006c04004c01940200510 03c", ""))
		c.Reply(done(4, "04 01", "ff09000b ff040aff0544053eff040a"))
		c.Send(job(5, "04 03 120a101d000800001d000000 120a101c000800001c000000 120a1002000100008100 0008", ""))
		c.Reply(done(5, "04 03", "0a000000 0a000000 ff040008 01"))
	}),
	"stop-and-start": session(func(c *dissecttest.TCP) {
		c.Send(job(2, "29 0000000000 09 505f50524f4752414d", ""))
		c.Reply(done(2, "29", ""))
		c.Reply(pdu(7, 0, "", "000100 10 10 00 00 00", ""))
		c.Send(job(3, "28 000000000000fd 0000 09 505f50524f4752414d", ""))
		c.Reply(done(3, "28", ""))
		c.Reply(pdu(7, 0, "", "000100 10 10 00 02 00", ""))
		c.Send(job(4, "28 000000000000fd 0002 4550 05 5f4d4f4455", ""))
		c.Reply(done(4, "28", ""))
		c.Send(job(5, "28 000000000000fd 0000 05 5f47415242", ""))
		c.Reply(refused(5, "8104"))
	}),
	"download": session(func(c *dissecttest.TCP) {
		c.Send(job(2, "1a 000100 00000000 09 5f30413030303031 50 0d 31303030323136303030303838", ""))
		c.Reply(done(2, "1a", ""))
		c.Reply(job(0x6501, "1b 000000 00000000 09 5f30413030303031 50", ""))
		c.Send(done(0x6501, "1b00", "0004 00fb 70700101"))
		c.Reply(job(0x6701, "1c 000000 00000000 09 5f30413030303031 50", ""))
		c.Send(done(0x6701, "1c", ""))
		c.Send(job(3, "28 000000000000fd 000a 0100 3041303030303150 05 5f494e5345", ""))
		c.Reply(done(3, "28", ""))
		c.Send(job(4, "28 000000000000fd 0012 0200 3045303030303742 3038303030303142 05 5f44454c45", ""))
		c.Reply(done(4, "28", ""))
	}),
	"upload": session(func(c *dissecttest.TCP) {
		c.Send(job(2, "1d 00 0000 00000000 09 5f3038303030303141", ""))
		c.Reply(done(2, "1d 00 0100 00000007 07 30303030323136", ""))
		c.Send(job(3, "1e 00 0000 00000007", ""))
		c.Reply(done(3, "1e00", "0004 00fb 70700302"))
		c.Send(job(4, "1f 00 0000 00000007", ""))
		c.Reply(done(4, "1f", ""))
		c.Send(job(5, "1d 00 0000 00000000 09 5f3038303030303241", ""))
		c.Reply(refused(5, "d20c"))
	}),
	"identity": session(func(c *dissecttest.TCP) {
		c.Send(asked(2, 4, 1, "ff09 0004 0011 0000"))
		c.Reply(told(2, 4, 1, "0000", firmware))
		c.Send(asked(3, 4, 1, "ff09 0004 001c 0000"))
		c.Reply(told(3, 4, 1, "0000", names()))
		c.Send(asked(4, 4, 1, "ff09 0004 0c91 7fff"))
		c.Reply(told(4, 4, 1, "d402", "0a000000"))
	}),
	"identity-by-name-only": session(func(c *dissecttest.TCP) {
		c.Send(asked(3, 4, 1, "ff09 0004 001c 0000"))
		c.Reply(told(3, 4, 1, "0000", names()))
	}),
	"userdata": session(func(c *dissecttest.TCP) {
		c.Send(asked(2, 3, 1, "0a000000"))
		c.Reply(told(2, 3, 1, "0000", "ff09 0004 30380001"))
		c.Send(asked(3, 3, 3, "ff09 0008 3041303030303141"))
		c.Reply(told(3, 3, 3, "d209", "0a000000"))
		c.Send(asked(4, 5, 1, "ff09 0008 213a1b1d6e681b1d"))
		c.Reply(told(4, 5, 1, "d602", "0a000000"))
		c.Send(asked(5, 7, 2, "ff09 000a 00191602082308100002"))
		c.Reply(told(5, 7, 2, "0000", "0a000000"))
		c.Send(asked(6, 2, 5, "ff09 001a 0001 0102 1212b00303003f000501003f003e09003f00c3 0000"))
		c.Reply(told(6, 2, 5, "0000", "ff09 0002 0001"))
		c.Reply(pdu(7, 0, "", "000112 08 12 02 05 01 00 00 0000", "ff09 0002 0001"))
		c.Send(asked(7, 1, 8, ""))
		c.Send(asked(8, 6, 1, ""))
		c.Send(asked(9, 9, 9, ""))
	}),
	"pdu-in-two-cotp-packets": session(func(c *dissecttest.TCP) {
		whole := job(2, "04 01 120a1002000400018400 0050", "")[7:]
		c.Send(append(tpkt("02f000"+hex.EncodeToString(whole[:9])), tpkt("02f080"+hex.EncodeToString(whole[9:]))...))
		c.Reply(done(2, "04 01", "ff040020 00010002"))
	}),
	"two-jobs-one-segment": session(func(c *dissecttest.TCP) {
		both := append(job(2, "04 01 120a1002000400018400 0050", ""), job(3, "29 0000000000 09 505f50524f4752414d", "")...)
		c.Send(both[:11])
		c.Send(both[11:])
	}),
	"parameters-exceed-pdu": session(func(c *dissecttest.TCP) {
		bad := job(2, "04 01 120a1002000400018400 0050", "")
		bad[14] = 0x40 // parameter length, low byte
		c.Send(bad)
	}),
	"item-count-lies": session(func(c *dissecttest.TCP) {
		c.Send(job(2, "04 ff 120a1002000400018400 0050", ""))
		c.Send(job(3, "05 01 120a1002000400018400 0050", "0004ffff 00"))
		c.Send(job(4, "28 000000000000fd ffff 05", ""))
	}),
	"unknown-rosctr":           session(func(c *dissecttest.TCP) { c.Send(pdu(9, 2, "", "04", "")) }),
	"cotp-header-lies":         session(func(c *dissecttest.TCP) { c.Send(tpkt("f0f08032")) }),
	"not-tpkt-within-the-flow": session(func(c *dissecttest.TCP) { c.Send([]byte("hello, world")); c.Send(job(2, "04 00", "")) }),
	"another-protocol-within":  session(func(c *dissecttest.TCP) { c.Send(tpkt("02f080a00000")); c.Send(tpkt("02f080720100")) }),
	"after-gap":                session(func(c *dissecttest.TCP) { c.Seq[0] += 40; c.Send(append([]byte{3, 0, 0}, job(2, "04 00", "")...)) }),
	"disconnect":               session(func(c *dissecttest.TCP) { c.Send(tpkt("06800002000180")) }),
	"capture-begins-with-an-answer": func(w *dissecttest.Wire) {
		c := w.Connect(station, plc)
		c.Reply(done(2, "04 01", "ff040020 00010002")[9:])
		c.Reply(done(3, "04 01", "ff040020 00010002"))
		c.Send(job(4, "29 0000000000 09 505f50524f4752414d", ""))
	},
	"s7comm-plus": func(w *dissecttest.Wire) {
		c := w.Dial(station, plc)
		c.Send(tpkt("11e00000000100c0010ac1020600c20f53494d415449432d524f4f542d4553"))
		c.Reply(tpkt("11d00001000200c0010ac1020600c20f53494d415449432d524f4f542d4553"))
		c.Send(tpkt("02f080720100"))
	},
	"mms": func(w *dissecttest.Wire) {
		c := w.Dial(station, plc)
		c.Send(tpkt("11e00000000100c0010ac1020001c2020001"))
		c.Reply(tpkt("11d00001000200c0010ac1020001c2020001"))
		c.Send(tpkt("02f0800dba050613"))
	},
	"s7comm-on-other-port": func(w *dissecttest.Wire) {
		c := w.Dial(station, dissecttest.NewHost("10.0.0.1", 10102))
		c.Send(setup)
		c.Reply(setupDone)
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
	for _, name := range []string{"variables", "identity", "pdu-in-two-cotp-packets"} {
		dissecttest.CheckHostile(t, run(t, situations[name]).Frames[7:], dissecttest.Options(t, Protocol))
	}
}

// every sends each documented function once, without a body.
func every(w *dissecttest.Wire) {
	c := w.Dial(station, plc)
	for i, code := range Jobs {
		c.Send(job(uint16(i), fmt.Sprintf("%02x", code.Code), ""))
	}
	for i, code := range Userdata {
		c.Send(asked(uint16(100+i), byte(code.Code), byte(code.Subcode), ""))
	}
}

// TestSeen lists which of the documented functions are read as what they are.
func TestSeen(t *testing.T) {
	seen := map[string]bool{}
	all := []func(w *dissecttest.Wire){every}
	for _, situation := range situations {
		all = append(all, situation)
	}
	for _, situation := range all {
		w := run(t, situation)
		r, h := dissecttest.NewRunner(t, Protocol), &dissecttest.Recorder{KeepMessages: true, Quiet: true}
		for i := range w.Frames {
			r.Frame(&w.Frames[i], h)
		}
		r.Flush(h)
		for _, m := range h.Messages {
			seen[fmt.Sprintf("%s %d %d", m.Layer, m.Code, m.Subcode)] = true
		}
	}
	var text strings.Builder
	shown := 0
	list := func(layer string, codes []Code) {
		for _, c := range codes {
			found := seen[fmt.Sprintf("%s %d %d", layer, c.Code, c.Subcode)]
			if found {
				shown++
			}
			fmt.Fprintf(&text, "%-8s 0x%02x %3d %-32s %v\n", layer, c.Code, c.Subcode, c.Name, found)
		}
	}
	list("job", Jobs)
	list("userdata", Userdata)
	fmt.Fprintf(&text, "%d of %d message kinds seen\n", shown, len(Jobs)+len(Userdata))
	golden.Check(t, "seen", text.String())
}

func TestStateIsBounded(t *testing.T) {
	p := &Parser{}
	for i := range 1000 {
		p.Parse(dissect.Segment{Data: job(uint16(i), "04 00", "")}, func(*dissect.Message) {})
		p.Parse(dissect.Segment{Direction: dissect.FromServer, Data: tpkt("02f000" + strings.Repeat("32", 1000))}, func(*dissect.Message) {})
	}
	if len(p.Pending) != maxPending || len(p.Part[1]) > maxPDU {
		t.Errorf("%d requests and %d bytes wait", len(p.Pending), len(p.Part[1]))
	}
}

func FuzzParse(f *testing.F) {
	for _, situation := range situations {
		w := dissecttest.NewWire()
		situation(w)
		for _, frame := range w.Frames {
			f.Add(frame.Data[min(54, len(frame.Data)):], uint8(0), uint16(0))
			f.Add(frame.Data[min(54, len(frame.Data)):], uint8(1), uint16(2))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, flags uint8, gap uint16) {
		for _, probe := range []dissect.Probe{{Forward: data}, {Backward: data, HandshakeSeen: true}, {Forward: data, Backward: data}} {
			detect(probe)
		}
		p := &Parser{}
		n := p.Parse(dissect.Segment{Direction: dissect.Direction(flags & 1), Data: data, Gap: uint64(gap)}, func(m *dissect.Message) {
			if len(m.Targets) > dissect.MaxTargets || len(m.Names) > dissect.MaxTargets {
				t.Errorf("message outgrows its bounds: %d targets, %d names", len(m.Targets), len(m.Names))
			}
		})
		if n < 0 || n > len(data) || len(data)-n >= maxPacket {
			t.Errorf("read %d of %d bytes", n, len(data))
		}
		if len(p.Pending) > maxPending || len(p.Part[0]) > maxPDU {
			t.Errorf("state outgrows its bounds: %d requests, %d bytes", len(p.Pending), len(p.Part[0]))
		}
	})
}
