package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/otus-project/otus/event"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a fleet on disk with a clock that a test turns, and a record of what it was told.
type rig struct {
	*Fleet
	t       testing.TB
	o       Options
	mu      sync.Mutex
	now     time.Time
	changes []string
	audits  []Audit
}

func newRig(t testing.TB, o Options) *rig {
	r := &rig{t: t, o: o, now: start}
	if r.o.Dir == "" {
		r.o.Dir = t.TempDir()
	}
	r.o.Now = func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now }
	r.o.OnChange = func(kind, id, change string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes = append(r.changes, kind+" "+id+" "+change)
	}
	r.o.Audit = func(_ context.Context, a Audit) { r.mu.Lock(); defer r.mu.Unlock(); r.audits = append(r.audits, a) }
	r.open()
	t.Cleanup(func() {
		if !t.Failed() && !r.ended() {
			r.check()
		}
		r.Close()
	})
	return r
}

// ended says whether the fleet was closed.
func (r *rig) ended() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

func (r *rig) open() {
	r.t.Helper()
	f, err := Open(r.t.Context(), r.o)
	if err != nil {
		r.t.Fatalf("open fleet: %v", err)
	}
	r.Fleet = f
}

func (r *rig) reopen() {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatalf("close fleet: %v", err)
	}
	r.open()
}

func (r *rig) pass(d time.Duration) { r.mu.Lock(); defer r.mu.Unlock(); r.now = r.now.Add(d) }

func (r *rig) local() Sensor {
	r.t.Helper()
	s, err := r.Local(r.t.Context())
	if err != nil {
		r.t.Fatalf("local sensor: %v", err)
	}
	return s
}

func (r *rig) send(b event.Batch) event.Ack {
	r.t.Helper()
	ack, err := r.Ingest(r.t.Context(), b)
	if err != nil {
		r.t.Fatalf("ingest: %v", err)
	}
	return ack
}

func (r *rig) read(subscription string, after uint64) []event.Entry {
	r.t.Helper()
	entries, err := r.Read(r.t.Context(), subscription, after, 100_000)
	if err != nil {
		r.t.Fatalf("read stream: %v", err)
	}
	return entries
}

// number gives the one number a query of the database yields.
func (r *rig) count(text string, args ...any) (n int64) {
	r.t.Helper()
	if err := r.db.reader.QueryRow(text, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", text, err)
	}
	return n
}

// check holds what must be true of a fleet's data at any time.
func (r *rig) check() {
	r.t.Helper()
	for claim, text := range map[string]string{
		"positions have no gaps":                   `SELECT count(*) FROM (SELECT position - lag(position) OVER (PARTITION BY subscription ORDER BY position) AS step FROM entry) WHERE step <> 1`,
		"the stream ends at its head":              `SELECT count(*) FROM subscription WHERE head <> (SELECT max(position) FROM entry WHERE subscription = number) `,
		"the stream's size is known":               `SELECT count(*) FROM subscription WHERE bytes <> (SELECT coalesce(sum(length(body)), 0) FROM entry WHERE subscription = number)`,
		"columns of alerts agree with their rows":  `SELECT count(*) FROM alert WHERE revision <> body ->> 'revision' OR status <> body ->> 'status' OR id <> body ->> 'id' OR sensor_id <> body ->> 'sensorId'`,
		"columns of devices agree with their rows": `SELECT count(*) FROM device WHERE revision <> body ->> 'revision' OR name <> body ->> 'name' OR id <> body ->> 'id'`,
		"the newest status change is the status":   `SELECT count(*) FROM alert WHERE status <> (SELECT status FROM alert_status WHERE alert_id = id ORDER BY revision DESC LIMIT 1)`,
		"a command has its sensor's ids":           `SELECT count(*) FROM command JOIN sensor ON sensor.id = sensor_id WHERE command.id > commands`,
		"nothing refers to what is not there":      `SELECT count(*) FROM pragma_foreign_key_check`,
		"no alert is above its stream":             `SELECT count(*) FROM (SELECT body ->> '$.record.alert.id' AS id, max(body ->> '$.record.alert.revision') AS revision FROM entry WHERE body ->> '$.record.kind' = 'alert' GROUP BY 1) AS streamed JOIN alert ON alert.id = streamed.id WHERE alert.revision < streamed.revision`,
	} {
		if n := r.count(text); n != 0 {
			r.t.Errorf("invariant %q is broken by %d rows", claim, n)
		}
	}
	var verdict string
	if err := r.db.reader.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		r.t.Errorf("integrity check: %s, %v", verdict, err)
	}
}

func alertRecord(sensor string, sequence uint64, id string, revision int, status event.AlertStatus) event.Record {
	at := start.Add(time.Duration(revision) * time.Minute)
	return event.Record{Sequence: sequence, Kind: event.KindAlert, Alert: &event.Alert{
		ID: id, Revision: revision, Type: "plc-stop", Title: "PLC Stop", Engine: event.EngineOperational, Severity: event.SeverityMedium,
		Protocol: "Siemens S7", Status: status, FirstDetection: start, LastDetection: at, LastActivity: at, Published: start, Count: revision,
		SensorID: sensor, SensorName: "local", Learnable: true,
		Source:      &event.Endpoint{DeviceID: "device-es", Name: "ES1", Address: "10.0.0.9"},
		Destination: &event.Endpoint{DeviceID: "device-plc", Name: "PLC1", Address: "10.0.0.5", Port: 102},
		Description: "ES1 stopped PLC1.",
	}}
}

func deviceRecord(sensor string, sequence uint64, id string, revision int) event.Record {
	return event.Record{Sequence: sequence, Kind: event.KindDevice, Device: &event.Device{
		ID: id, Name: "Device " + id, IPAddresses: []netip.Addr{netip.MustParseAddr("10.0.0.5")}, MACAddresses: []string{"00:1b:1b:00:00:01"},
		Vendor: "Siemens", Type: "PLC", Protocols: []string{"ARP", "Siemens S7"}, OT: true, SensorID: sensor, Revision: revision,
		FirstSeen: start, LastSeen: start.Add(time.Duration(revision) * time.Minute),
	}}
}

func healthRecord(sensor string, sequence uint64, state string) event.Record {
	return event.Record{Sequence: sequence, Kind: event.KindHealth, Health: &event.Health{
		Time: start, SensorID: sensor, SensorName: "local", Version: "1.0", Mode: event.ModeLearning, State: state, Frames: sequence, LostBytes: 7, Duplicates: 3,
	}}
}

func connectionRecord(sensor string, sequence uint64) event.Record {
	return event.Record{Sequence: sequence, Kind: event.KindConnection, Connection: &event.Connection{
		Minute: start.Add(time.Duration(sequence) * time.Minute), SensorID: sensor, ClientID: "device-es", ServerID: "device-plc",
		ClientAddress: netip.MustParseAddr("10.0.0.9"), ServerAddress: netip.MustParseAddr("10.0.0.5"), ServerPort: 102, Transport: "tcp", Protocol: "Siemens S7",
		ClientPackets: 10, ServerPackets: 9, ClientBytes: 1000, ServerBytes: 900, Messages: 5, FirstSeen: start, LastSeen: start,
	}}
}

// mixed gives a batch of every kind, from sequence on.
func mixed(sensor string, from uint64) event.Batch {
	alert := fmt.Sprint("alert-", from)
	return event.Batch{SensorID: sensor, Records: []event.Record{
		deviceRecord(sensor, from, fmt.Sprint("device-", from), 1),
		connectionRecord(sensor, from+1),
		alertRecord(sensor, from+2, alert, 1, event.AlertNew),
		{Sequence: from + 3, Kind: event.KindCapture, Capture: &event.Capture{AlertID: alert, Packets: 1, PCAP: []byte("packets of " + alert)}},
		healthRecord(sensor, from+4, "Healthy"),
		alertRecord(sensor, from+5, alert, 2, event.AlertActive),
		{Sequence: from + 6, Kind: event.KindProtocolEvent, ProtocolEvent: &event.ProtocolEvent{Time: start, SensorID: sensor, ClientID: "device-es", ServerID: "device-plc", Operation: "stop"}},
	}}
}

const mixedRecords, mixedEntries = 7, 6 // a capture does not enter the stream

func TestFirstStartMakesOneOfEach(t *testing.T) {
	r := newRig(t, Options{IDs: func(name string) string { return "id-of-" + name }, First: First{Site: "Riverside", Owners: []string{"plant@example.org"}}})
	check := func() {
		t.Helper()
		s := r.local()
		if s.ID != "id-of-sensor" || s.Name != "local" || s.Site != "Riverside" || s.SubscriptionID != "id-of-subscription" || s.Reason != "Pending activation" {
			t.Errorf("local sensor: %+v", s)
		}
		subscriptions, err := r.Subscriptions(t.Context())
		if err != nil || len(subscriptions) != 1 || !subscriptions[0].PlanOn {
			t.Errorf("subscriptions: %+v, %v", subscriptions, err)
		}
	}
	check()
	r.o.IDs = func(name string) string { return "other-" + name }
	r.reopen()
	check()
}

func TestRandomIDsDiffer(t *testing.T) {
	if a, b := newRig(t, Options{}).local().ID, newRig(t, Options{}).local().ID; a == b || len(a) != 36 {
		t.Errorf("ids of two fleets: %q, %q", a, b)
	}
}

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

func TestPlanOffKeepsTablesButNotTheStream(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	woken := make(chan string, 10)
	end := r.Subscribe(func(subscription string) { woken <- subscription })
	r.send(mixed(s.ID, 1))
	if got := <-woken; got != s.SubscriptionID {
		t.Errorf("woken for %q", got)
	}
	if err := r.SetPlan(t.Context(), s.SubscriptionID, false); err != nil {
		t.Fatal(err)
	}
	<-woken
	r.send(mixed(s.ID, 8))
	if len(woken) > 0 {
		t.Error("woken while the plan is off")
	}
	if n := len(r.read(s.SubscriptionID, 0)); n != mixedEntries {
		t.Errorf("%d entries with the plan off, want %d", n, mixedEntries)
	}
	if _, known, _ := r.AlertState(t.Context(), "alert-8"); !known {
		t.Error("the fleet's own tables stood still while the plan was off")
	}
	if err := r.SetPlan(t.Context(), s.SubscriptionID, true); err != nil {
		t.Fatal(err)
	}
	end()
	r.send(mixed(s.ID, 15))
	entries := r.read(s.SubscriptionID, mixedEntries)
	if len(entries) != mixedEntries || entries[0].Position != mixedEntries+1 || entries[0].Record.Sequence != 15 {
		t.Errorf("after switching on again: %d entries", len(entries))
	}
	if err := r.SetPlan(t.Context(), "nothing", true); !errors.Is(err, ErrNotFound) {
		t.Errorf("plan of an unknown subscription: %v", err)
	}
	if head, err := r.Head(t.Context(), s.SubscriptionID); err != nil || head != 2*mixedEntries {
		t.Errorf("head: %d, %v", head, err)
	}
}

func TestOpenAlerts(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{
		alertRecord(s.ID, 1, "new", 1, event.AlertNew), alertRecord(s.ID, 2, "active", 2, event.AlertActive), alertRecord(s.ID, 3, "closed", 1, event.AlertClosed),
	}})
	r.pass(time.Hour)
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 4, "late", 3, event.AlertNew)}})
	ids := func(since time.Time) string {
		entries, err := r.OpenAlerts(t.Context(), s.SubscriptionID, since)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range entries {
			ids = append(ids, e.Record.Alert.ID)
			if e.Place.SensorName != "local" || e.Place.SubscriptionID != s.SubscriptionID || e.Position != 0 {
				t.Errorf("entry: %+v", e)
			}
		}
		return strings.Join(ids, " ")
	}
	if got := ids(time.Time{}); got != "new active late" {
		t.Errorf("open alerts: %s", got)
	}
	if got := ids(start.Add(time.Minute)); got != "late" {
		t.Errorf("open alerts since a minute after the start: %s", got)
	}
	other, err := r.AddSubscription(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := r.OpenAlerts(t.Context(), other.ID, time.Time{}); err != nil || len(entries) != 0 {
		t.Errorf("open alerts of another subscription: %v, %v", entries, err)
	}
}

func TestLinesTravelWithEntries(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	line, err := r.AddLine(t.Context(), Line{SiteID: s.SiteID, Name: "Filtration", Owners: []string{"shift@example.org"}, DeviceIDs: []string{"device-plc"}})
	if err != nil {
		t.Fatal(err)
	}
	r.reopen() // the mapping is not only in memory
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{connectionRecord(s.ID, 1), alertRecord(s.ID, 2, "a", 1, event.AlertNew), deviceRecord(s.ID, 3, "device-plc", 1), deviceRecord(s.ID, 4, "other", 1)}})
	want := map[string]event.Line{"device-plc": {Name: "Filtration", Owners: []string{"shift@example.org"}}}
	for i, e := range r.read(s.SubscriptionID, 0) {
		w := want
		if i == 3 {
			w = nil
		}
		if diff := cmp.Diff(w, e.Lines); diff != "" {
			t.Errorf("lines of entry %d: %s", i, diff)
		}
	}
	if d, err := r.Device(t.Context(), "device-plc"); err != nil || d.Line != "Filtration" || d.OpenAlerts != 1 {
		t.Errorf("device: %+v, %v", d, err)
	}
	if err := r.SetLine(t.Context(), line.ID, nil, nil, []string{}); err != nil {
		t.Fatal(err)
	}
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{connectionRecord(s.ID, 5)}})
	if e := r.read(s.SubscriptionID, 4); len(e) != 1 || e[0].Lines != nil {
		t.Errorf("entry after the device left the line: %+v", e)
	}
}

func TestCommandsAreDeliveredUntilJournaled(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(mixed(s.ID, 1))
	command := func(request string, action event.Action) error {
		return r.Command(t.Context(), request, "alert-1", action, "ann@example.org", start.Add(time.Hour))
	}
	for range 2 {
		if err := command("request-1", event.ActionClose); err != nil {
			t.Fatal(err)
		}
	}
	if err := command("request-1", event.ActionMute); !errors.Is(err, ErrConflict) {
		t.Errorf("another command under the same request: %v", err)
	}
	if err := r.SetMode(t.Context(), "request-2", s.ID, event.ModeOperational, "ann@example.org", start); err != nil {
		t.Fatal(err)
	}
	want := []event.Command{
		{ID: 1, Action: event.ActionClose, AlertID: "alert-1", Time: start.Add(time.Hour), By: "ann@example.org"},
		{ID: 2, Action: event.ActionSetMode, Mode: event.ModeOperational, Time: start, By: "ann@example.org"},
	}
	r.reopen()
	for range 2 {
		if diff := cmp.Diff(want, r.send(event.Batch{SensorID: s.ID}).Commands); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(want[1:], r.send(event.Batch{SensorID: s.ID, AppliedCommand: 1}).Commands); diff != "" {
		t.Errorf("commands after the first was journaled (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[1:], r.send(event.Batch{SensorID: s.ID}).Commands); diff != "" {
		t.Errorf("commands for a sensor that forgot to say (-want +got):\n%s", diff)
	}
	if s := r.local(); s.PendingCommands != 1 || s.ModeWanted != event.ModeOperational {
		t.Errorf("sensor: %+v", s)
	}
	if got := r.send(event.Batch{SensorID: s.ID, AppliedCommand: 2}).Commands; len(got) != 0 {
		t.Errorf("commands after all were journaled: %+v", got)
	}
	// Restored from a backup: ids the sensor has journaled are not given again.
	r.send(event.Batch{SensorID: s.ID, AppliedCommand: 40})
	if err := command("request-3", event.ActionSetActive); err != nil {
		t.Fatal(err)
	}
	if got := r.send(event.Batch{SensorID: s.ID, AppliedCommand: 40}).Commands; len(got) != 1 || got[0].ID != 41 {
		t.Errorf("command after a restore: %+v", got)
	}
}

func TestCommandRefuses(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	fixed := alertRecord(s.ID, 1, "fixed", 1, event.AlertNew)
	fixed.Alert.Learnable = false
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{fixed}})
	for name, c := range map[string]struct {
		request, alert string
		action         event.Action
		want           error
	}{
		"an unknown alert":             {"1", "nothing", event.ActionClose, ErrNotFound},
		"an unknown action":            {"1", "fixed", "explode", ErrInvalid},
		"a sensor's action":            {"1", "fixed", event.ActionSetMode, ErrInvalid},
		"no request id":                {"", "fixed", event.ActionClose, ErrInvalid},
		"learning what is not learned": {"1", "fixed", event.ActionLearn, ErrInvalid},
	} {
		if err := r.Command(t.Context(), c.request, c.alert, c.action, "ann", start); !errors.Is(err, c.want) {
			t.Errorf("command with %s: %v", name, err)
		}
	}
	if err := r.SetMode(t.Context(), "1", s.ID, "sleeping", "ann", start); !errors.Is(err, ErrInvalid) {
		t.Errorf("unknown mode: %v", err)
	}
	if err := r.SetMode(t.Context(), "1", "nothing", event.ModeLearning, "ann", start); !errors.Is(err, ErrNotFound) {
		t.Errorf("mode of an unknown sensor: %v", err)
	}
	if n := r.count(`SELECT count(*) FROM command`); n != 0 {
		t.Errorf("%d commands stored", n)
	}
}

func TestSendWaitsForACommand(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	r.send(mixed(s.ID, 1))
	answers := make(chan event.Ack)
	go func() {
		ack, err := r.Send(t.Context(), event.Batch{SensorID: s.ID, WaitSeconds: 30})
		if err != nil {
			t.Errorf("waiting send: %v", err)
		}
		answers <- ack
	}()
	select {
	case ack := <-answers:
		t.Fatalf("answered without a command: %+v", ack)
	case <-time.After(50 * time.Millisecond):
	}
	if err := r.Command(t.Context(), "1", "alert-1", event.ActionClose, "ann", start); err != nil {
		t.Fatal(err)
	}
	select {
	case ack := <-answers:
		if len(ack.Commands) != 1 || ack.Sequence != mixedRecords {
			t.Errorf("answer: %+v", ack)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the command did not wake the waiting sensor")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Send(ctx, event.Batch{SensorID: s.ID, WaitSeconds: 30, AppliedCommand: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("send whose context ends: %v", err)
	}
}

func TestOnboarding(t *testing.T) {
	r := newRig(t, Options{})
	zone := r.local().ZoneID
	s, token, err := r.AddSensor(t.Context(), "pump house", zone)
	if err != nil {
		t.Fatal(err)
	}
	id, key, err := r.Activate(t.Context(), token)
	if err != nil || id != s.ID {
		t.Fatalf("activate: %q, %v", id, err)
	}
	if got, err := r.Authenticate(t.Context(), key); err != nil || got != s.ID {
		t.Errorf("authenticate: %q, %v", got, err)
	}
	for _, wrong := range []string{token, "", key} {
		if _, _, err := r.Activate(t.Context(), wrong); !errors.Is(err, ErrUnauthorised) {
			t.Errorf("activate with a used or wrong token: %v", err)
		}
	}
	for _, wrong := range []string{token, "", key + "x"} {
		if _, err := r.Authenticate(t.Context(), wrong); !errors.Is(err, ErrUnauthorised) {
			t.Errorf("authenticate with a wrong key: %v", err)
		}
	}
	for _, secret := range []string{token, key} {
		if n := r.count(`SELECT count(*) FROM sensor WHERE instr(CAST(key_hash AS TEXT), ?) OR instr(CAST(token_hash AS TEXT), ?)`, secret, secret); n != 0 {
			t.Error("a secret is stored in the clear")
		}
	}
	again, err := r.RenewToken(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), key); err != nil {
		t.Errorf("the key ended before the new token was used: %v", err)
	}
	r.pass(8 * 24 * time.Hour)
	if _, _, err := r.Activate(t.Context(), again); !errors.Is(err, ErrUnauthorised) {
		t.Errorf("activate with an old token: %v", err)
	}
	if again, err = r.RenewToken(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Activate(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Authenticate(t.Context(), key); !errors.Is(err, ErrUnauthorised) {
		t.Errorf("the earlier key still works: %v", err)
	}
	if _, _, err := r.AddSensor(t.Context(), "pump house", zone); !errors.Is(err, ErrConflict) {
		t.Errorf("a second sensor of that name: %v", err)
	}
	if _, _, err := r.AddSensor(t.Context(), "lost", "no zone"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a sensor in no zone: %v", err)
	}
}

func TestSensorStates(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	state := func() string { s := r.local(); return s.State + " " + s.Reason }
	r.send(event.Batch{SensorID: s.ID})
	if got := state(); got != "Healthy " {
		t.Errorf("after a question for commands: %s", got)
	}
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{healthRecord(s.ID, 1, "Warning")}})
	if got := state(); got != "Warning " {
		t.Errorf("after a warning: %s", got)
	}
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.pass(2 * time.Minute)
	if got := state(); got != "Critical Disconnected" {
		t.Errorf("after two silent minutes: %s", got)
	}
	r.changes = nil
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sensor " + s.ID + " updated"}, r.changes); diff != "" {
		t.Errorf("changes told: %s", diff)
	}
	r.send(event.Batch{SensorID: s.ID})
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if got := r.local().LastSeen; got == nil || !got.Equal(start.Add(2*time.Minute)) {
		t.Errorf("last seen after reopening: %v", got)
	}
}

func TestStreamRetention(t *testing.T) {
	r := newRig(t, Options{})
	s := r.local()
	maintain := func() {
		t.Helper()
		if err := r.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.check()
	}
	r.send(mixed(s.ID, 1))
	r.pass(10 * 24 * time.Hour)
	r.send(mixed(s.ID, 8))
	r.read(s.SubscriptionID, mixedEntries-1) // all but one of the first batch
	maintain()
	if n := r.count(`SELECT count(*) FROM entry`); n != 2*mixedEntries {
		t.Errorf("%d entries after ten days, want all %d", n, 2*mixedEntries)
	}
	r.pass(5 * 24 * time.Hour)
	maintain()
	if n := r.count(`SELECT min(position) FROM entry`); n != mixedEntries {
		t.Errorf("after 15 days the oldest entry is %d, want the unread %d", n, mixedEntries)
	}
	r.reopen()
	r.read(s.SubscriptionID, mixedEntries+2)
	maintain()
	if n := r.count(`SELECT min(position) FROM entry`); n != mixedEntries+1 {
		t.Errorf("once it was read the oldest entry is %d, want %d", n, mixedEntries+1)
	}
	if subscriptions, _ := r.Subscriptions(t.Context()); subscriptions[0].Lost != 0 {
		t.Errorf("lost: %d", subscriptions[0].Lost)
	}
}

func TestFullStreamLosesTheOldestAndSaysSo(t *testing.T) {
	r := newRig(t, Options{MaxStreamBytes: 4000})
	s := r.local()
	for n := uint64(0); n < 10; n++ {
		r.send(mixed(s.ID, 1+n*mixedRecords))
	}
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	subscriptions, err := r.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left, size := r.count(`SELECT count(*) FROM entry`), r.count(`SELECT sum(length(body)) FROM entry`)
	if size > 4000 || left == 0 || int64(subscriptions[0].Lost)+left != 10*mixedEntries {
		t.Errorf("%d entries of %d bytes left, %d lost of %d", left, size, subscriptions[0].Lost, 10*mixedEntries)
	}
}

func TestRowRetention(t *testing.T) {
	r := newRig(t, Options{MaxCaptureBytes: 40})
	s := r.local()
	r.send(mixed(s.ID, 1))
	r.pass(91 * 24 * time.Hour)
	r.send(event.Batch{SensorID: s.ID, Records: []event.Record{alertRecord(s.ID, 8, "closed", 1, event.AlertClosed)}})
	r.send(mixed(s.ID, 9))
	r.send(mixed(s.ID, 16))
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Device(t.Context(), "device-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a device after 91 days: %v", err)
	}
	if _, known, _ := r.AlertState(t.Context(), "alert-1"); !known {
		t.Error("an open alert went after 91 days")
	}
	if _, err := r.Capture(t.Context(), "alert-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the oldest capture beyond the room for captures: %v", err)
	}
	for _, id := range []string{"alert-9", "alert-16"} {
		if _, err := r.Capture(t.Context(), id); err != nil {
			t.Errorf("capture of %s: %v", id, err)
		}
	}
	r.pass(91 * 24 * time.Hour)
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, known, _ := r.AlertState(t.Context(), "closed"); known {
		t.Error("a closed alert stayed beyond 90 days")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	f, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.db.writer.Exec(`INSERT INTO goose_db_version(version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(t.Context(), o); err == nil {
		f.Close()
		t.Error("a database of a newer program was opened")
	} else if !strings.Contains(err.Error(), "9999") {
		t.Errorf("error: %v", err)
	}
}
