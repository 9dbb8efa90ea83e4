package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/otus-project/otus/event"
)

// maxReadBytes bounds the bodies that one Read gives, whatever number is asked for.
const maxReadBytes = 8 << 20

// pruneStep is how many entries go in one transaction, so that sensors never wait long behind it.
const pruneStep = 5000

// Read gives entries of a subscription's stream behind position after, in order, at most max. By asking it says that
// everything up to after is safe with the reader. Entries that were removed for lack of room are missing from the
// answer; their number is in Subscription.Lost.
func (f *Fleet) Read(ctx context.Context, subscription string, after uint64, max int) ([]event.Entry, error) {
	number, err := f.number(ctx, subscription)
	if err != nil {
		return nil, err
	}
	f.take(number, after)
	rows, err := f.db.reader.QueryContext(ctx, `SELECT position, body FROM entry WHERE subscription = ? AND position > ? ORDER BY position LIMIT ?`, number, after, max)
	if err != nil {
		return nil, fmt.Errorf("read stream of %q: %w", subscription, err)
	}
	defer rows.Close()
	entries := []event.Entry{}
	for size := 0; size < maxReadBytes && rows.Next(); {
		var position uint64
		var body sql.RawBytes
		if err := rows.Scan(&position, &body); err != nil {
			return nil, fmt.Errorf("read stream of %q: %w", subscription, err)
		}
		var entry event.Entry
		if err := json.Unmarshal(body, &entry); err != nil {
			return nil, fmt.Errorf("read stream of %q at %d: %w", subscription, position, err)
		}
		entry.Position = position
		entries = append(entries, entry)
		size += len(body)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read stream of %q: %w", subscription, err)
	}
	return entries, nil
}

// take remembers how far a stream was read. It is written down by pruneStreams, which alone needs it.
func (f *Fleet) take(number int64, after uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken[number] = max(f.taken[number], after)
}

// Head gives the position of the newest entry a subscription's stream ever had; 0 for none.
func (f *Fleet) Head(ctx context.Context, subscription string) (uint64, error) {
	var head uint64
	err := f.db.reader.QueryRowContext(ctx, `SELECT head FROM subscription WHERE id = ?`, subscription).Scan(&head)
	if err != nil {
		return 0, missing(err, "subscription", subscription)
	}
	return head, nil
}

func (f *Fleet) number(ctx context.Context, subscription string) (number int64, err error) {
	err = f.db.reader.QueryRowContext(ctx, `SELECT number FROM subscription WHERE id = ?`, subscription).Scan(&number)
	if err != nil {
		return 0, missing(err, "subscription", subscription)
	}
	return number, nil
}

// OpenAlerts gives the current revision of each alert of a subscription that is not closed and whose newest revision
// arrived at since or later, by last activity. Position and the record's sequence are 0: these are no entries of the
// stream.
func (f *Fleet) OpenAlerts(ctx context.Context, subscription string, since time.Time) ([]event.Entry, error) {
	number, err := f.number(ctx, subscription)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	lines := f.lines
	f.mu.Unlock()
	entries, err := collect(ctx, f.db.reader, func(rows *sql.Rows, e *event.Entry) error {
		e.Record.Kind, e.Record.Alert = event.KindAlert, &event.Alert{}
		e.Place.SubscriptionID = subscription
		err := rows.Scan(&e.Place.SensorID, &e.Place.SensorName, &e.Place.Site, &e.Place.Zone, jsonColumn(&e.Place.Owners), jsonColumn(e.Record.Alert))
		e.Lines = linesOf(&e.Record, lines)
		return err
	}, `SELECT sensor.id, sensor.name, site.name, zone.name, site.owners, alert.body
		FROM alert JOIN sensor ON sensor.id = sensor_id JOIN zone ON zone.id = zone_id JOIN site ON site.id = site_id
		WHERE site.subscription = ? AND status <> 'Closed' AND received >= ? ORDER BY last_activity, alert.id`, number, nanos(since))
	if err != nil {
		return nil, fmt.Errorf("open alerts of %q: %w", subscription, err)
	}
	return entries, nil
}

// pruneStreams removes entries that are old and read, and the oldest of a stream that takes too much room.
func (f *Fleet) pruneStreams(ctx context.Context) error {
	type stream struct {
		number, taken, bytes int64
	}
	streams, err := collect(ctx, f.db.reader, func(rows *sql.Rows, s *stream) error {
		return rows.Scan(&s.number, &s.taken, &s.bytes)
	}, `SELECT number, taken, bytes FROM subscription`)
	if err != nil {
		return err
	}
	old := nanos(f.o.Now().Add(-f.o.KeepEntries))
	for _, s := range streams {
		f.mu.Lock()
		s.taken = max(s.taken, int64(f.taken[s.number]))
		f.mu.Unlock()
		for more := true; more; {
			err := f.db.write(ctx, func(ctx context.Context, tx *transaction) (err error) {
				more, err = f.pruneStep(ctx, tx, s.number, s.taken, old)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// pruneStep removes up to pruneStep of a stream's oldest entries, as far as they may go, and says whether to go on.
func (f *Fleet) pruneStep(ctx context.Context, tx *transaction, number, taken, old int64) (more bool, err error) {
	var bytes int64
	if err := tx.QueryRowContext(ctx, `SELECT bytes FROM subscription WHERE number = ?`, number).Scan(&bytes); err != nil {
		return false, err
	}
	rows, err := tx.QueryContext(ctx, `SELECT position, received, length(body) FROM entry WHERE subscription = ? ORDER BY position LIMIT ?`, number, pruneStep)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var through, removed, lost int64
	for rows.Next() {
		var position, received, size int64
		if err := rows.Scan(&position, &received, &size); err != nil {
			return false, err
		}
		read, full := position <= taken, bytes-removed > f.o.MaxStreamBytes
		if !full && (received >= old || !read) {
			break
		}
		if !read {
			lost++
		}
		through, removed, more = position, removed+size, true
	}
	if err := rows.Err(); err != nil {
		return false, err
	}
	rows.Close()
	if !more {
		_, err := tx.exec(ctx, `UPDATE subscription SET taken = max(taken, ?) WHERE number = ?`, taken, number)
		return false, err
	}
	if _, err := tx.exec(ctx, `DELETE FROM entry WHERE subscription = ? AND position <= ?`, number, through); err != nil {
		return false, err
	}
	_, err = tx.exec(ctx, `UPDATE subscription SET bytes = bytes - ?, lost = lost + ?, taken = max(taken, ?) WHERE number = ?`, removed, lost, taken, number)
	return true, err
}

// pruneRows removes devices, closed alerts, captures and journaled commands that are too old, and the oldest captures
// when all together are too large.
func (f *Fleet) pruneRows(ctx context.Context) error {
	old := nanos(f.o.Now().Add(-f.o.KeepRows))
	return f.db.write(ctx, func(ctx context.Context, tx *transaction) error {
		for _, text := range []string{
			`DELETE FROM alert WHERE status = 'Closed' AND received < ?`,
			`DELETE FROM device WHERE received < ?`,
			`DELETE FROM capture WHERE received < ? AND alert_id NOT IN (SELECT id FROM alert)`,
			`DELETE FROM command WHERE created < ? AND id <= (SELECT applied FROM sensor WHERE sensor.id = sensor_id)`,
		} {
			if _, err := tx.exec(ctx, text, old); err != nil {
				return err
			}
		}
		_, err := tx.exec(ctx, `DELETE FROM capture WHERE number IN
			(SELECT number FROM (SELECT number, sum(bytes) OVER (ORDER BY number DESC) AS together FROM capture) WHERE together > ?)`, f.o.MaxCaptureBytes)
		return err
	})
}
