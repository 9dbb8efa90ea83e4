package dissect

import (
	"bytes"
	"runtime/debug"
	"slices"
	"time"

	"github.com/otus-project/otus/sensor/packet"
)

// maxDatagrams is how many datagrams of a conversation are kept while its protocol is undecided.
const maxDatagrams = 8

// push takes the next bytes of a stream, or a datagram, in order.
func (r *Runner) push(f *flow, side int, data []byte, t time.Time, frame uint64, datagram bool) {
	switch f.state {
	case parsing:
		r.parse(f, side, data, t, frame, datagram)
	case undecoded:
		r.undecode(f, len(data))
	case detecting:
		s := &f.sides[side]
		f.held = append(f.held, held{Side: side, Data: bytes.Clone(data), Gap: s.Gap, Time: t, Frame: frame, Datagram: datagram})
		f.heldSize[side] += len(data)
		s.Gap = 0
		r.resize(f)
		full := datagram && len(f.held) >= maxDatagrams || f.heldSize[side] >= MaxProbe
		r.decide(f, full)
	}
}

// udp takes one datagram. One that the capture cut is not parsed: its reader would call it malformed.
func (r *Runner) udp(f *flow, side int, p *packet.Packet) {
	if missing := p.PayloadLength - len(p.Payload); missing > 0 {
		r.stats.LostBytes += uint64(missing)
		f.conn.LostBytes += uint64(missing)
		r.undecode(f, len(p.Payload))
		return
	}
	if len(p.Payload) > 0 {
		r.push(f, side, p.Payload, p.Frame.Time, p.Frame.Index, true)
	}
}

// forward is the side whose bytes are Probe.Forward.
func (f *flow) forward() int {
	if f.certain {
		return f.client
	}
	return 0
}

// decide asks the detectors. Strong wins at once; Weak wins with its port, once no other asks for more. final says
// that no more will come.
func (r *Runner) decide(f *flow, final bool) {
	if f.state != detecting || len(f.held) == 0 {
		return
	}
	late := r.at.Sub(f.held[0].Time) > r.limits.DetectWait
	probe := r.probeOf(f)
	hinted := r.hinted(probe)
	weak, weakSwap, open := -1, false, false
	for _, i := range hinted {
		switch v := r.ask(f, i, probe); v.Match {
		case Strong:
			r.recognise(f, i, probe, v.Swap)
			return
		case Weak:
			if weak < 0 {
				weak, weakSwap = i, v.Swap
			}
		case More:
			open = true
		}
	}
	undecided := open || weak >= 0
	for i := range r.options.Protocols {
		if slices.Contains(hinted, i) {
			continue
		}
		switch v := r.ask(f, i, probe); v.Match {
		case Strong:
			r.recognise(f, i, probe, v.Swap)
			return
		case More:
			open, undecided = true, true
		case Weak:
			undecided = true
		}
	}
	switch {
	case weak >= 0 && (final || late || !open):
		r.recognise(f, weak, probe, weakSwap)
	case final || !undecided:
		r.giveUp(f)
	}
}

// hinted gives the protocols registered for one of the probe's ports.
func (r *Runner) hinted(p Probe) []int {
	forward := r.hints[p.ForwardPort]
	backward := r.hints[p.BackwardPort]
	if len(backward) == 0 || p.ForwardPort == p.BackwardPort {
		return forward
	}
	if len(forward) == 0 {
		return backward
	}
	both := slices.Clone(forward)
	for _, i := range backward {
		if !slices.Contains(both, i) {
			both = append(both, i)
		}
	}
	return both
}

// ask calls one detector. No is remembered: it is final.
func (r *Runner) ask(f *flow, i int, probe Probe) Verdict {
	if f.denied[i/64]&(1<<(i%64)) != 0 {
		return Verdict{}
	}
	p := r.options.Protocols[i]
	detect := p.DetectTCP
	if f.conn.Transport == "udp" {
		detect = p.DetectUDP
	}
	v := Verdict{}
	if detect != nil {
		v = r.verdict(p, detect, probe)
	}
	if v.Match == No {
		f.denied[i/64] |= 1 << (i % 64)
	}
	return v
}

func (r *Runner) verdict(p *Protocol, detect func(Probe) Verdict, probe Probe) (v Verdict) {
	defer func() {
		if value := recover(); value != nil {
			r.failed(p, value)
			v = Verdict{}
		}
	}()
	return detect(probe)
}

// probeOf shows the detectors what is held. The bytes are the runner's and change with the next call.
func (r *Runner) probeOf(f *flow) Probe {
	forward := f.forward()
	ports := [2]uint16{f.conn.Server.Port, f.conn.Client.Port} // by side of the sender: where it sends to
	if f.client == 1 {
		ports[0], ports[1] = ports[1], ports[0]
	}
	p := Probe{ForwardPort: ports[forward], BackwardPort: ports[1-forward]}
	whole := [2]bool{true, true}
	var runs [2][]byte
	for i := range runs {
		runs[i] = r.probe[i][:0]
	}
	for i := range f.held {
		h := &f.held[i]
		if h.Gap > 0 || h.Datagram {
			runs[h.Side] = runs[h.Side][:0]
			whole[h.Side] = whole[h.Side] && h.Datagram
		}
		room := MaxProbe - len(runs[h.Side])
		runs[h.Side] = append(runs[h.Side], h.Data[:min(room, len(h.Data))]...)
	}
	r.probe = runs
	p.Forward, p.Backward = runs[forward], runs[1-forward]
	p.HandshakeSeen = f.conn.HandshakeSeen && whole[forward]
	return p
}

// recognise settles the protocol and the sides, and parses what was held.
func (r *Runner) recognise(f *flow, i int, probe Probe, swap bool) {
	p := r.options.Protocols[i]
	to, from := slices.Contains(p.Ports, probe.ForwardPort), slices.Contains(p.Ports, probe.BackwardPort)
	switch {
	case from && !to:
		// The registered port is where requests go. A device may have opened the connection from there itself.
		f.setClient(1 - f.forward())
	case f.certain:
	case swap:
		f.setClient(1 - f.forward())
	default:
		f.setClient(f.forward())
	}
	parser := r.makeParser(p)
	if parser == nil {
		r.giveUp(f)
		return
	}
	f.state, f.parser = parsing, parser
	f.conn.Protocol = p
	r.handling = true
	r.handler.Recognised(&f.conn)
	r.handling = false
	waiting := f.held
	f.held, f.heldSize = nil, [2]int{}
	// Bytes lost behind what was held must not seem lost before it.
	gaps := [2]uint64{f.sides[0].Gap, f.sides[1].Gap}
	f.sides[0].Gap, f.sides[1].Gap = 0, 0
	r.resize(f)
	for _, h := range waiting {
		f.sides[h.Side].Gap += h.Gap
		if h.Gap > 0 {
			r.dropUnread(f, h.Side)
		}
		r.push(f, h.Side, h.Data, h.Time, h.Frame, h.Datagram)
	}
	for side, gap := range gaps {
		if gap > 0 {
			f.sides[side].Gap += gap
			r.dropUnread(f, side)
		}
	}
}

func (r *Runner) makeParser(p *Protocol) (parser Parser) {
	defer func() {
		if value := recover(); value != nil {
			r.failed(p, value)
			parser = nil
		}
	}()
	return p.NewParser()
}

// giveUp settles that no plug-in understands the flow.
func (r *Runner) giveUp(f *flow) {
	f.state, f.parser = undecoded, nil
	for i := range f.held {
		r.undecode(f, len(f.held[i].Data))
	}
	f.held, f.heldSize = nil, [2]int{}
	r.resize(f)
}

// failed records a plug-in's panic.
func (r *Runner) failed(p *Protocol, value any) {
	if r.handling {
		panic(value) // not the plug-in's: a stage behind it failed
	}
	r.stats.PluginFailures++
	if r.options.OnPanic != nil {
		r.options.OnPanic(p.ID, value, debug.Stack())
	}
}
