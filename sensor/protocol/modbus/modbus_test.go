package modbus

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
)

var (
	client = dissecttest.NewHost("10.0.0.9", 40000)
	server = dissecttest.NewHost("10.0.0.1", 502)
)

// frame makes a whole message of unit 7 from the PDU in hex.
func frame(transaction uint16, pdu string) []byte {
	body, err := hex.DecodeString(strings.ReplaceAll(pdu, " ", ""))
	if err != nil {
		panic(err)
	}
	b := binary.BigEndian.AppendUint16(nil, transaction)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)+1))
	return append(append(b, 7), body...)
}

// exchange sends each pair of PDUs as a request and its answer; an empty answer is not sent.
func exchange(pairs ...string) func(w *dissecttest.Wire) {
	return func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		for i := 0; i < len(pairs); i += 2 {
			c.Send(frame(uint16(i), pairs[i]))
			if pairs[i+1] != "" {
				c.Reply(frame(uint16(i), pairs[i+1]))
			}
		}
	}
}

var situations = map[string]func(w *dissecttest.Wire){
	"reads": exchange("01 0013 0025", "01 05 cd6bb20e1b", "02 00c4 0016", "02 03 acdb35", "03 006b 0003", "03 06 022b00000064",
		"04 0008 0001", "04 02 000a", "18 04de", "18 0006 0002 01b81284"),
	"writes": exchange("05 00ac ff00", "05 00ac ff00", "06 0001 0003", "06 0001 0003", "0f 0013 000a 02 cd01", "0f 0013 000a",
		"10 0001 0002 04 000a0102", "10 0001 0002", "16 0004 00f2 0025", "16 0004 00f2 0025",
		"17 0003 0006 000e 0003 06 00ff00ff00ff", "17 0c 00fe0acd00010003000d00ff"),
	"files": exchange("14 07 06 0004 0001 0002", "14 06 05 06 0dfe0020", "15 0d 06 0004 0007 0003 06af04be100d",
		"15 0d 06 0004 0007 0003 06af04be100d"),
	"diagnostics": exchange("08 0000 a537", "08 0000 a537", "08 0001 0000", "08 0001 0000", "08 0004 0000", "", "08 000a 0000",
		"08 000a 0000", "07", "07 6d", "0b", "0b ffff 0108", "0c", "0c 08 0000010801212000", "08 0013 0000", "88 03"),
	"device-identification": exchange("2b 0e 01 00",
		"2b 0e 01 01 00 00 03 00 04 41636d65 01 05 504c432d37 02 04 56312e32", "11", "11 08 01ff 4d6f64656c37"),
	"device-identification-without-model-name": exchange("2b 0e 03 00",
		"2b 0e 03 83 00 00 04 00 04 41636d65 01 02 5037 04 06 50726f642d37 06 03 4c7537"),
	"exceptions": exchange("03 ffff 0002", "83 02", "06 0001 ffff", "86 03", "63", "e3 01", "10 0001 0001 02 0000", "90 04",
		"01 0000 0001", "81 06"),
	"exception-from-client":   exchange("83 02", "", "03 0000 0001", "03 02 0000"),
	"function-zero":           exchange("00 00000000", "80 01"),
	"reserved-functions":      exchange("09 00", "89 01", "5b 00", "db 01", "7e 00", "fe 01", "2b 05 00", "ab 01", "08 0015 0000", "88 01"),
	"answer-without-request":  exchange("03 0000 0001", "2a 0e 04"),
	"byte-count-too-large":    exchange("10 0001 0002 04 000a", "90 03"),
	"byte-count-too-small":    exchange("10 0001 0002 02 000a0102", "90 03"),
	"quantity-not-byte-count": exchange("10 0001 0003 04 000a0102", "90 03"),
	"cut-mask-write":          exchange("16 0000 0000", "96 03"),
	"umas-upload":             exchange("5a 00 02", "5a 00 fe 10ff5a010100000070020000270009000800000000000e3134302043505520333131203130 01010101", "5a 00 10 434c0000 04 4c415031", "5a 00 fe 01", "5a 01 33 0001", "5a 01 fe 00", "5a 01 34 0001", "5a 01 fe 0100", "5a 01 41 ff00", "5a 01 fd 00"),
	"same-transaction-pipelined": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(append(frame(0, "03 0000 0001"), frame(0, "06 0001 0003")...))
		c.Reply(append(frame(0, "03 02 0007"), frame(0, "06 0001 0003")...))
	},
	"two-requests-one-segment": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(append(frame(1, "03 0000 0001"), frame(2, "04 0000 0002")...))
		c.Reply(append(frame(2, "04 04 00010002"), frame(1, "03 02 0007")...))
	},
	"one-request-three-segments": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		b := frame(1, "10 0001 0002 04 000a0102")
		c.Send(b[:5])
		c.Send(b[5:8])
		c.Send(b[8:])
		c.Reply(frame(1, "10 0001 0002"))
	},
	"capture-begins-with-answer": func(w *dissecttest.Wire) {
		c := w.Connect(client, server)
		c.Reply(frame(5, "03 02 0007"))
		c.Send(frame(6, "03 0000 0001"))
		c.Reply(frame(6, "03 02 0008"))
	},
	"after-gap": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(frame(1, "03 0000 0001"))
		c.Reply(frame(1, "03 02 0007"))
		c.Seq[0] += 20
		c.Send(append([]byte{0x00, 0x01, 0xff, 0x00}, frame(3, "03 0002 0001")...))
		c.Send(frame(4, "03 0004 0001"))
		c.Reply(frame(4, "03 02 0009"))
	},
	"cut-in-length-field": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(frame(1, "03 0000 0001"))
		c.Reply(frame(1, "03 02 0007"))
		c.Send(frame(2, "03 0000 0001")[:5])
	},
	"protocol-identifier-not-zero": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(frame(1, "03 0000 0001"))
		c.Reply(frame(1, "03 02 0007"))
		bad := frame(2, "03 0000 0001")
		bad[3] = 9
		c.Send(bad)
		c.Send(frame(3, "03 0005 0001"))
	},
	"lying-length": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send(frame(1, "03 0000 0001"))
		c.Reply(frame(1, "03 02 0007"))
		bad := frame(2, "03 0000 0001")
		bad[4] = 0xff
		c.Send(bad)
		c.Send(frame(3, "03 0005 0001"))
	},
	"longer-than-allowed": exchange("03 0000 0001", "03 02 0007", "63 "+strings.Repeat("00", 300), ""),
	"not-modbus-on-502": func(w *dissecttest.Wire) {
		c := w.Dial(client, server)
		c.Send([]byte("GET / HTTP/1.1\r\nHost: plc\r\n\r\n"))
		c.Reply([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	},
	"modbus-on-other-port": func(w *dissecttest.Wire) {
		c := w.Dial(client, dissecttest.NewHost("10.0.0.1", 10502))
		c.Send(frame(1, "03 0000 0001"))
		c.Reply(frame(1, "03 02 0007"))
	},
	"over-udp": func(w *dissecttest.Wire) {
		w.UDP(client, server, frame(1, "06 0001 0003"))
		w.UDP(server, client, frame(1, "06 0001 0003"))
		w.UDP(client, server, frame(2, "06 0001 0003")[:9])
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
	for _, name := range []string{"writes", "device-identification", "umas-upload", "files"} {
		dissecttest.CheckHostile(t, run(t, situations[name]).Frames, dissecttest.Options(t, Protocol))
	}
}

// TestSeen lists which of the documented function codes the situations show, as request and answer.
func TestSeen(t *testing.T) {
	seen := map[string]bool{}
	for _, situation := range situations {
		w := run(t, situation)
		r, h := dissecttest.NewRunner(t, Protocol), &dissecttest.Recorder{KeepMessages: true, Quiet: true}
		for i := range w.Frames {
			r.Frame(&w.Frames[i], h)
		}
		r.Flush(h)
		for _, m := range h.Messages {
			seen[fmt.Sprintf("%d/%d", m.Code, m.Kind)] = true
		}
	}
	var text strings.Builder
	shown := 0
	for _, c := range Codes {
		request, answer := seen[fmt.Sprintf("%d/%d", c.Code, dissect.Request)], seen[fmt.Sprintf("%d/%d", c.Code, dissect.Response)]
		if request && answer {
			shown++
		}
		fmt.Fprintf(&text, "%3d %-34s request %-5v answer %v\n", c.Code, c.Name, request, answer)
	}
	fmt.Fprintf(&text, "%d of %d message kinds seen\n", shown, len(Codes))
	golden.Check(t, "seen", text.String())
}

func TestCodesAreUnique(t *testing.T) {
	for _, table := range [][]Code{Codes, UMASCodes} {
		if !sort.SliceIsSorted(table, func(i, j int) bool { return table[i].Code < table[j].Code }) {
			t.Error("codes are not in order")
		}
		for i := 1; i < len(table); i++ {
			if table[i].Code == table[i-1].Code {
				t.Errorf("code %d stands twice", table[i].Code)
			}
		}
	}
}

func TestPendingIsBounded(t *testing.T) {
	p := &Parser{}
	for i := range 10 * maxPending {
		p.Parse(dissect.Segment{Data: frame(uint16(i), "03 0000 0001")}, func(*dissect.Message) {})
	}
	if len(p.Pending) != maxPending || p.Pending[0].Transaction != 9*maxPending {
		t.Errorf("%d requests wait, the oldest is %d", len(p.Pending), p.Pending[0].Transaction)
	}
}

func FuzzParse(f *testing.F) {
	for _, situation := range situations {
		w := dissecttest.NewWire()
		situation(w)
		for _, frame := range w.Frames {
			f.Add(frame.Data[min(54, len(frame.Data)):], uint8(0), uint16(0))
			f.Add(frame.Data[min(54, len(frame.Data)):], uint8(1), uint16(3))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, flags uint8, gap uint16) {
		for _, probe := range []dissect.Probe{{Forward: data}, {Backward: data, HandshakeSeen: true}, {Forward: data, Backward: data}} {
			detectTCP(probe)
			detectUDP(probe)
		}
		p := &Parser{}
		s := dissect.Segment{Direction: dissect.Direction(flags & 1), Data: data, Datagram: flags&2 != 0, Gap: uint64(gap)}
		n := p.Parse(s, func(m *dissect.Message) {
			if len(m.Targets) > dissect.MaxTargets || len(m.Names) > dissect.MaxTargets || m.Size > maxFrame {
				t.Errorf("message outgrows its bounds: %d targets, %d names, %d bytes", len(m.Targets), len(m.Names), m.Size)
			}
		})
		if n < 0 || n > len(data) || len(data)-n >= maxFrame {
			t.Errorf("read %d of %d bytes", n, len(data))
		}
		if len(p.Pending) > maxPending {
			t.Errorf("%d requests wait", len(p.Pending))
		}
	})
}
