package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

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
