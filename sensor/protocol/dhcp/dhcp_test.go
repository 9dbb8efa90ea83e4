package dhcp

import (
	"encoding/binary"
	"testing"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
)

var (
	client    = dissecttest.NewHost("0.0.0.0", 68)
	server    = dissecttest.NewHost("10.0.0.1", 67)
	everyone  = dissecttest.NewHost("255.255.255.255", 67)
	requester = dissecttest.NewHost("10.0.0.9", 68)
)

// message is a BOOTP message with the given fields; options are codes with their bytes, ended by 255.
func message(op byte, yours [4]byte, options ...[]byte) []byte {
	b := make([]byte, fixedSize)
	b[0], b[1], b[2] = op, 1, 6
	copy(b[atYours:], yours[:])
	copy(b[atHardware:], requester.MAC[:])
	b = binary.BigEndian.AppendUint32(b, cookie)
	for _, o := range options {
		b = append(b, o...)
	}
	return append(b, optionEnd)
}

func option(code byte, value string) []byte {
	return append([]byte{code, byte(len(value))}, value...)
}

var situations = map[string]func(w *dissecttest.Wire){
	"lease": func(w *dissecttest.Wire) {
		name, class := option(12, "plc-7\x00"), option(60, "MSFT 5.0")
		w.UDP(client, everyone, message(1, [4]byte{}, option(53, "\x01"), name, class))
		w.UDP(server, requester, message(2, [4]byte{10, 0, 0, 9}, option(53, "\x02")))
		w.UDP(client, everyone, message(1, [4]byte{}, option(53, "\x03"), option(50, "\x0a\x00\x00\x09"), name, class))
		w.UDP(server, requester, message(2, [4]byte{10, 0, 0, 9}, option(53, "\x05")))
	},
	"refused": func(w *dissecttest.Wire) {
		w.UDP(client, everyone, message(1, [4]byte{}, option(53, "\x03"), option(50, "\x0a\x00\x00\x63")))
		w.UDP(server, requester, message(2, [4]byte{}, option(53, "\x06")))
	},
	"bootp-without-cookie": func(w *dissecttest.Wire) {
		w.UDP(client, everyone, append(message(1, [4]byte{})[:fixedSize], make([]byte, 64)...))
	},
	"option-exceeds-message": func(w *dissecttest.Wire) {
		b := message(1, [4]byte{}, option(53, "\x01"), option(12, "plc-7"))
		w.UDP(client, everyone, b[:len(b)-4])
	},
	"unknown-type-and-unprintable-name": func(w *dissecttest.Wire) {
		w.UDP(client, everyone, message(1, [4]byte{}, option(53, "\x63"), option(12, "\x01\x02")))
	},
	"padding-between-options": func(w *dissecttest.Wire) {
		w.UDP(client, everyone, message(1, [4]byte{}, make([]byte, 300), option(53, "\x01")))
	},
	"not-dhcp-on-67": func(w *dissecttest.Wire) {
		w.UDP(client, everyone, []byte("hello"))
	},
}

func TestSituations(t *testing.T) {
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			w := dissecttest.NewWire()
			situation(w)
			golden.Check(t, name, dissecttest.Print(t, w.Frames, Protocol))
			dissecttest.CheckRestore(t, w.Frames, dissecttest.Options(t, Protocol), 1)
		})
	}
	w := dissecttest.NewWire()
	situations["lease"](w)
	dissecttest.CheckHostile(t, w.Frames, dissecttest.Options(t, Protocol))
}

func FuzzParse(f *testing.F) {
	for _, situation := range situations {
		w := dissecttest.NewWire()
		situation(w)
		for _, frame := range w.Frames {
			f.Add(frame.Data[42:])
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		detect(dissect.Probe{Forward: data})
		detect(dissect.Probe{Backward: data})
		messages := 0
		n := Protocol.NewParser().Parse(dissect.Segment{Data: data, Datagram: true}, func(m *dissect.Message) {
			messages++
			if len(m.Identity) > 4 || len(m.Names) > 2 {
				t.Errorf("message outgrows its bounds: %d facts, %d names", len(m.Identity), len(m.Names))
			}
		})
		if n != len(data) || messages != 1 {
			t.Errorf("read %d of %d bytes into %d messages", n, len(data), messages)
		}
	})
}
