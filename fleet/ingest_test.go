package fleet

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/otus-project/otus/event"
)

func TestIngestKeepsEverythingAcrossReopening(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	batch := mixed(s.ID, 1)
	if ack := r.send(batch); ack.Sequence != mixedRecords {
		t.Fatalf("ack: %+v", ack)
	}
	r.reopen()
	entries := r.read(s.SubscriptionID, 0)
	if len(entries) != mixedEntries {
		t.Fatalf("%d entries, want %d", len(entries), mixedEntries)
	}
	var got, want []event.Record
	for i, e := range entries {
		if e.Position != uint64(i+1) || e.Place.SensorID != s.ID || e.Place.Site != "default" {
			t.Errorf("entry %d: position %d, place %+v", i, e.Position, e.Place)
		}
		got = append(got, e.Record)
	}
	for _, rec := range batch.Records {
		if rec.Kind != event.KindCapture {
			want = append(want, rec)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("records through the stream (-want +got):\n%s", diff)
	}
	a, known, err := r.AlertState(t.Context(), "alert-1")
	if err != nil || !known || a.Revision != 2 || a.Status != event.AlertActive {
		t.Errorf("alert: %+v %t %v", a, known, err)
	}
	pcap, err := r.Capture(t.Context(), "alert-1")
	if err != nil || string(pcap) != "packets of alert-1" {
		t.Errorf("capture: %q, %v", pcap, err)
	}
	if s := r.local(); s.Version != "1.0" || s.State != stateHealthy || s.Health == nil || s.Health.Frames != 5 {
		t.Errorf("sensor after health: %+v", s)
	}
	if _, known, err := r.AlertState(t.Context(), "nothing"); known || err != nil {
		t.Errorf("unknown alert: %t %v", known, err)
	}
}

func TestIngestDropsWhatItHas(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(mixed(s.ID, 1))
	before := r.read(s.SubscriptionID, 0)
	r.mu.Lock()
	r.changes = nil
	r.mu.Unlock()
	if ack := r.send(mixed(s.ID, 1)); ack.Sequence != mixedRecords {
		t.Errorf("ack of a repeated batch: %+v", ack)
	}
	// Half old, half new: only the new half counts.
	overlapping := mixed(s.ID, 1)
	overlapping.Records = append(overlapping.Records[4:], connectionRecord(s.ID, 8), connectionRecord(s.ID, 9))
	if ack := r.send(overlapping); ack.Sequence != 9 {
		t.Errorf("ack of an overlapping batch: %+v", ack)
	}
	after := r.read(s.SubscriptionID, 0)
	if len(after) != len(before)+2 || after[len(after)-1].Record.Sequence != 9 {
		t.Errorf("%d entries, want %d", len(after), len(before)+2)
	}
	if len(r.changes) != 0 {
		t.Errorf("changes were told for repeated records: %v", r.changes)
	}
}

func TestIngestRefusesAGap(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(mixed(s.ID, 1))
	for name, b := range map[string]event.Batch{
		"before the batch": mixed(s.ID, 9),
		"inside":           {Records: []event.Record{connectionRecord(s.ID, 8), connectionRecord(s.ID, 10)}},
		"range too late":   {Records: []event.Record{connectionRecord(s.ID, 12)}, Dropped: []event.Range{{From: 10, To: 11}}},
		"range alone":      {Dropped: []event.Range{{From: 10, To: 11}}},
	} {
		b.SensorID = s.ID
		_, err := r.Ingest(t.Context(), b)
		var gap *event.SequenceError
		if !errors.As(err, &gap) || gap.Expected != map[bool]uint64{true: 9, false: 8}[name == "inside"] {
			t.Errorf("gap %s: %v", name, err)
		}
		if got := r.count(`SELECT cursor FROM sensor`); got != mixedRecords {
			t.Errorf("gap %s: cursor moved to %d", name, got)
		}
	}
	if got := len(r.read(s.SubscriptionID, 0)); got != mixedEntries {
		t.Errorf("%d entries after refused batches, want %d", got, mixedEntries)
	}
}

func TestIngestStepsOverWhatTheSensorDropped(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	b := event.Batch{SensorID: s.ID,
		Dropped: []event.Range{{From: 1, To: 3}, {From: 5, To: 5}, {From: 7, To: 9}},
		Records: []event.Record{connectionRecord(s.ID, 4), connectionRecord(s.ID, 6)}}
	for range 2 { // repeated, it counts once
		if ack := r.send(b); ack.Sequence != 9 {
			t.Errorf("ack: %+v", ack)
		}
	}
	if lost := r.local().LostRecords; lost != 7 {
		t.Errorf("lost records: %d, want 7", lost)
	}
	if entries := r.read(s.SubscriptionID, 0); len(entries) != 2 || entries[1].Record.Sequence != 6 {
		t.Errorf("entries: %+v", entries)
	}
}

func TestIngestRefusesBadBatches(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	zone := s.ZoneID
	other, _, err := r.AddSensor(t.Context(), "other", zone)
	if err != nil {
		t.Fatal(err)
	}
	r.send(mixed(other.ID, 1)) // owns alert-1, device-1
	big := mixed(s.ID, 100).Records[3]
	big.Sequence, big.Capture.PCAP = 1, make([]byte, event.MaxCaptureBytes+1)
	noKind := connectionRecord(s.ID, 1)
	noKind.Kind = "nonsense"
	for name, b := range map[string]event.Batch{
		"an unknown sensor":               mixed("nobody", 1),
		"a row of another sensor":         {SensorID: s.ID, Records: []event.Record{connectionRecord(other.ID, 1)}},
		"another sensor's alert":          {SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 1, "alert-1", 9, event.AlertNew)}},
		"another sensor's device":         {SensorID: s.ID, Records: []event.Record{deviceRecord(s.ID, 1, "device-1", 9)}},
		"another sensor's capture":        {SensorID: s.ID, Records: []event.Record{{Sequence: 1, Kind: event.KindCapture, Capture: &event.Capture{AlertID: "alert-1"}}}},
		"a capture that is too large":     {SensorID: s.ID, Records: []event.Record{big}},
		"a wrong kind":                    {SensorID: s.ID, Records: []event.Record{noKind}},
		"sequences that go back":          {SensorID: s.ID, Records: []event.Record{connectionRecord(s.ID, 1), connectionRecord(s.ID, 1)}},
		"an alert without id":             {SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 1, "", 1, event.AlertNew)}},
		"an alert without revision":       {SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 1, "x", 0, event.AlertNew)}},
		"a sequence beyond bounds":        {SensorID: s.ID, Records: []event.Record{connectionRecord(s.ID, 1<<63)}},
		"a dropped range turned round":    {SensorID: s.ID, Dropped: []event.Range{{From: 5, To: 1}}},
		"a dropped range beyond bounds":   {SensorID: s.ID, Dropped: []event.Range{{From: 1, To: 1 << 63}}},
		"a record that is also dropped":   {SensorID: s.ID, Dropped: []event.Range{{From: 1, To: 2}}, Records: []event.Record{connectionRecord(s.ID, 2)}},
		"an applied command out of range": {SensorID: s.ID, AppliedCommand: 1 << 63},
	} {
		if ack, err := r.Ingest(t.Context(), b); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNotFound) {
			t.Errorf("batch with %s: %+v, %v", name, ack, err)
		}
	}
	if n := r.count(`SELECT cursor FROM sensor WHERE id = ?`, s.ID); n != 0 {
		t.Errorf("cursor moved to %d", n)
	}
	if a, _, _ := r.AlertState(t.Context(), "alert-1"); a.SensorID != other.ID {
		t.Errorf("alert was taken over: %+v", a)
	}
}

func TestOlderRevisionIsStreamedButNeverOverwrites(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{
		alertRecord(s.ID, 1, "a", 3, event.AlertClosed), alertRecord(s.ID, 2, "a", 2, event.AlertActive), alertRecord(s.ID, 3, "a", 3, event.AlertNew),
		deviceRecord(s.ID, 4, "d", 3), deviceRecord(s.ID, 5, "d", 2),
	}})
	if a, _, err := r.AlertState(t.Context(), "a"); err != nil || a.Revision != 3 || a.Status != event.AlertClosed {
		t.Errorf("alert: %+v, %v", a, err)
	}
	if d, err := r.Device(t.Context(), "d"); err != nil || d.Revision != 3 {
		t.Errorf("device: %+v, %v", d, err)
	}
	if n := len(r.read(s.SubscriptionID, 0)); n != 5 {
		t.Errorf("%d entries, want 5", n)
	}
}
