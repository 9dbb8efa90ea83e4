// Package alert keeps the alerts of one sensor. Findings come in; rows go out, one per new or changed alert, each with
// its own revision. Findings of one type and key are one alert while that is open; after it was closed the next finding
// opens the next occurrence, with an id of its own. Commands close, learn, mute and reopen.
//
// The table is bounded: closed alerts leave first, oldest first. All state is plain data, and every row follows from the
// findings, commands and ticks alone.
package alert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/internal/lru"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
	"github.com/otus-project/otus/sensor/inventory"
)

// Options configure a Book.
type Options struct {
	SensorID, SensorName string
	// Types are the alert types by id.
	Types map[string]detect.TypeOf
	// Devices tells which device stands at an endpoint.
	Devices interface {
		Lookup(dissect.Endpoint) *event.Device
	}
	// Captures says that packets are kept around every alert that a frame raised.
	Captures bool
	// MaxAlerts bounds the table, default 20,000: some years of a noisy plant.
	MaxAlerts int
	// Emit receives every row.
	Emit func(event.Alert)
}

// When rows of an open alert that only recurs are sent: after updateFirst, then twice as long each time, up to
// updateLast.
const (
	updateFirst = time.Minute
	updateLast  = time.Hour
)

// closeAfter is when an alert nobody looked at is closed by itself: 90 days without recurrence.
const closeAfter = 90 * 24 * time.Hour

// Bounds of one alert.
const (
	maxLearn   = 256 // baseline entries
	maxValues  = 8   // values of one detail
	maxDetails = 32
)

// Book is the table of alerts. It is owned by one goroutine.
type Book struct {
	o         Options
	namespace uuid.UUID
	state     state
}

// state is everything a restart needs.
type state struct {
	Keys   *lru.Table[string, *merge]  `json:"keys"`   // by type and merge key
	Alerts *lru.Table[string, *record] `json:"alerts"` // by id
	// Command is the highest command applied.
	Command uint64 `json:"command,omitempty"`
	// Due is the earliest time at which a pending row is due; zero where none is pending.
	Due time.Time `json:"due"`
	// Swept is when old alerts were last looked for.
	Swept  time.Time `json:"swept"`
	Silent uint64    `json:"silent,omitempty"` // findings of muted and learned keys
}

// merge is what is known of one merge key, beyond its newest alert.
type merge struct {
	Occurrence int    `json:"occurrence"`
	Current    string `json:"current"` // id of the newest alert
	Muted      bool   `json:"muted,omitempty"`
	Learned    bool   `json:"learned,omitempty"`
}

// record is one alert.
type record struct {
	// Alert is as last emitted, plus what came since, less what row adds.
	Alert               event.Alert      `json:"alert"`
	Source, Destination dissect.Endpoint // of the first finding
	Learn               []baseline.Entry `json:"learn,omitempty"`
	Pending             bool             `json:"pending,omitempty"`
	Emitted             time.Time        `json:"emitted"`
	Wait                time.Duration    `json:"wait"`
}

// NewBook makes an empty book.
func NewBook(o Options) *Book {
	if o.MaxAlerts == 0 {
		o.MaxAlerts = 20_000
	}
	return &Book{o: o, namespace: inventory.Namespace(o.SensorID), state: state{
		Keys:   lru.New[string, *merge](4 * o.MaxAlerts),
		Alerts: lru.New[string, *record](o.MaxAlerts),
	}}
}

// Raise takes a finding. now is stage time.
func (b *Book) Raise(f detect.Finding, now time.Time) {
	t, ok := b.o.Types[f.Type]
	if !ok {
		return
	}
	m := b.merge(f.Type, f.Key)
	if m.Muted || m.Learned {
		b.state.Silent++
		return
	}
	if r, ok := b.state.Alerts.Get(m.Current); ok && r.Alert.Status != event.AlertClosed {
		b.again(r, &f)
		return
	}
	m.Occurrence++
	r := b.open(&t, &f, m.Occurrence)
	m.Current = r.Alert.ID
	b.makeRoom()
	b.state.Alerts.Put(r.Alert.ID, r)
	b.emit(r, now)
}

func (b *Book) merge(id, key string) *merge {
	name := id + "\x00" + key
	m, ok := b.state.Keys.Get(name)
	if !ok {
		m = &merge{}
		b.state.Keys.Put(name, m)
	}
	return m
}

// makeRoom drops the oldest closed alert when the table is full; without one the table itself drops the oldest.
func (b *Book) makeRoom() {
	if b.state.Alerts.Len() < b.o.MaxAlerts {
		return
	}
	for id, r := range b.state.Alerts.All() {
		if r.Alert.Status == event.AlertClosed {
			b.state.Alerts.Delete(id)
			return
		}
	}
}

func (b *Book) open(t *detect.TypeOf, f *detect.Finding, occurrence int) *record {
	protocol := "GENERIC"
	if f.Protocol != nil {
		protocol = f.Protocol.Name
	}
	return &record{
		Source: f.Source, Destination: f.Destination, Learn: f.Learn, Wait: updateFirst,
		Alert: event.Alert{
			ID:  uuid.NewSHA1(b.namespace, []byte("alert\x00"+f.Type+"\x00"+f.Key+"\x00"+strconv.Itoa(occurrence))).String(),
			Key: f.Key, Occurrence: occurrence,
			Type: t.ID, Title: t.Title, Engine: t.Engine, Severity: t.Severity, Category: t.Category, Protocol: protocol,
			Learnable: t.Learnable,
			Status:    event.AlertNew, FirstDetection: f.Time, LastDetection: f.Time, LastActivity: f.Time, Count: 1,
			SensorID: b.o.SensorID, SensorName: b.o.SensorName,
			Details: mergeDetails(nil, f.Details), Frame: f.Frame, HasCapture: b.o.Captures && f.Frame > 0,
		},
	}
}

// again records that an open alert's traffic was seen once more.
func (b *Book) again(r *record, f *detect.Finding) {
	r.Alert.Count++
	r.Alert.LastDetection = later(r.Alert.LastDetection, f.Time)
	r.Alert.LastActivity = later(r.Alert.LastActivity, f.Time)
	r.Alert.Details = mergeDetails(r.Alert.Details, f.Details)
	for _, e := range f.Learn {
		if len(r.Learn) < maxLearn && !slices.Contains(r.Learn, e) {
			r.Learn = append(r.Learn, e)
		}
	}
	if !r.Pending {
		r.Pending = true
		b.due(r.Emitted.Add(r.Wait))
	}
}

func (b *Book) due(at time.Time) {
	if b.state.Due.IsZero() || at.Before(b.state.Due) {
		b.state.Due = at
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// mergeDetails adds new details; a name that is there with another value lists both, up to maxValues of them.
func mergeDetails(have, add []event.Detail) []event.Detail {
	out := slices.Clone(have)
	for _, d := range add {
		at, found := slices.BinarySearchFunc(out, d.Name, func(x event.Detail, name string) int { return strings.Compare(x.Name, name) })
		if !found {
			if len(out) < maxDetails {
				out = slices.Insert(out, at, d)
			}
			continue
		}
		values := strings.Split(out[at].Value, "; ")
		if !slices.Contains(values, d.Value) && len(values) < maxValues {
			out[at].Value += "; " + d.Value
		}
	}
	return out
}

// emit sends the alert as it is now, under the next revision.
func (b *Book) emit(r *record, now time.Time) {
	a := &r.Alert
	a.Revision++
	if a.Revision == 1 {
		a.Published = now
	}
	r.Pending, r.Emitted = false, now
	b.o.Emit(b.row(r))
}

// row is the alert with what its type says and the inventory knows by now; neither is kept in the book.
func (b *Book) row(r *record) event.Alert {
	a, t := r.Alert, b.o.Types[r.Alert.Type]
	a.Tactics, a.Techniques = t.Tactics, t.Techniques
	a.Explanation = event.Explanation{Meaning: t.Meaning, Impact: t.Impact, Safe: t.Safe, Avoid: t.Avoid, Ask: t.Ask}
	a.Source, a.Destination = b.endpoint(r.Source, &a), b.endpoint(r.Destination, &a)
	a.Description = fill(t.Description, &a)
	return a
}

func (b *Book) endpoint(e dissect.Endpoint, a *event.Alert) *event.Endpoint {
	address := detect.Address(e)
	if address == "" {
		return nil
	}
	out := &event.Endpoint{Address: address, Port: e.Port}
	if b.o.Devices == nil {
		return out
	}
	if d := b.o.Devices.Lookup(e); d != nil {
		out.DeviceID, out.Name = d.ID, d.Name
		if !slices.ContainsFunc(a.Devices, func(x event.Device) bool { return x.ID == d.ID }) {
			a.Devices = append(a.Devices, *d)
		}
	}
	return out
}

// fill puts the alert's values in place of the template's {names}.
func fill(template string, a *event.Alert) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "{")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			out.WriteString("{" + rest)
			return out.String()
		}
		out.WriteString(value(name, a))
		template = after
	}
}

// unknown stands where the evidence lacks a value.
const unknown = "unknown"

func value(name string, a *event.Alert) string {
	switch name {
	case "source":
		return side(a.Source)
	case "destination":
		return side(a.Destination)
	case "protocol":
		return a.Protocol
	}
	for _, d := range a.Details {
		if d.Name == name {
			return d.Value
		}
	}
	return unknown
}

func side(e *event.Endpoint) string {
	switch {
	case e == nil:
		return unknown
	case e.Name != "" && e.Name != e.Address:
		return e.Name + " (" + e.Address + ")"
	}
	return e.Address
}

// Tick sends the rows that are due and closes what nobody looked at for too long.
func (b *Book) Tick(now time.Time) {
	if !b.state.Due.IsZero() && !now.Before(b.state.Due) {
		b.sendPending(now, false)
	}
	if now.Sub(b.state.Swept) < time.Hour {
		return
	}
	b.state.Swept = now
	var old []*record
	for _, r := range b.state.Alerts.All() {
		if r.Alert.Status == event.AlertNew && now.Sub(r.Alert.LastDetection) >= closeAfter {
			old = append(old, r)
		}
	}
	for _, r := range old {
		r.Alert.Status = event.AlertClosed
		r.Alert.LastActivity = later(r.Alert.LastActivity, now)
		b.emit(r, now)
	}
}

// Flush sends all pending rows: the source has ended.
func (b *Book) Flush(now time.Time) { b.sendPending(now, true) }

func (b *Book) sendPending(now time.Time, all bool) {
	b.state.Due = time.Time{}
	var send []*record
	for _, r := range b.state.Alerts.All() {
		switch {
		case !r.Pending:
		case all || now.Sub(r.Emitted) >= r.Wait:
			send = append(send, r)
		default:
			b.due(r.Emitted.Add(r.Wait))
		}
	}
	for _, r := range send {
		r.Wait = min(2*r.Wait, updateLast)
		b.emit(r, now)
	}
}

// Rewind forgets when rows were sent: the next source's times have nothing to do with this one's. Call it after Flush.
func (b *Book) Rewind() {
	for _, r := range b.state.Alerts.All() {
		r.Emitted = time.Time{}
	}
	b.state.Due, b.state.Swept = time.Time{}, time.Time{}
}

// Get returns an alert as it stands, with what was not emitted yet.
func (b *Book) Get(id string) (event.Alert, bool) {
	if r, ok := b.state.Alerts.Peek(id); ok {
		return b.row(r), true
	}
	return event.Alert{}, false
}

// All returns all alerts, longest unchanged first.
func (b *Book) All() []event.Alert {
	var out []event.Alert
	for _, r := range b.state.Alerts.All() {
		out = append(out, b.row(r))
	}
	return out
}

// Open counts the alerts that are New or Active.
func (b *Book) Open() int {
	n := 0
	for _, r := range b.state.Alerts.All() {
		if r.Alert.Status != event.AlertClosed {
			n++
		}
	}
	return n
}

// Silenced counts the findings that muted and learned keys kept back; Evicted the alerts dropped for lack of room.
func (b *Book) Silenced() uint64 { return b.state.Silent }
func (b *Book) Evicted() uint64  { return b.state.Alerts.Evicted() }

// Snapshot returns the whole state.
func (b *Book) Snapshot() ([]byte, error) { return json.Marshal(&b.state) }

// Restore continues from a snapshot as if there had been no restart.
func (b *Book) Restore(data []byte) error {
	fresh := NewBook(b.o)
	if err := json.Unmarshal(data, &fresh.state); err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	b.state = fresh.state
	return nil
}
