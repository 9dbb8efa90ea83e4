package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/otus-project/otus/event"
)

// Bounds of a batch. A sensor sends at most 500 records at a time.
const (
	maxBatchRecords = 5000
	maxSequence     = 1 << 62 // SQLite's integers are signed
	maxWait         = time.Minute
)

// maxCommands bounds the commands in one answer; the rest comes once these are journaled.
const maxCommands = 100

// Send is Ingest for an uplink: a batch without records that asks to wait is answered when there is a command for the
// sensor, or when its wait is over.
func (f *Fleet) Send(ctx context.Context, b event.Batch) (event.Ack, error) {
	if b.WaitSeconds <= 0 || len(b.Records) > 0 || len(b.Dropped) > 0 {
		return f.Ingest(ctx, b)
	}
	over := time.NewTimer(min(time.Duration(b.WaitSeconds)*time.Second, maxWait))
	defer over.Stop()
	for {
		command := f.nextCommand(b.SensorID) // before reading, so that none slips between
		ack, err := f.Ingest(ctx, b)
		if err != nil || len(ack.Commands) > 0 {
			return ack, err
		}
		select {
		case <-command:
		case <-over.C:
			f.touch(b.SensorID)
			return ack, nil
		case <-f.closed:
			return ack, nil
		case <-ctx.Done():
			return ack, ctx.Err()
		}
	}
}

// Ingest takes a batch of one sensor and answers when it is durable. Records at or below the sensor's cursor are
// dropped; a batch that leaves a gap is refused with a *event.SequenceError; an invalid one (ErrInvalid) is refused
// whole. The answer carries commands the sensor has not journaled yet.
func (f *Fleet) Ingest(ctx context.Context, b event.Batch) (event.Ack, error) {
	if err := checkBatch(&b); err != nil {
		return event.Ack{}, fmt.Errorf("%w: batch of sensor %q: %w", ErrInvalid, b.SensorID, err)
	}
	ack, idle, err := f.answerIdle(ctx, &b)
	if err != nil {
		return event.Ack{}, fmt.Errorf("batch of sensor %q: %w", b.SensorID, err)
	}
	f.touch(b.SensorID)
	if idle {
		return ack, nil
	}
	var in *ingestion
	err = f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		var err error
		if in, err = f.begin(ctx, tx, &b); err != nil {
			return err
		}
		if err := in.run(ctx); err != nil {
			return err
		}
		ack, err = f.answer(ctx, tx, b.SensorID, in.cursor, max(in.applied, b.AppliedCommand))
		return err
	})
	if err != nil {
		return event.Ack{}, fmt.Errorf("batch of sensor %q: %w", b.SensorID, err)
	}
	f.tell(in)
	return ack, nil
}

// answerIdle answers a batch that changes nothing, without a writing transaction.
func (f *Fleet) answerIdle(ctx context.Context, b *event.Batch) (ack event.Ack, idle bool, err error) {
	var cursor, applied uint64
	err = f.db.reader.QueryRowContext(ctx, `SELECT cursor, applied FROM sensor WHERE id = ?`, b.SensorID).Scan(&cursor, &applied)
	if err != nil {
		return ack, false, missing(err, "sensor", b.SensorID)
	}
	if len(b.Records) > 0 || len(b.Dropped) > 0 || b.AppliedCommand > applied {
		return ack, false, nil
	}
	ack, err = f.answer(ctx, f.db.reader, b.SensorID, cursor, applied)
	return ack, true, err
}

func (f *Fleet) answer(ctx context.Context, q querier, sensorID string, cursor, applied uint64) (event.Ack, error) {
	commands, err := collect(ctx, q, scanCommand, `SELECT id, action, alert_id, mode, time, by FROM command WHERE sensor_id = ? AND id > ? ORDER BY id LIMIT ?`, sensorID, applied, maxCommands)
	return event.Ack{Sequence: cursor, Commands: commands}, err
}

// checkBatch refuses what no sound sensor sends.
func checkBatch(b *event.Batch) error {
	if len(b.Records) > maxBatchRecords || len(b.Dropped) > maxBatchRecords+1 {
		return fmt.Errorf("more than %d records or dropped ranges", maxBatchRecords)
	}
	if b.AppliedCommand > maxSequence {
		return fmt.Errorf("applied command %d", b.AppliedCommand)
	}
	last := uint64(0)
	for _, r := range b.Dropped {
		if r.From <= last || r.To < r.From || r.To > maxSequence {
			return fmt.Errorf("dropped range %d to %d after %d", r.From, r.To, last)
		}
		last = r.To
	}
	last = 0
	for i := range b.Records {
		r := &b.Records[i]
		if err := r.Validate(); err != nil {
			return err
		}
		if r.Sequence <= last || r.Sequence > maxSequence {
			return fmt.Errorf("sequence %d after %d", r.Sequence, last)
		}
		last = r.Sequence
		if err := checkRow(r, b.SensorID); err != nil {
			return fmt.Errorf("record %d: %w", r.Sequence, err)
		}
	}
	return nil
}

// checkRow refuses rows in another sensor's name, without an identity, or beyond their bound.
func checkRow(r *event.Record, sensorID string) error {
	id, revision, owner := "-", 1, ""
	switch r.Kind {
	case event.KindAlert:
		id, revision, owner = r.Alert.ID, r.Alert.Revision, r.Alert.SensorID
	case event.KindDevice:
		id, revision, owner = r.Device.ID, r.Device.Revision, r.Device.SensorID
	case event.KindConnection:
		owner = r.Connection.SensorID
	case event.KindProtocolEvent:
		owner = r.ProtocolEvent.SensorID
	case event.KindHealth:
		owner = r.Health.SensorID
	case event.KindCapture:
		id, owner = r.Capture.AlertID, sensorID
		if len(r.Capture.PCAP) > event.MaxCaptureBytes {
			return fmt.Errorf("capture of %d bytes, more than %d", len(r.Capture.PCAP), event.MaxCaptureBytes)
		}
	}
	switch {
	case owner != sensorID:
		return fmt.Errorf("%s names sensor %q", r.Kind, owner)
	case id == "" || len(id) > maxName:
		return fmt.Errorf("%s id %q", r.Kind, id)
	case revision < 1:
		return fmt.Errorf("%s %q has revision %d", r.Kind, id, revision)
	}
	return nil
}

// news gives the records of a batch behind the cursor, how many were dropped by the sensor, and the new cursor.
func news(b *event.Batch, cursor uint64) (records []*event.Record, lost, newCursor uint64, err error) {
	next, dropped := cursor+1, b.Dropped
	step := func(before uint64) error {
		for ; len(dropped) > 0 && dropped[0].From < before; dropped = dropped[1:] {
			if to := dropped[0].To; to >= next {
				if dropped[0].From > next {
					return &event.SequenceError{Expected: next}
				}
				lost += to - next + 1
				next = to + 1
			}
		}
		return nil
	}
	for i := range b.Records {
		r := &b.Records[i]
		if r.Sequence <= cursor {
			continue
		}
		if err := step(r.Sequence); err != nil {
			return nil, 0, 0, err
		}
		if r.Sequence < next {
			return nil, 0, 0, fmt.Errorf("%w: sequence %d is sent and said to be dropped", ErrInvalid, r.Sequence)
		}
		if r.Sequence > next {
			return nil, 0, 0, &event.SequenceError{Expected: next}
		}
		records = append(records, r)
		next++
	}
	if err := step(maxSequence + 1); err != nil {
		return nil, 0, 0, err
	}
	return records, lost, next - 1, nil
}

// ingestion is the work of one transaction.
type ingestion struct {
	f        *Fleet
	tx       *transaction
	b        *event.Batch
	received int64

	place           event.Place
	planOn          bool
	subscription    int64 // its number
	head, bytes     int64
	cursor, applied uint64
	lines           map[string]event.Line
	health          *event.Health // newest of the batch

	changed   map[changeKey]string
	order     []changeKey
	streaming bool // entries were added
}

type changeKey struct{ kind, id string }

func (f *Fleet) begin(ctx context.Context, tx *transaction, b *event.Batch) (*ingestion, error) {
	f.mu.Lock()
	lines := f.lines
	f.mu.Unlock()
	in := &ingestion{f: f, tx: tx, b: b, received: nanos(f.o.Now()), lines: lines, changed: map[changeKey]string{}}
	in.place.SensorID = b.SensorID
	err := tx.QueryRowContext(ctx, `SELECT sensor.name, zone.name, site.name, site.owners, subscription.id, subscription.number, plan_on, head, bytes, cursor, applied
		FROM sensor JOIN zone ON zone.id = zone_id JOIN site ON site.id = site_id JOIN subscription ON subscription.number = site.subscription
		WHERE sensor.id = ?`, b.SensorID).
		Scan(&in.place.SensorName, &in.place.Zone, &in.place.Site, jsonColumn(&in.place.Owners), &in.place.SubscriptionID, &in.subscription, &in.planOn, &in.head, &in.bytes, &in.cursor, &in.applied)
	if err != nil {
		return nil, missing(err, "sensor", b.SensorID)
	}
	return in, nil
}

func (in *ingestion) run(ctx context.Context) error {
	records, lost, cursor, err := news(in.b, in.cursor)
	if err != nil {
		return err
	}
	before := in.head
	for _, r := range records {
		if err := in.apply(ctx, r); err != nil {
			return fmt.Errorf("record %d: %w", r.Sequence, err)
		}
		if in.planOn && r.Kind != event.KindCapture {
			if err := in.stream(ctx, r); err != nil {
				return fmt.Errorf("stream record %d: %w", r.Sequence, err)
			}
		}
	}
	in.cursor = cursor
	var health any
	if in.health != nil {
		if health, err = json.Marshal(in.health); err != nil {
			return err
		}
		in.note("sensor", in.b.SensorID, "updated")
	}
	// A sensor that has journaled more commands than we remember (we were restored from a backup) must not get
	// their ids again.
	_, err = in.tx.exec(ctx, `UPDATE sensor SET cursor = ?, lost = lost + ?, last_seen = ?, health = coalesce(?, health), applied = max(applied, ?), commands = max(commands, ?) WHERE id = ?`,
		cursor, lost, in.received, health, in.b.AppliedCommand, in.b.AppliedCommand, in.b.SensorID)
	if err != nil || in.head == before {
		return err
	}
	in.streaming = true
	_, err = in.tx.exec(ctx, `UPDATE subscription SET head = ?, bytes = ? WHERE number = ?`, in.head, in.bytes, in.subscription)
	return err
}

const insertEntry = `INSERT INTO entry(subscription, position, received, body) VALUES (?, ?, ?, ?)`

// stream adds one entry. Its position is the key and not in the body.
func (in *ingestion) stream(ctx context.Context, r *event.Record) error {
	body, err := json.Marshal(event.Entry{Place: in.place, Lines: linesOf(r, in.lines), Record: *r})
	if err != nil {
		return err
	}
	in.head++
	in.bytes += int64(len(body))
	_, err = in.tx.exec(ctx, insertEntry, in.subscription, in.head, in.received, body)
	return err
}

// linesOf gives the lines of the devices that a record names.
func linesOf(r *event.Record, lines map[string]event.Line) map[string]event.Line {
	if len(lines) == 0 {
		return nil
	}
	var found map[string]event.Line
	for _, id := range devicesOf(r) {
		if line, ok := lines[id]; ok {
			if found == nil {
				found = map[string]event.Line{}
			}
			found[id] = line
		}
	}
	return found
}

// devicesOf gives the ids of the devices that a record names, some perhaps twice.
func devicesOf(r *event.Record) []string {
	switch r.Kind {
	case event.KindAlert:
		ids := make([]string, 0, len(r.Alert.Devices)+2)
		for _, end := range []*event.Endpoint{r.Alert.Source, r.Alert.Destination} {
			if end != nil && end.DeviceID != "" {
				ids = append(ids, end.DeviceID)
			}
		}
		for i := range r.Alert.Devices {
			ids = append(ids, r.Alert.Devices[i].ID)
		}
		return ids
	case event.KindDevice:
		return []string{r.Device.ID}
	case event.KindConnection:
		return []string{r.Connection.ClientID, r.Connection.ServerID}
	case event.KindProtocolEvent:
		return []string{r.ProtocolEvent.ClientID, r.ProtocolEvent.ServerID}
	}
	return nil
}

func (in *ingestion) note(kind, id, change string) {
	key := changeKey{kind, id}
	if _, known := in.changed[key]; !known {
		in.order = append(in.order, key)
		in.changed[key] = change
	}
}

// tell speaks of what a committed batch changed.
func (f *Fleet) tell(in *ingestion) {
	if in.streaming {
		f.wake(in.place.SubscriptionID)
	}
	for _, key := range in.order {
		f.o.OnChange(key.kind, key.id, in.changed[key])
	}
}
