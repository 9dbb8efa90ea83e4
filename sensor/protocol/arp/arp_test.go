package arp

import (
	"encoding/binary"
	"testing"

	"github.com/otus-project/otus/internal/golden"
	"github.com/otus-project/otus/sensor/dissect/dissecttest"
	"github.com/otus-project/otus/sensor/packet"
)

var (
	asking    = dissecttest.NewHost("10.0.0.9", 0)
	answering = dissecttest.NewHost("10.0.0.5", 0)
	nobody    = dissecttest.Host{}
	broadcast = packet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func body(op uint16, senderMAC packet.MAC, sender [4]byte, targetMAC packet.MAC, target [4]byte) []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, senderMAC[:]...), sender[:]...)
	return append(append(b, targetMAC[:]...), target[:]...)
}

var situations = map[string]func(w *dissecttest.Wire){
	"request-and-reply": func(w *dissecttest.Wire) {
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, body(1, asking.MAC, asking.Addr.As4(), nobody.MAC, answering.Addr.As4()))
		w.Ethernet(answering.MAC, asking.MAC, packet.EtherARP, body(2, answering.MAC, answering.Addr.As4(), asking.MAC, asking.Addr.As4()))
	},
	"probe-and-announcement": func(w *dissecttest.Wire) {
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, body(1, asking.MAC, [4]byte{}, nobody.MAC, asking.Addr.As4()))
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, body(1, asking.MAC, asking.Addr.As4(), nobody.MAC, asking.Addr.As4()))
	},
	"unknown-operation": func(w *dissecttest.Wire) {
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, body(77, asking.MAC, asking.Addr.As4(), nobody.MAC, answering.Addr.As4()))
	},
	"padded-and-tagged": func(w *dissecttest.Wire) {
		w.VLAN = 7
		padded := append(body(1, asking.MAC, asking.Addr.As4(), nobody.MAC, answering.Addr.As4()), make([]byte, 14)...)
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, padded)
	},
	"cut-in-target": func(w *dissecttest.Wire) {
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, body(1, asking.MAC, asking.Addr.As4(), nobody.MAC, answering.Addr.As4())[:25])
	},
	"not-ipv4": func(w *dissecttest.Wire) {
		b := body(1, asking.MAC, asking.Addr.As4(), nobody.MAC, answering.Addr.As4())
		b[2] = 0x86
		w.Ethernet(asking.MAC, broadcast, packet.EtherARP, b)
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
