package icmp

import (
	"testing"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

var (
	asking     = dissecttest.NewHost("10.0.0.9", 0)
	answering  = dissecttest.NewHost("10.0.0.5", 0)
	asking6    = dissecttest.NewHost("fd00::9", 0)
	answering6 = dissecttest.NewHost("fd00::5", 0)
	anyone6    = dissecttest.NewHost("ff02::1:ff00:5", 0)
)

// neighbor is a solicitation or advertisement for fd00::5 with one link-layer address option.
func neighbor(kind, option byte, mac packet.MAC) []byte {
	target := answering6.Addr.As16()
	b := append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, target[:]...)
	return append(append(b, option, 1), mac[:]...)
}

var situations = map[string]func(w *dissecttest.Wire){
	"echo": func(w *dissecttest.Wire) {
		w.IP(asking, answering, packet.ProtoICMP, []byte{8, 0, 0, 0, 0, 1, 0, 1, 'x'})
		w.IP(answering, asking, packet.ProtoICMP, []byte{0, 0, 0, 0, 0, 1, 0, 1, 'x'})
	},
	"unreachable": func(w *dissecttest.Wire) {
		w.IP(answering, asking, packet.ProtoICMP, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, make([]byte, 28)...))
	},
	"echo-of-ipv6": func(w *dissecttest.Wire) {
		w.IP(asking6, answering6, packet.ProtoICMPv6, []byte{128, 0, 0, 0, 0, 1, 0, 1})
		w.IP(answering6, asking6, packet.ProtoICMPv6, []byte{129, 0, 0, 0, 0, 1, 0, 1})
	},
	"neighbor-discovery": func(w *dissecttest.Wire) {
		w.IP(asking6, anyone6, packet.ProtoICMPv6, neighbor(135, 1, asking6.MAC))
		w.IP(answering6, asking6, packet.ProtoICMPv6, neighbor(136, 2, answering6.MAC))
	},
	"neighbor-cut-in-target": func(w *dissecttest.Wire) {
		w.IP(asking6, anyone6, packet.ProtoICMPv6, neighbor(135, 1, asking6.MAC)[:12])
	},
	"neighbor-option-of-length-zero": func(w *dissecttest.Wire) {
		b := neighbor(136, 2, answering6.MAC)
		b[25] = 0
		w.IP(answering6, asking6, packet.ProtoICMPv6, b)
	},
	"not-icmp": func(w *dissecttest.Wire) {
		w.IP(asking, answering, 89, []byte{8, 0, 0, 0, 0, 1, 0, 1})
	},
}

func TestSituations(t *testing.T) {
	for name, situation := range situations {
		t.Run(name, func(t *testing.T) {
			w := dissecttest.NewWire()
			situation(w)
			golden.Check(t, name, dissecttest.Print(t, w.Frames, Protocol))
			dissecttest.CheckHostile(t, w.Frames, dissecttest.Options(t, Protocol))
		})
	}
}

func FuzzRead(f *testing.F) {
	for _, situation := range situations {
		w := dissecttest.NewWire()
		situation(w)
		for _, frame := range w.Frames {
			f.Add(frame.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := dissecttest.NewWire()
		w.Frame(data)
		dissecttest.Print(t, w.Frames, Protocol)
	})
}
