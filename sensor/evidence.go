package sensor

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/capture"
	"github.com/otus-project/otus/sensor/packet"
)

// Bounds of the packets kept around alerts.
const (
	ringFrames    = 2048
	ringBytes     = 1 << 20
	framesBefore  = 64              // of the same pair, the one that raised the alert among them
	framesAfter   = 32              // of the same pair
	waitAfter     = 5 * time.Second // of stage time
	openEvidences = 256             // alerts still collecting; one more closes the oldest
)

// evidence keeps the packets around each alert: a ring of the last frames, from which an alert takes those of its
// pair, and the alerts that still wait for what follows.
type evidence struct {
	ring  []keptFrame // slots, reused
	first int         // slot of the oldest
	count int
	bytes int
	open  []openEvidence
	emit  func(event.Capture)
}

// evidenceState is the same as plain data, oldest frame first, for the checkpoint.
type evidenceState struct {
	Ring []keptFrame
	Open []openEvidence
}

type keptFrame struct {
	Time     time.Time
	Link     packet.LinkType
	Length   int
	Data     []byte
	Src, Dst side
}

// side is one end of a frame or alert.
type side struct {
	Addr netip.Addr
	MAC  packet.MAC
}

type openEvidence struct {
	AlertID string
	A, B    side // B may be zero
	Until   time.Time
	After   int
	Frames  []keptFrame
}

func newEvidence(state evidenceState, emit func(event.Capture)) *evidence {
	e := &evidence{ring: make([]keptFrame, ringFrames), open: state.Open, emit: emit}
	for _, f := range state.Ring {
		e.ring[e.count] = f
		e.count++
		e.bytes += len(f.Data)
	}
	return e
}

// state copies nothing: use it before the next frame comes.
func (e *evidence) state() evidenceState {
	s := evidenceState{Open: e.open}
	for i := range e.count {
		s.Ring = append(s.Ring, e.ring[(e.first+i)%ringFrames])
	}
	return s
}

// packet takes one decoded frame into the ring and into the alerts that wait for their pair.
func (e *evidence) packet(p *packet.Packet) {
	for e.count == ringFrames || e.count > 0 && e.bytes+len(p.Frame.Data) > ringBytes {
		e.bytes -= len(e.ring[e.first].Data)
		e.first = (e.first + 1) % ringFrames
		e.count--
	}
	k := &e.ring[(e.first+e.count)%ringFrames]
	*k = keptFrame{Time: p.Frame.Time, Link: p.Frame.Link, Length: p.Frame.Length,
		Data: append(k.Data[:0], p.Frame.Data...),
		Src:  side{p.Src, p.SrcMAC}, Dst: side{p.Dst, p.DstMAC}}
	if p.EtherType == packet.EtherARP {
		k.Src.Addr, k.Dst.Addr = p.ARP.SenderIP, p.ARP.TargetIP
	}
	e.count++
	e.bytes += len(k.Data)
	for i := range e.open {
		if o := &e.open[i]; o.After < framesAfter && k.between(o.A, o.B) {
			o.Frames = append(o.Frames, k.clone())
			o.After++
		}
	}
	e.tick(p.Frame.Time)
}

// alert begins collecting for a new alert.
func (e *evidence) alert(a *event.Alert) {
	o := openEvidence{AlertID: a.ID, Until: a.LastDetection.Add(waitAfter), A: sideOf(a.Source), B: sideOf(a.Destination)}
	for i := e.count - 1; i >= 0 && len(o.Frames) < framesBefore; i-- {
		if k := &e.ring[(e.first+i)%ringFrames]; k.between(o.A, o.B) {
			o.Frames = append(o.Frames, k.clone())
		}
	}
	slices.Reverse(o.Frames)
	if len(e.open) == openEvidences {
		e.close(0)
	}
	e.open = append(e.open, o)
}

// sideOf reads the address an alert's endpoint prints.
func sideOf(e *event.Endpoint) side {
	if e == nil {
		return side{}
	}
	if addr, err := netip.ParseAddr(e.Address); err == nil {
		return side{Addr: addr}
	}
	var s side
	if mac, err := net.ParseMAC(e.Address); err == nil && len(mac) == len(s.MAC) {
		copy(s.MAC[:], mac)
	}
	return s
}

// tick closes what has waited long enough.
func (e *evidence) tick(now time.Time) {
	for i := 0; i < len(e.open); {
		if o := &e.open[i]; o.After >= framesAfter || now.After(o.Until) {
			e.close(i)
			continue
		}
		i++
	}
}

// flush closes everything: the source is at its end.
func (e *evidence) flush() {
	for len(e.open) > 0 {
		e.close(0)
	}
}

func (e *evidence) close(i int) {
	o := e.open[i]
	e.open = append(e.open[:i], e.open[i+1:]...)
	frames := o.Frames
	size := 24
	first := len(frames)
	for first > 0 && size+16+len(frames[first-1].Data) <= event.MaxCaptureBytes {
		first--
		size += 16 + len(frames[first].Data)
	}
	frames = frames[first:]
	if len(frames) == 0 {
		return // the alert is about silence, or about the sensor: there is no packet to keep
	}
	var out bytes.Buffer
	w, err := capture.NewWriter(&out, frames[0].Link)
	if err != nil {
		return // a link type that no pcap file can hold
	}
	packets := 0
	for i := range frames {
		f := &frames[i]
		if f.Link != frames[0].Link {
			continue // a pcap file holds one link type
		}
		w.Write(&packet.Frame{Time: f.Time, Link: f.Link, Data: f.Data, Length: f.Length})
		packets++
	}
	e.emit(event.Capture{AlertID: o.AlertID, Packets: packets, PCAP: out.Bytes()})
}

// between reports a frame between the two sides, or from or to a where b is not known.
func (k *keptFrame) between(a, b side) bool {
	if b == (side{}) {
		return k.Src.is(a) || k.Dst.is(a)
	}
	return k.Src.is(a) && k.Dst.is(b) || k.Src.is(b) && k.Dst.is(a)
}

// is compares by IP address where wanted has one, by MAC address otherwise.
func (s side) is(wanted side) bool {
	if wanted.Addr.IsValid() {
		return s.Addr == wanted.Addr
	}
	return !wanted.MAC.IsZero() && s.MAC == wanted.MAC
}

func (k *keptFrame) clone() keptFrame {
	c := *k
	c.Data = append([]byte(nil), k.Data...)
	return c
}
