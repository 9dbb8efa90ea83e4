package alert_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/otus-project/otus/event"
	"github.com/otus-project/otus/sensor/alert"
	"github.com/otus-project/otus/sensor/baseline"
	"github.com/otus-project/otus/sensor/detect"
	"github.com/otus-project/otus/sensor/dissect"
)

var (
	start  = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)
	modbus = &dissect.Protocol{ID: "modbus", Name: "MODBUS", OT: true}
)

type inventory map[string]*event.Device

func (i inventory) Lookup(e dissect.Endpoint) *event.Device { return i[e.Addr.String()] }

// bench is a book with all its rows.
type bench struct {
	*alert.Book
	o    alert.Options
	rows []event.Alert
}

func newBench(max int) *bench {
	b := &bench{}
	kind := func(id string, learnable bool) detect.TypeOf {
		return detect.TypeOf{Engine: event.EnginePolicyViolation, Type: detect.Type{ID: id, Title: strings.ToUpper(id), Severity: event.SeverityMedium,
			Category: "Programming", Learnable: learnable, Description: "{source} used {function code} on {destination} over {protocol}",
			Meaning: "m", Impact: "i", Safe: []string{"s"}, Avoid: []string{"a"}, Ask: "q", Tactics: []string{"Discovery"}, Techniques: []string{"T0842"}}}
	}
	b.o = alert.Options{SensorID: "0e0e4a3e-6a30-4a68-9d3e-4b1f0d7d1c11", SensorName: "local", MaxAlerts: max,
		Types:   map[string]detect.TypeOf{"learnable": kind("learnable", true), "plain": kind("plain", false)},
		Devices: inventory{"10.0.0.1": {ID: "d1", Name: "hmi"}},
		Emit:    func(a event.Alert) { b.rows = append(b.rows, a) }}
	b.Book = alert.NewBook(b.o)
	return b
}

func finding(id, code string, at time.Time) detect.Finding {
	return detect.Finding{Type: id, Key: "k", Time: at, Frame: 7, Protocol: modbus,
		Source:      dissect.Endpoint{Addr: netip.MustParseAddr("10.0.0.1"), Port: 40000},
		Destination: dissect.Endpoint{Addr: netip.MustParseAddr("10.0.0.2"), Port: 502},
		Details:     []event.Detail{{Name: "function code", Value: code}},
		Learn:       []baseline.Entry{{Kind: "function", Subject: "10.0.0.1>10.0.0.2", Value: "modbus " + code}}}
}

func (b *bench) last() event.Alert { return b.rows[len(b.rows)-1] }

func (b *bench) command(n uint64, action event.Action, at time.Time) alert.Result {
	return b.Command(event.Command{ID: n, Action: action, AlertID: b.last().ID, Time: at}, at)
}

func TestFirstRowTellsAll(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("learnable", "6", start), start)
	a := b.last()
	if a.Revision != 1 || a.Status != event.AlertNew || a.Count != 1 || a.Occurrence != 1 || !a.Published.Equal(start) || a.Protocol != "MODBUS" {
		t.Errorf("first row: %+v", a)
	}
	if want := "hmi (10.0.0.1) used 6 on 10.0.0.2 over MODBUS"; a.Description != want {
		t.Errorf("description %q, want %q", a.Description, want)
	}
	if len(a.Devices) != 1 || a.Source.DeviceID != "d1" || a.Destination.DeviceID != "" || a.Destination.Port != 502 {
		t.Errorf("devices %v, source %+v, destination %+v", a.Devices, a.Source, a.Destination)
	}
	if a.Explanation.Meaning != "m" || a.Explanation.Ask != "q" || len(a.Techniques) != 1 {
		t.Errorf("explanation %+v, techniques %v", a.Explanation, a.Techniques)
	}
}

func TestRecurrenceIsOneAlertAndFewRows(t *testing.T) {
	b := newBench(0)
	at := start
	for n := range 6 * 60 { // six hours, once a minute
		b.Raise(finding("learnable", fmt.Sprint(n%3), at), at)
		at = at.Add(time.Minute)
		b.Tick(at)
	}
	// After 1, 2, 4, 8, 16, 32 and then every 60 minutes.
	var minutes []int
	for _, a := range b.rows {
		minutes = append(minutes, int(a.LastActivity.Sub(start)/time.Minute))
	}
	if want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303}; !slices.Equal(minutes, want) {
		t.Errorf("rows tell of minutes %v, want %v", minutes, want)
	}
	last := b.last()
	if last.ID != b.rows[0].ID || last.Revision != len(b.rows) || last.Count != 304 || !last.Published.Equal(start) || !last.FirstDetection.Equal(start) {
		t.Errorf("last row: id same %t, revision %d, count %d", last.ID == b.rows[0].ID, last.Revision, last.Count)
	}
	if got := last.Details[0].Value; got != "0; 1; 2" {
		t.Errorf("details %q, want all three codes", got)
	}
	b.Flush(at)
	if last := b.last(); last.Count != 360 {
		t.Errorf("after the flush the count is %d, want 360", last.Count)
	}
}

func TestAfterCloseTheNextOccurrence(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("plain", "6", start), start)
	first := b.last()
	b.command(1, event.ActionClose, start.Add(time.Minute))
	if a := b.last(); a.Status != event.AlertClosed || a.Revision != 2 || !a.LastActivity.Equal(start.Add(time.Minute)) {
		t.Errorf("closed row: %s, revision %d, last activity %s", a.Status, a.Revision, a.LastActivity)
	}
	b.Raise(finding("plain", "6", start.Add(time.Hour)), start.Add(time.Hour))
	second := b.last()
	if second.ID == first.ID || second.Occurrence != 2 || second.Revision != 1 || second.Status != event.AlertNew {
		t.Errorf("next finding: same id %t, occurrence %d, revision %d", second.ID == first.ID, second.Occurrence, second.Revision)
	}
	other := newBench(0)
	other.Raise(finding("plain", "6", start), start)
	if other.last().ID != first.ID {
		t.Error("the same finding on the same sensor has another id")
	}
}

func TestCommandsCountOnce(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("plain", "6", start), start)
	b.command(5, event.ActionSetActive, start)
	for _, id := range []uint64{5, 4} {
		if r := b.command(id, event.ActionClose, start); r.Applied {
			t.Errorf("command %d after 5 was applied", id)
		}
	}
	if b.command(6, event.ActionSetActive, start); len(b.rows) != 2 || b.last().Status != event.AlertActive {
		t.Errorf("%d rows, status %s; want 2 and Active", len(b.rows), b.last().Status)
	}
	if r := b.Command(event.Command{ID: 7, Action: event.ActionClose, AlertID: "none"}, start); !r.Applied || r.Known {
		t.Errorf("command about an unknown alert: %+v", r)
	}
	early := start.Add(-time.Hour)
	b.command(8, event.ActionClose, early)
	if a := b.last(); !a.LastActivity.Equal(start) {
		t.Errorf("a command from the past moved the last activity to %s", a.LastActivity)
	}
}

func TestLearnGivesEntriesAndOnlyThose(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("learnable", "6", start), start)
	b.Raise(finding("learnable", "16", start), start)
	r := b.command(1, event.ActionLearn, start)
	if want := []string{"modbus 6", "modbus 16"}; len(r.Learn) != 2 || r.Learn[0].Value != want[0] || r.Learn[1].Value != want[1] {
		t.Errorf("learned %v, want %v", r.Learn, want)
	}
	if a := b.last(); a.Status != event.AlertClosed || !a.Learned {
		t.Errorf("after learn: %s, learned %t", a.Status, a.Learned)
	}
	// The baseline keeps what was learned silent; anything else of the same key is news.
	b.Raise(finding("learnable", "5", start), start)
	if a := b.last(); a.Occurrence != 2 {
		t.Error("another code of a learned key stayed silent")
	}
}

func TestLearnWithoutEntriesSilencesTheKey(t *testing.T) {
	b := newBench(0)
	f := finding("learnable", "6", start)
	f.Learn = nil
	b.Raise(f, start)
	b.command(1, event.ActionLearn, start)
	rows := len(b.rows)
	b.Raise(f, start)
	if len(b.rows) != rows || b.Silenced() != 1 {
		t.Errorf("%d rows after learning, %d silenced", len(b.rows)-rows, b.Silenced())
	}
}

func TestLearnOfAPlainTypeOnlyCloses(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("plain", "6", start), start)
	if r := b.command(1, event.ActionLearn, start); len(r.Learn) != 0 || b.last().Learned || b.last().Status != event.AlertClosed {
		t.Errorf("learned %v, row %+v", r.Learn, b.last())
	}
	b.Raise(finding("plain", "6", start), start)
	if b.last().Occurrence != 2 {
		t.Error("a type that cannot be learned fell silent")
	}
}

func TestMuteAndUnmute(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("plain", "6", start), start)
	b.command(1, event.ActionMute, start)
	if a := b.last(); a.Status != event.AlertClosed || !a.Muted {
		t.Errorf("muted row: %s, muted %t", a.Status, a.Muted)
	}
	b.Raise(finding("plain", "6", start), start)
	b.Raise(finding("plain", "6", start), start)
	if len(b.rows) != 2 || b.Silenced() != 2 {
		t.Errorf("%d rows, %d silenced; want 2 and 2", len(b.rows), b.Silenced())
	}
	b.command(2, event.ActionUnmute, start)
	b.Raise(finding("plain", "6", start), start)
	if a := b.last(); a.Occurrence != 2 || a.Muted {
		t.Errorf("after unmute: occurrence %d, muted %t", a.Occurrence, a.Muted)
	}
}

func TestReopenedAlertTakesTheNextFinding(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("plain", "6", start), start)
	b.command(1, event.ActionClose, start)
	b.command(2, event.ActionSetActive, start)
	b.Raise(finding("plain", "6", start), start)
	b.Flush(start)
	if a := b.last(); a.Occurrence != 1 || a.Count != 2 || a.Status != event.AlertActive {
		t.Errorf("occurrence %d, count %d, %s; want 1, 2, Active", a.Occurrence, a.Count, a.Status)
	}
}

func TestNewAlertsCloseAfterNinetyDays(t *testing.T) {
	b := newBench(0)
	b.Raise(finding("plain", "6", start), start)
	b.Tick(start.Add(89 * 24 * time.Hour))
	if b.last().Status != event.AlertNew {
		t.Error("closed after 89 days")
	}
	b.Tick(start.Add(90 * 24 * time.Hour))
	if b.last().Status != event.AlertClosed {
		t.Error("still open after 90 days")
	}
}

func TestTableDropsClosedAlertsFirst(t *testing.T) {
	b := newBench(3)
	for n := range 3 {
		f := finding("plain", "6", start)
		f.Key = fmt.Sprint(n)
		b.Raise(f, start)
		if n == 1 {
			b.command(0, event.ActionClose, start)
		}
	}
	closed := b.rows[1].ID
	f := finding("plain", "6", start)
	f.Key = "3"
	b.Raise(f, start)
	if _, ok := b.Get(closed); ok {
		t.Error("the closed alert is still there")
	}
	if b.Open() != 3 || b.Evicted() != 0 {
		t.Errorf("%d open, %d evicted; want 3 and 0", b.Open(), b.Evicted())
	}
}

func TestApplyRollsForward(t *testing.T) {
	ahead := newBench(0)
	ahead.Raise(finding("learnable", "6", start), start)
	behind := newBench(0)
	state, _ := ahead.Snapshot()
	if err := behind.Restore(state); err != nil {
		t.Fatal(err)
	}
	ahead.command(1, event.ActionClose, start)
	ahead.Raise(finding("learnable", "16", start), start)
	for _, row := range slices.Concat(ahead.rows, ahead.rows) {
		behind.Apply(row)
	}
	behind.rows = nil
	ahead.command(2, event.ActionMute, start)
	behind.Apply(ahead.last())
	behind.Raise(finding("learnable", "6", start), start)
	if len(behind.rows) != 0 {
		t.Errorf("a muted key spoke after rolling forward: %+v", behind.rows)
	}
	a, _ := ahead.Get(ahead.rows[1].ID)
	got, ok := behind.Get(a.ID)
	if !ok || got.Status != a.Status || got.Revision != a.Revision || got.Description != a.Description || !reflect.DeepEqual(got.Details, a.Details) {
		t.Errorf("rolled forward to %+v, want %+v", got, a)
	}
}

func TestRestoredBookGoesOnAlike(t *testing.T) {
	play := func(restart bool) string {
		b := newBench(20)
		at := start
		for n := range 400 {
			f := finding([]string{"plain", "learnable"}[n%2], fmt.Sprint(n%5), at)
			f.Key = fmt.Sprint(n % 30)
			b.Raise(f, at)
			if n%17 == 0 {
				b.command(uint64(n+1), []event.Action{event.ActionClose, event.ActionMute, event.ActionLearn, event.ActionUnmute}[n%4], at)
			}
			at = at.Add(time.Duration(n%90) * time.Second)
			b.Tick(at)
			if restart {
				state, err := b.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				b.Book = alert.NewBook(b.o)
				if err := b.Restore(state); err != nil {
					t.Fatal(err)
				}
			}
		}
		b.Flush(at)
		out, err := json.Marshal(b.rows)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if plain, restarted := play(false), play(true); plain != restarted {
		t.Error("rows differ with a restart after every finding")
	}
}
