package alert

import (
	"net"
	"net/netip"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/packet"
)

// Result says what a command did.
type Result struct {
	// Applied is false for a command that was applied before.
	Applied bool
	// Known is false where no such alert is in the book.
	Known bool
	// Learn are the entries that the baseline must take in.
	Learn []baseline.Entry
}

// Command applies a command, once: one with an id at or below the highest applied changes nothing. Commands that are
// not about alerts are only counted as applied.
func (b *Book) Command(c event.Command, now time.Time) Result {
	if c.ID != 0 {
		if c.ID <= b.state.Command {
			return Result{}
		}
		b.state.Command = c.ID
	}
	r, ok := b.state.Alerts.Peek(c.AlertID)
	if !ok {
		return Result{Applied: true}
	}
	result := Result{Applied: true, Known: true}
	a := &r.Alert
	m := b.merge(a.Type, a.Key)
	before := *a
	switch c.Action {
	case event.ActionSetNew, event.ActionSetActive:
		a.Status, a.Muted = event.AlertNew, false
		if c.Action == event.ActionSetActive {
			a.Status = event.AlertActive
		}
		if m.Current == a.ID {
			m.Muted = false
		}
	case event.ActionClose:
		a.Status = event.AlertClosed
	case event.ActionLearn:
		a.Status = event.AlertClosed
		if a.Learnable {
			a.Learned = true
			result.Learn = r.Learn
			// Where the finding is no entry of the baseline, the key itself is what was learned.
			m.Learned = m.Learned || len(r.Learn) == 0
		}
	case event.ActionMute:
		a.Status, a.Muted = event.AlertClosed, true
		m.Muted = true
	case event.ActionUnmute:
		a.Muted = false
		m.Muted = false
	}
	if a.Status == before.Status && a.Muted == before.Muted && a.Learned == before.Learned {
		return result
	}
	at := c.Time
	if at.IsZero() {
		at = now
	}
	a.LastActivity = later(a.LastActivity, at)
	b.emit(r, now)
	return result
}

// Apply rolls the book forward to a row that was emitted after the state it was restored from. What Learn would add
// to the baseline is not in a row: learning such an alert keeps its key silent instead.
func (b *Book) Apply(row event.Alert) {
	r, ok := b.state.Alerts.Get(row.ID)
	if !ok {
		r = &record{Wait: updateFirst, Source: endpointOf(row.Source), Destination: endpointOf(row.Destination)}
		b.makeRoom()
		b.state.Alerts.Put(row.ID, r)
	}
	if row.Revision <= r.Alert.Revision {
		return
	}
	r.Alert, r.Pending, r.Emitted = row, false, row.LastActivity
	r.Alert.Devices, r.Alert.Explanation, r.Alert.Tactics, r.Alert.Techniques = nil, event.Explanation{}, nil, nil
	r.Alert.Source, r.Alert.Destination, r.Alert.Description = nil, nil, ""
	m := b.merge(row.Type, row.Key)
	if row.Occurrence >= m.Occurrence {
		m.Occurrence, m.Current = row.Occurrence, row.ID
		m.Muted = row.Muted
		m.Learned = row.Learned && len(r.Learn) == 0
	}
}

// endpointOf reads back an endpoint of a row.
func endpointOf(e *event.Endpoint) dissect.Endpoint {
	if e == nil {
		return dissect.Endpoint{}
	}
	out := dissect.Endpoint{Port: e.Port}
	if addr, err := netip.ParseAddr(e.Address); err == nil {
		out.Addr = addr
		return out
	}
	if mac, err := net.ParseMAC(e.Address); err == nil && len(mac) == len(out.MAC) {
		out.MAC = packet.MAC(mac)
	}
	return out
}
